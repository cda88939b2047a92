import * as tf from '@tensorflow/tfjs';
import { FedError } from '../errors.ts';
import type { Architecture } from './architecture.ts';
import { dcgan } from './architectures/dcgan.ts';
import { mlp } from './architectures/mlp.ts';
import { smoothDcgan } from './architectures/smooth-dcgan.ts';
import type { GanConfig } from './config.ts';
import { type Declaration, declare } from './declaring-net.ts';

/** Every architecture by name. A new one is a file in `architectures/` and a line here. */
export const ARCHITECTURES: readonly Architecture[] = [dcgan, smoothDcgan, mlp];

/** The two networks of a run: which they are, and what they consist of. */
export interface Gan {
  readonly config: GanConfig;
  readonly architecture: Architecture;
  readonly generator: Declaration;
  readonly discriminator: Declaration;
}

/** @throws {FedError} ARCHITECTURE_UNKNOWN, naming those there are. */
export function architectureNamed(name: string, known = ARCHITECTURES): Architecture {
  const found = known.find((architecture) => architecture.name === name);
  if (found) return found;
  throw new FedError('ARCHITECTURE_UNKNOWN', `'${name}'; there are ${known.map((a) => a.name).join(', ')}`);
}

/**
 * The networks that a configuration describes.
 * @throws {FedError} ARCHITECTURE_UNKNOWN; PARAMETER_INVALID when groups do not divide the channels.
 */
export function openGan(config: GanConfig, known = ARCHITECTURES): Gan {
  const architecture = architectureNamed(config.architecture, known);
  if (config.groupNorm > 0 && config.discriminatorWidth % config.groupNorm !== 0)
    throw new FedError('PARAMETER_INVALID', `${config.groupNorm} groups of ${config.discriminatorWidth} channels`);
  const { imageSize: size, channels, classes, latent } = config;
  const oneHot = () => tf.zeros<tf.Rank.R2>([1, classes]);
  return {
    config,
    architecture,
    generator: declare((net) => architecture.generator(net, tf.zeros([1, latent]), oneHot(), config)),
    discriminator: declare(
      (net) => architecture.discriminator(net, tf.zeros([1, size, size, channels]), oneHot(), config).logits,
    ),
  };
}

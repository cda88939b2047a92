/**
 * Features of an image that a small network of now makes, for the moment rounds after the first: the coordinator trains
 * the network on fakes alone, to tell their classes apart, and the sites answer with the noised sum of embeddings in
 * random Fourier features of its layers. The idea of an MMD-GAN, with one difference: the network never learns to tell
 * real from fake, since that would take private steps; what it looks at follows the generator all the same.
 *
 * Guarantee: each row of `embed` has an L2 norm of at most 1 for any parameters that `checkCritic` lets pass, a hostile
 * coordinator's included, and depends on its own image alone.
 *
 * @see Li et al. 2017, https://arxiv.org/abs/1705.08584 (kernels on learnt features)
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { FedError } from '../errors.ts';
import { declare } from '../gan/declaring-net.ts';
import type { Layout } from '../gan/layout.ts';
import type { Net } from '../gan/net.ts';
import { PlainNet } from '../gan/plain-net.ts';
import { PublicRandom } from '../public-random.ts';
import { type FeatureSet, type ImageShape, joined, waves } from './features.ts';

/** Random Fourier features of one layer, its vector brought to norm 1. */
export interface CriticBlock {
  /** `maps`: the last convolution's, flattened; `dense`: the layer under the class logits. */
  readonly on: 'maps' | 'dense';
  /** Width of the kernel exp(-|x - y|² / (2 width²)). */
  readonly bandwidth: number;
  /** Frequencies; each gives a cosine and a sine. */
  readonly frequencies: number;
  /** Share of the squared norm, relative to the other blocks. */
  readonly weight: number;
}

export interface CriticConfig {
  /** Channels of the first convolution. */
  readonly width: number;
  readonly blocks: readonly CriticBlock[];
}

const SLOPE = 0.1;
/** Keeps the division finite where a layer is silent. */
const NORM_FLOOR = 1e-3;
const SQUARE_FLOOR = 1e-12;
/**
 * Further than this from zero no parameter of a critic may be: then no layer of an image in [-1, 1] reaches 1e16, its
 * square stays far below what a float32 holds, and nothing that is not a number can come of it.
 */
export const MAX_CRITIC_PARAMETER = 100;
/** Bandwidths below this make directions that a float32 does not hold. */
const LEAST_BANDWIDTH = 1e-6;

/** Maps are 7 or 8 pixels wide at every size of image. */
const mapSize = (size: number): number => (size > 32 ? size / 8 : size / 4);

/** Two convolutions of stride 2, one dense layer, class logits. No layer looks at an image's neighbours. */
export function criticNetwork(net: Net, images: Tensor4D, classes: number, width: number) {
  const [n, , size] = images.shape;
  let first: Tensor4D = tf.leakyRelu(net.conv2d('first', images, { filters: width, kernel: 4, stride: 2 }), SLOPE);
  if (size > 32) first = tf.avgPool(first, 2, 2, 'valid');
  const second = tf.leakyRelu(net.conv2d('second', first, { filters: 2 * width, kernel: 4, stride: 2 }), SLOPE);
  const maps = tf.reshape<tf.Rank.R2>(second, [n, -1]);
  const dense = tf.leakyRelu(net.dense('dense', maps, 4 * width), SLOPE);
  return { maps, dense, logits: net.dense('logits', dense, classes, { gain: 1 }) };
}

/** Where each parameter of the critic lies in its flat vector. */
export const criticLayout = ({ width }: Pick<CriticConfig, 'width'>, image: ImageShape, classes: number): Layout =>
  declare((net) => criticNetwork(net, tf.zeros([1, image.size, image.size, image.channels]), classes, width).logits)
    .layout;

/**
 * Refuses parameters the norm bound does not hold for, before anything is charged for them.
 * @throws {FedError} PARAMETER_INVALID
 */
export function checkCritic(parameters: Float32Array, layout: Layout): void {
  if (parameters.length !== layout.length)
    throw new FedError('PARAMETER_INVALID', `a critic of ${parameters.length} parameters, not ${layout.length}`);
  for (let i = 0; i < parameters.length; i++)
    if (!(Math.abs(parameters[i]) <= MAX_CRITIC_PARAMETER))
      throw new FedError('PARAMETER_INVALID', `a critic with a parameter beyond ${MAX_CRITIC_PARAMETER}`);
}

/** What names the directions of a round: every round looks along new ones. Public. */
export const criticSeed = ({ seed }: { readonly seed: string }, round: number): string => `${seed} ${round}`;

/** Length of the vector a critic's features make. */
export const criticLength = ({ blocks }: CriticConfig): number => blocks.reduce((sum, b) => sum + 2 * b.frequencies, 0);

/**
 * @param seed - public, of the directions; @param parameters - flat, in the layout of `criticLayout`.
 * @throws {FedError} PARAMETER_INVALID as `checkCritic`, and on blocks that are not positive.
 */
export function criticFeatures(
  config: CriticConfig,
  image: ImageShape,
  classes: number,
  seed: string,
  parameters: Float32Array,
): FeatureSet {
  const { width, blocks } = config;
  const sound = (b: CriticBlock) =>
    b.bandwidth >= LEAST_BANDWIDTH && b.bandwidth < Infinity && b.frequencies >= 1 && b.weight > 0;
  if (blocks.length === 0 || !blocks.every(sound))
    throw new FedError('PARAMETER_INVALID', 'critic features want positive bandwidths, frequencies and weights');
  const { entries, ...layout } = criticLayout(config, image, classes);
  checkCritic(parameters, { entries, ...layout });
  const lengths = { maps: 2 * width * mapSize(image.size) ** 2, dense: 4 * width };
  const total = blocks.reduce((sum, b) => sum + b.weight, 0);
  const directions = blocks.map(({ on, bandwidth, frequencies }, i) => {
    const draws = new PublicRandom(`critic directions ${seed} ${i}`).gaussians(lengths[on] * frequencies);
    return [`directions${i}`, { shape: [lengths[on], frequencies], values: draws.map((g) => g / bandwidth) }] as const;
  });
  const weights = entries.map(
    ({ name, shape, offset, size }) =>
      [`critic.${name}`, { shape, values: parameters.slice(offset, offset + size) }] as const,
  );
  const parts: FeatureSet['parts'] = (x, constants) => {
    const net = new PlainNet(Object.fromEntries(entries.map(({ name }) => [name, constants[`critic.${name}`]])));
    const layers = criticNetwork(net, tf.transpose(x, [0, 2, 3, 1]), classes, width);
    return blocks.flatMap(({ on, weight }, i) =>
      waves(direction(layers[on]), constants[`directions${i}`], weight / total),
    );
  };
  return {
    length: criticLength(config),
    constants: Object.fromEntries([...weights, ...directions]),
    embed: (x, constants) => joined(parts(x, constants)),
    parts,
  };
}

/** Rows of norm just below 1. */
const direction = (rows: Tensor2D): Tensor2D =>
  tf.div(rows, tf.add(tf.sqrt(tf.add(tf.sum(tf.square(rows), 1, true), SQUARE_FLOOR)), NORM_FLOOR));

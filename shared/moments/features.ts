/**
 * Fixed, public features of an image, for the moment round. Nothing here was trained and nothing depends on an image:
 * the directions come from a public seed in the policy.
 *
 * Guarantee every feature set must give, by construction: each row of `embed` has an L2 norm of at most 1. The round's
 * sensitivity rests on it, so `embedding.ts` clips what it is given all the same.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { FedError } from '../errors.ts';
import { PublicRandom } from '../public-random.ts';

export interface ImageShape {
  readonly channels: number;
  readonly size: number;
}

export interface FeatureSet {
  readonly kind: string;
  /** F: how many features an image has. */
  readonly length: number;
  /** Large public arrays (directions, phases) by name; passed to `embed` as tensors. */
  readonly constants: Readonly<Record<string, { readonly shape: number[]; readonly values: Float32Array }>>;
  /**
   * @param x - [n, channels, size, size] in [-1, 1].
   * @returns [n, F], rows of norm at most 1.
   */
  embed(x: Tensor4D, constants: Record<string, Tensor>): Tensor2D;
}

/** Random Fourier features of the pixels, half cosines and half sines, at several bandwidths. */
export interface FourierConfig {
  readonly kind: 'fourier';
  /** Frequencies for each bandwidth; each gives a cosine and a sine. */
  readonly frequencies: number;
  /** Kernel widths in the unit of pixel values in [-1, 1]: exp(-|x - y|² / (2 width²)). */
  readonly bandwidths: readonly number[];
  readonly seed: string;
}

/**
 * Each bandwidth's features are scaled so that cos² + sin² sum to 1, and the K bandwidths together by 1/√K: the norm of
 * a row is exactly 1 in real arithmetic.
 *
 * @see Rahimi and Recht 2007, section 3; Harder et al. 2021, https://arxiv.org/abs/2002.11603, section 3
 */
export function fourierFeatures(config: FourierConfig, image: ImageShape): FeatureSet {
  const { frequencies, bandwidths } = config;
  if (!(frequencies >= 1 && bandwidths.length >= 1 && bandwidths.every((b) => b > 0 && b < Infinity)))
    throw new FedError('PARAMETER_INVALID', 'fourier features want frequencies >= 1 and positive bandwidths');
  const pixels = image.channels * image.size * image.size;
  const columns = frequencies * bandwidths.length;
  const draws = new PublicRandom(`fourier ${config.seed}`).gaussians(pixels * columns);
  const directions = draws.map((g, i) => g / bandwidths[Math.floor((i % columns) / frequencies)]);
  return {
    kind: 'fourier',
    length: 2 * columns,
    constants: { directions: { shape: [pixels, columns], values: directions } },
    embed(x, { directions: d }) {
      const angle = tf.matMul(tf.reshape(x, [-1, pixels]), d as Tensor2D);
      return tf.mul(tf.concat([tf.cos(angle), tf.sin(angle)], 1), 1 / Math.sqrt(columns)) as Tensor2D;
    },
  };
}

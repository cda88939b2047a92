/**
 * Fixed, public features of an image, for the first moment round; `critic.ts` has those of the rounds after. Nothing here was trained and nothing depends on an image:
 * the directions come from a public seed in the policy.
 *
 * Guarantee every feature set must give, by construction: each row of `embed` has an L2 norm of at most 1. The round's
 * sensitivity rests on it, so `embedding.ts` clips what it is given all the same.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { FedError } from '../errors.ts';
import { PublicRandom } from '../public-random.ts';
import { waveletLength, waveletVector } from './wavelets.ts';

export interface ImageShape {
  readonly channels: number;
  readonly size: number;
}

/** Some of an image's features, before they are scaled: a scale is cheaper on a mean than on every row. */
export interface FeaturePart {
  /** [n, f] */
  readonly rows: Tensor2D;
  readonly scale: number;
}

export interface FeatureSet {
  /** F: how many features an image has. */
  readonly length: number;
  /** Large public arrays (directions) by name; passed to `embed` as tensors. */
  readonly constants: Readonly<Record<string, { readonly shape: readonly number[]; readonly values: Float32Array }>>;
  /**
   * @param x - [n, channels, size, size] in [-1, 1].
   * @returns [n, F], rows of norm at most 1.
   */
  embed(x: Tensor4D, constants: Record<string, Tensor>): Tensor2D;
  /**
   * The same columns in the same order, apart and not yet scaled. Their norm is the same for every image: `momentLoss`
   * rests on it.
   */
  parts(x: Tensor4D, constants: Record<string, Tensor>): FeaturePart[];
}

/** What `embed` returns, from what `parts` returns. [n, F] */
export const joined = (parts: readonly FeaturePart[]): Tensor2D =>
  tf.concat(
    parts.map(({ rows, scale }) => tf.mul<Tensor2D>(rows, scale)),
    1,
  );

/** The cosines and sines of one block, `share` of the squared norm among them. */
export function waves(vectors: Tensor2D, directions: Tensor, share: number): FeaturePart[] {
  const angle = tf.matMul<Tensor2D>(vectors, directions);
  const scale = Math.sqrt(share / (directions as Tensor2D).shape[1]);
  return [tf.cos(angle), tf.sin(angle)].map((rows) => ({ rows, scale }));
}

/** Random Fourier features of one kernel: what it looks at, how wide it is, how much of the norm it gets. */
export interface FourierBlock {
  readonly on: 'pixels' | 'wavelets' | 'edges';
  /** Width of the kernel exp(-|x - y|² / (2 width²)), pixels in [0, 1], wavelet vectors of norm 1. */
  readonly bandwidth: number;
  /** Frequencies; each gives a cosine and a sine. */
  readonly frequencies: number;
  /** Share of the squared norm, relative to the other blocks. */
  readonly weight: number;
}

export interface FourierConfig {
  readonly kind: 'fourier';
  readonly seed: string;
  readonly blocks: readonly FourierBlock[];
}

const VECTORS = {
  pixels: {
    length: ({ channels, size }: ImageShape) => channels * size * size,
    of: (x: Tensor4D) => tf.reshape<tf.Rank.R2>(x, [x.shape[0], -1]),
  },
  wavelets: { length: (image: ImageShape) => waveletLength(image), of: (x: Tensor4D) => waveletVector(x) },
  /** Wavelets without the blurred image. The frame counts as an edge: outside the image it is dark. */
  edges: { length: (image: ImageShape) => waveletLength(image, false), of: (x: Tensor4D) => waveletVector(x, false) },
};

/**
 * Half cosines and half sines, scaled so that a block's features have a squared norm of exactly its share of 1 (cos² +
 * sin² = 1), and all blocks together exactly 1, whatever the bandwidths.
 *
 * @throws {FedError} PARAMETER_INVALID when a bandwidth, count or weight is not positive.
 * @see Rahimi and Recht 2007, section 3; Harder et al. 2021, https://arxiv.org/abs/2002.11603, section 3
 */
export function fourierFeatures({ blocks, seed }: FourierConfig, image: ImageShape): FeatureSet {
  const sound = (b: FourierBlock) => b.bandwidth > 0 && b.bandwidth < Infinity && b.frequencies >= 1 && b.weight > 0;
  if (blocks.length === 0 || !blocks.every(sound))
    throw new FedError('PARAMETER_INVALID', 'fourier features want positive bandwidths, frequencies and weights');
  const total = blocks.reduce((sum, b) => sum + b.weight, 0);
  const directions = blocks.map((block, i) => {
    const inputs = VECTORS[block.on].length(image);
    const draws = new PublicRandom(`fourier ${seed} ${i}`).gaussians(inputs * block.frequencies);
    return { shape: [inputs, block.frequencies], values: draws.map((g) => g / block.bandwidth) };
  });
  const parts: FeatureSet['parts'] = (x, constants) => {
    const brightness = tf.mul<Tensor4D>(tf.add(x, 1), 0.5);
    const vectors = new Map<FourierBlock['on'], Tensor2D>();
    for (const { on } of blocks) if (!vectors.has(on)) vectors.set(on, VECTORS[on].of(brightness));
    return blocks.flatMap(({ on, weight }, i) => waves(vectors.get(on)!, constants[`directions${i}`], weight / total));
  };
  return {
    length: blocks.reduce((sum, b) => sum + 2 * b.frequencies, 0),
    constants: Object.fromEntries(directions.map((d, i) => [`directions${i}`, d])),
    embed: (x, constants) => joined(parts(x, constants)),
    parts,
  };
}

/** The feature set a policy names. A new kind is one more case here and one more member of the policy's schema. */
export function featureSet(config: FourierConfig, image: ImageShape): FeatureSet {
  switch (config.kind) {
    case 'fourier':
      return fourierFeatures(config, image);
  }
}

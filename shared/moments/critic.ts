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
import { type Layout, layoutOf } from '../gan/layout.ts';
import type { Net } from '../gan/net.ts';
import { PlainNet } from '../gan/plain-net.ts';
import { PublicRandom } from '../public-random.ts';
import { type FeatureSet, type ImageShape, joined, waves } from './features.ts';

/** `maps`: the last convolution's, flattened; `dense`: the layer under the class logits. */
export const CRITIC_LAYERS = ['maps', 'dense'] as const;
export type CriticLayer = (typeof CRITIC_LAYERS)[number];

/** Random Fourier features of one layer, its vector brought to norm 1. */
export interface CriticBlock {
  readonly on: CriticLayer;
  /**
   * What happens to the layer before its vector is brought to norm 1, by each unit's mean and standard deviation over
   * fakes: the mean taken off, or that and a division by the deviation. Activations have most of their length in common;
   * without it the features, whose length is given, have too. Absent: nothing.
   */
  readonly normalise?: 'centred' | 'standardised' | undefined;
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
 * Further than this from zero no parameter of a critic may be, statistics of its layers included: then no layer of an
 * image in [-1, 1] reaches 1e16, nor 1e19 once it is scaled. Should the sum of such squares pass what a float32 holds,
 * the norm is infinite and the direction zero; nothing that is not a number can come of it.
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

const lengthsOf = (width: number, size: number): Record<CriticLayer, number> => ({
  maps: 2 * width * mapSize(size) ** 2,
  dense: 4 * width,
});

/** Where each parameter of the network alone lies. */
export const criticNetworkLayout = (width: number, image: ImageShape, classes: number): Layout =>
  declare((net) => criticNetwork(net, tf.zeros([1, image.size, image.size, image.channels]), classes, width).logits)
    .layout;

/** What blocks need to know of a layer's units: `mean`, and one over the deviation. */
export const criticStatistics = ({ blocks }: Pick<CriticConfig, 'blocks'>) =>
  CRITIC_LAYERS.flatMap((layer) => {
    const asked = blocks.filter(({ on }) => on === layer).map(({ normalise }) => normalise);
    if (!asked.some(Boolean)) return [];
    return [{ layer, scaled: asked.includes('standardised') }];
  });

/** Where each parameter of the critic lies in its flat vector: those of the network, then statistics of its layers. */
export function criticLayout(
  { width, blocks }: Pick<CriticConfig, 'width' | 'blocks'>,
  image: ImageShape,
  classes: number,
): Layout {
  const lengths = lengthsOf(width, image.size);
  const unit = (name: string, layer: CriticLayer, value: number) => ({
    name,
    shape: [lengths[layer]],
    initialiser: { kind: 'constant', value } as const,
  });
  const statistics = criticStatistics({ blocks }).flatMap(({ layer, scaled }) => [
    unit(meanOf(layer), layer, 0),
    ...(scaled ? [unit(scaleOf(layer), layer, 1)] : []),
  ]);
  return layoutOf([...criticNetworkLayout(width, image, classes).entries, ...statistics]);
}

const meanOf = (layer: CriticLayer): string => `${layer}.mean`;
const scaleOf = (layer: CriticLayer): string => `${layer}.scale`;

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
  const lengths = lengthsOf(width, image.size);
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
    return blocks.flatMap(({ on, normalise, weight }, i) => {
      let rows = layers[on];
      if (normalise) rows = tf.sub(rows, constants[`critic.${meanOf(on)}`]);
      if (normalise === 'standardised') rows = tf.mul(rows, constants[`critic.${scaleOf(on)}`]);
      return waves(direction(rows), constants[`directions${i}`], weight / total);
    });
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

/**
 * The layers a network may have: their parameters, and what each computes. One table, used by every kind of `Net`.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs';

interface Convolution {
  readonly name: string;
  readonly channels: number;
  readonly filters: number;
  readonly kernel: number;
  readonly stride: number;
  readonly bias: boolean;
  readonly gain: number;
}

export type Layer =
  | { kind: 'dense'; name: string; inputs: number; units: number; bias: boolean; gain: number }
  | ({ kind: 'conv2d'; height: number; width: number } & Convolution)
  | ({ kind: 'convTranspose2d' } & Convolution)
  | { kind: 'batchNorm'; name: string; channels: number }
  | { kind: 'groupNorm'; name: string; channels: number; groups: number }
  | { kind: 'embedding'; name: string; classes: number; dim: number }
  | { kind: 'labelPlanes'; name: string; classes: number; height: number; width: number; channels: number }
  | { kind: 'parameter'; name: string; length: number };
export type LayerKind = Layer['kind'];
export type LayerOf<K extends LayerKind> = Extract<Layer, { kind: K }>;

/** Where a parameter starts: zeros, ones, or independent normal draws. */
export type Initialiser = { kind: 'constant'; value: number } | { kind: 'normal'; std: number };

export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly initialiser: Initialiser;
}

const constant = (value: number): Initialiser => ({ kind: 'constant', value });
const normal = (std: number): Initialiser => ({ kind: 'normal', std });
const EPSILON = 1e-5;

/** A layer's parameters in order. Names are `<layer>.<part>`. */
export function parametersOf(layer: Layer): ParameterSpec[] {
  const part = (suffix: string, shape: readonly number[], initialiser: Initialiser): ParameterSpec => ({
    name: `${layer.name}.${suffix}`,
    shape,
    initialiser,
  });
  switch (layer.kind) {
    case 'dense': {
      const weight = part('weight', [layer.inputs, layer.units], normal(layer.gain / Math.sqrt(layer.inputs)));
      return layer.bias ? [weight, part('bias', [layer.units], constant(0))] : [weight];
    }
    case 'conv2d': {
      const { kernel: k, channels, filters } = layer;
      const weight = part('weight', [k, k, channels, filters], normal(layer.gain / (k * Math.sqrt(channels))));
      return layer.bias ? [weight, part('bias', [filters], constant(0))] : [weight];
    }
    case 'convTranspose2d': {
      const { kernel: k, channels, filters, stride } = layer;
      // Each output pixel is reached by (kernel / stride)² positions of the kernel.
      const std = (layer.gain * stride) / (k * Math.sqrt(channels));
      const weight = part('weight', [k, k, filters, channels], normal(std));
      return layer.bias ? [weight, part('bias', [filters], constant(0))] : [weight];
    }
    case 'batchNorm':
    case 'groupNorm':
      return [part('scale', [layer.channels], constant(1)), part('shift', [layer.channels], constant(0))];
    case 'embedding':
      return [part('weight', [layer.classes, layer.dim], normal(1 / Math.sqrt(layer.dim)))];
    case 'labelPlanes': {
      const size = layer.height * layer.width * layer.channels;
      return [part('weight', [layer.classes, size], normal(0.5))];
    }
    case 'parameter':
      return [part('value', [layer.length], constant(0))];
  }
}

/** Mean and variance of each channel over the batch. [channels] each */
export interface BatchStatistics {
  readonly mean: Tensor1D;
  readonly variance: Tensor1D;
}

export function batchStatistics(x: Tensor2D | Tensor4D): BatchStatistics {
  const axes = x.rank === 4 ? [0, 1, 2] : [0];
  const mean = tf.mean<Tensor1D>(x, axes);
  return { mean, variance: tf.mean<Tensor1D>(tf.square(tf.sub(x, mean)), axes) };
}

/** (x - mean) / √(variance + ε), channel by channel. */
export function normaliseBatch<T extends Tensor>(x: T, { mean, variance }: BatchStatistics): T {
  return tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, EPSILON)));
}

/** The same, times scale, plus shift, with all that does not depend on x worked out on single channels first. */
export function batchNormOf<T extends Tensor>(x: T, { mean, variance }: BatchStatistics, [scale, shift]: Tensor[]): T {
  const slope = tf.mul(scale, tf.rsqrt(tf.add(variance, EPSILON)));
  return tf.add(tf.mul(x, slope), tf.sub(shift, tf.mul(mean, slope)));
}

/** (x - mean) / √(variance + ε) over the positions and channels of one group of one example. */
export function normaliseGroups(x: Tensor4D, groups: number): Tensor4D {
  const [n, height, width, channels] = x.shape;
  const grouped = tf.reshape(x, [n, height * width, groups, channels / groups]);
  const centred = tf.sub(grouped, tf.mean(grouped, [1, 3], true));
  const variance = tf.mean(tf.square(centred), [1, 3], true);
  return tf.reshape(tf.mul(centred, tf.rsqrt(tf.add(variance, EPSILON))), x.shape);
}

const plus = <T extends Tensor>(x: T, bias: Tensor | undefined): T => (bias ? tf.add(x, bias) : x);

/**
 * What a layer computes.
 *
 * @param p - the layer's parameters, in the order of `parametersOf`.
 * @param x - the layer's input; for `batchNorm` and `groupNorm` the input after normalisation.
 */
export function computeLayer(
  layer: Exclude<Layer, { kind: 'parameter' }>,
  p: Tensor[],
  x: Tensor2D | Tensor4D,
): Tensor2D | Tensor4D {
  switch (layer.kind) {
    case 'dense':
      return plus<Tensor2D>(tf.matMul(x, p[0]), p[1]);
    case 'conv2d':
      return plus(tf.conv2d(x as Tensor4D, p[0] as Tensor4D, layer.stride, 'same'), p[1]);
    case 'convTranspose2d': {
      const [n, height, width] = (x as Tensor4D).shape;
      const shape: [number, number, number, number] = [n, height * layer.stride, width * layer.stride, layer.filters];
      return plus(tf.conv2dTranspose(x as Tensor4D, p[0] as Tensor4D, shape, layer.stride, 'same'), p[1]);
    }
    case 'batchNorm':
    case 'groupNorm':
      return tf.add<Tensor4D>(tf.mul<Tensor4D>(x, p[0]), p[1]);
    case 'embedding':
      return tf.matMul(x, p[0]);
    case 'labelPlanes': {
      const planes = tf.matMul(x, p[0]);
      return tf.reshape<tf.Rank.R4>(planes, [x.shape[0], layer.height, layer.width, layer.channels]);
    }
  }
}

/** The shape of one example after a layer, without the batch. */
export function outputShape(layer: Exclude<Layer, { kind: 'parameter' }>, input: readonly number[]): readonly number[] {
  switch (layer.kind) {
    case 'dense':
      return [layer.units];
    case 'conv2d':
      return [Math.ceil(input[0] / layer.stride), Math.ceil(input[1] / layer.stride), layer.filters];
    case 'convTranspose2d':
      return [input[0] * layer.stride, input[1] * layer.stride, layer.filters];
    case 'batchNorm':
    case 'groupNorm':
      return input;
    case 'embedding':
      return [layer.dim];
    case 'labelPlanes':
      return [layer.height, layer.width, layer.channels];
  }
}

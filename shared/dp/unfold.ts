/**
 * What a convolution reads at each position of its output, as rows: the form in which its gradient is a product.
 * `same` padding throughout, as in `Net.conv2d`. Not audited.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor3D, Tensor4D } from '@tensorflow/tfjs';
import type { LayerOf } from '../gan/layers.ts';

type Conv = LayerOf<'conv2d'>;

/** [n, h, w, c] to [n, c, h, w]. */
export const channelsFirst = (x: Tensor4D): Tensor4D => tf.transpose(x, [0, 3, 1, 2]);

/** Output size and padding of one axis under `same`. */
export function axisOf(size: number, kernel: number, stride: number) {
  const out = Math.ceil(size / stride);
  const total = Math.max(0, (out - 1) * stride + kernel - size);
  const before = Math.floor(total / 2);
  return { out, before, after: total - before };
}

/** Positions of a convolution's output. */
export const positions = (c: Conv): number =>
  axisOf(c.height, c.kernel, c.stride).out * axisOf(c.width, c.kernel, c.stride).out;

/** Values that one position of the output reads: kernel² × channels. */
export const patchSize = (c: Conv): number => c.kernel * c.kernel * c.channels;

/** Up to this many values a patch, patches are cut out by a convolution with the identity: one fast operation. */
const IDENTITY_LIMIT = 128;

/**
 * The patches of every position, in the order of the filter [kernel, kernel, channels].
 * @param ones - add a row of ones at the end: its product with the tap gradient is the bias's gradient.
 * @returns [n, patch (+ 1), positions]
 */
export function unfold(conv: Conv, x: Tensor4D, ones: boolean): Tensor3D {
  const { kernel, stride, channels } = conv;
  const n = x.shape[0];
  const count = positions(conv);
  const size = patchSize(conv);
  if (size <= IDENTITY_LIMIT) {
    // A filter of zeros reads the constant row; its one comes from the bias.
    const rows = ones ? size + 1 : size;
    const filter = Float32Array.from({ length: size * rows }, (_, i) => (Math.floor(i / rows) === i % rows ? 1 : 0));
    const shape: [number, number, number, number] = [kernel, kernel, channels, rows];
    let patches = tf.conv2d(x, tf.tensor4d(filter, shape), stride, 'same');
    if (ones) patches = tf.add(patches, tf.tensor1d([...new Array<number>(size).fill(0), 1]));
    return tf.reshape(channelsFirst(patches), [n, rows, count]);
  }
  const [v, h] = [axisOf(conv.height, kernel, stride), axisOf(conv.width, kernel, stride)];
  const padded = tf.pad(channelsFirst(x), [
    [0, 0],
    [0, 0],
    [v.before, v.after],
    [h.before, h.after],
  ]);
  const parts: Tensor[] = [];
  for (let dy = 0; dy < kernel; dy++)
    for (let dx = 0; dx < kernel; dx++) {
      const end = [n, channels, dy + (v.out - 1) * stride + 1, dx + (h.out - 1) * stride + 1];
      const part = tf.stridedSlice(padded, [0, 0, dy, dx], end, [1, 1, stride, stride]);
      parts.push(tf.reshape(part, [n, channels, count]));
    }
  if (ones) parts.push(tf.ones([n, 1, count]));
  return tf.concat(parts, 1) as Tensor3D;
}

/** Whether `blocks` works: the kernel is a whole number of strides. */
export const hasBlocks = (c: Conv): boolean => c.kernel % c.stride === 0;

/** A convolution seen as one of stride 1 over blocks of stride × stride pixels. */
export interface Blocks {
  /** [n, rows × columns, stride² × channels]: each block once, where patches would hold it up to (kernel/stride)² times. */
  readonly values: Tensor3D;
  readonly rows: number;
  readonly columns: number;
  /** For each part of the kernel, how far its block lies behind the position's first, counted along rows × columns. */
  readonly offsets: readonly number[];
}

/** The grid of `blocks`: output positions, and (kernel / stride - 1) more on each axis. */
export function blockGrid(c: Conv): { rows: number; columns: number } {
  const more = c.kernel / c.stride - 1;
  const out = (size: number) => axisOf(size, c.kernel, c.stride).out;
  return { rows: out(c.height) + more, columns: out(c.width) + more };
}

/** The padded input cut into blocks, for a kernel that is a whole number of strides. */
export function blocks(conv: Conv, x: Tensor4D): Blocks {
  const { kernel, stride, channels } = conv;
  const n = x.shape[0];
  const { rows, columns } = blockGrid(conv);
  const [v, h] = [axisOf(conv.height, kernel, stride), axisOf(conv.width, kernel, stride)];
  // Where the size is no multiple of the stride the last block reaches past the padding that `same` asks for.
  const padding: [number, number][] = [
    [0, 0],
    [v.before, rows * stride - conv.height - v.before],
    [h.before, columns * stride - conv.width - h.before],
    [0, 0],
  ];
  // Channels last: then whole pixels move, not single values. Measured: half the time.
  const cut = tf.reshape(tf.pad(x, padding), [n, rows, stride, columns, stride * channels]);
  const moved = tf.transpose(cut, [0, 1, 3, 2, 4]);
  const values = tf.reshape<tf.Rank.R3>(moved, [n, rows * columns, stride * stride * channels]);
  const offsets: number[] = [];
  for (let dy = 0; dy < kernel / stride; dy++)
    for (let dx = 0; dx < kernel / stride; dx++) offsets.push(dy * columns + dx);
  return { values, rows, columns, offsets };
}

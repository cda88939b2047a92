/**
 * Inner products between the positions of a patient's images: what norms are made of where gradients are too large to form.
 * A unit is a patient or a fake; its images lie end to end, so that the products between them count. Not audited.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor3D, Tensor4D } from '@tensorflow/tfjs';
import type { LayerOf } from '../gan/layers.ts';
import { blocks, unfold } from './unfold.ts';

/** A run of units in the batch that have the same number of images: patients with m, fakes with one. */
export interface UnitGroup {
  readonly units: number;
  readonly images: number;
}

/** Cuts [n, ...] into one tensor [units, images, ...] a group. */
export function byGroup(x: Tensor, groups: readonly UnitGroup[]): Tensor[] {
  const rest = x.shape.slice(1);
  let start = 0;
  return groups.map(({ units, images }) => {
    const part = groups.length === 1 ? x : tf.slice(x, start, units * images);
    start += units * images;
    return tf.reshape(part, [units, images, ...rest]);
  });
}

/** [units, images, rows, t] to [units, rows, images × t]: a patient's images laid end to end. */
export function endToEnd(x: Tensor): Tensor3D {
  const [units, images, rows, t] = x.shape;
  if (images === 1) return tf.reshape(x, [units, rows, t]);
  return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [units, rows, images * t]);
}

/** xᵀx for each unit. [units, rows, t] to [units, t, t] */
const gram = (x: Tensor3D): Tensor3D => tf.matMul(x, x, true, false);

/**
 * What every norm made of terms that may cancel is raised by, as a share of what it would be if none did. float32 gets a
 * sum of products wrong by a small multiple of 2^-24 of its terms' sizes, whatever is left of them: a patient whose terms
 * cancel could pass for smaller than they are, and enlarge their rounding errors with them. At 2^-20 of the square neither
 * exceeds `FLOAT_SLACK`; the price is a clip that is tighter by about 10^-5.
 */
export const ROUNDING_MARGIN = 2 ** -20;

/** [units, t, t] to the sum of each diagonal. [units] */
function trace(x: Tensor3D): Tensor1D {
  const [units, t] = x.shape;
  const flat = tf.reshape(x, [units, t * t]);
  return tf.sum(tf.stridedSlice(flat, [0, 0], [units, t * t], [1, t + 1]), 1);
}

/** Σ of the products of two Gram matrices' entries, and the margin. [units] */
export function normsFromGrams(inner: Tensor3D, outer: Tensor3D, bias: boolean): Tensor1D {
  // + 1 is the bias: the Gram matrix of an input that is one everywhere.
  const whole: Tensor3D = bias ? tf.add(inner, 1) : inner;
  const most = tf.mul(trace(whole), trace(outer));
  return tf.add(tf.sum(tf.mul(whole, outer), [1, 2]), tf.mul(most, ROUNDING_MARGIN));
}

/** For each group, ⟨u_t, u_t'⟩ and ⟨g_t, g_t'⟩ of its units. [units, t, t] each */
export interface Grams {
  readonly inner: Tensor3D[];
  readonly outer: Tensor3D[];
}

/** Gram matrices over patches: for every convolution. */
export function patchGrams(layer: LayerOf<'conv2d'>, x: Tensor4D, flat: Tensor3D, groups: readonly UnitGroup[]): Grams {
  const grams = (y: Tensor3D) => byGroup(y, groups).map((part) => gram(endToEnd(part)));
  return { inner: grams(unfold(layer, x, false)), outer: grams(flat) };
}

/**
 * Gram matrices over blocks: ⟨u_t, u_t'⟩ is a sum of block products, one for each part of the kernel, all of them entries
 * of one smaller Gram matrix along shifted diagonals. Tap gradients are laid on the same grid with zeros between rows, so
 * shifts that leave a row or an image meet a zero.
 */
export function blockGrams(
  layer: LayerOf<'conv2d'>,
  x: Tensor4D,
  first: Tensor4D,
  groups: readonly UnitGroup[],
): Grams {
  const { values, rows, columns, offsets } = blocks(layer, x);
  const [n, filters, height, width] = first.shape;
  const padding: [number, number][] = [
    [0, 0],
    [0, 0],
    [0, rows - height],
    [0, columns - width],
  ];
  const laid = tf.reshape(tf.pad(first, padding), [n, filters, rows * columns]);
  const furthest = Math.max(...offsets);
  const inner = byGroup(values, groups).map((part) => {
    const [units, images, grid, size] = part.shape;
    const all = tf.reshape<tf.Rank.R3>(part, [units, images * grid, size]);
    const products: Tensor3D = tf.matMul(all, all, false, true);
    const length = images * grid - furthest;
    return tf.addN<Tensor3D>(offsets.map((o): Tensor3D => tf.slice(products, [0, o, o], [units, length, length])));
  });
  const outer = byGroup(laid, groups).map((part) => {
    const whole = endToEnd(part);
    const [units, , size] = whole.shape;
    return gram(tf.slice(whole, [0, 0, 0], [units, filters, size - furthest]));
  });
  return { inner, outer };
}

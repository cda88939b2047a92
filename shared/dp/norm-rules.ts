/**
 * Per-patient gradient norms and clipped sums, layer by layer, without any patient's gradient of a large layer ever being
 * formed. A layer kind that is not in the table has no rule, and a discriminator with such a layer is refused.
 *
 * For a linear layer with inputs u_t and tap gradients g_t at the positions t of a patient's images (all images of one
 * patient together, so that cross terms count), the gradient is Σ_t u_t g_tᵀ and its squared norm Σ_{t,t'} ⟨u_t, u_t'⟩
 * ⟨g_t, g_t'⟩. The right side (Gram matrices) is cheaper where positions are few, the left one where the layer is small;
 * `cheaper` decides from the sizes alone. Not audited.
 *
 * @see Bu et al. 2022, https://arxiv.org/abs/2210.00038, sections 3 and 4; Goodfellow 2015, https://arxiv.org/abs/1510.01799
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D, Tensor4D } from '@tensorflow/tfjs';
import type { Layer, LayerKind, LayerOf } from '../gan/layers.ts';
import { blockGrams, byGroup, endToEnd, normsFromGrams, patchGrams, ROUNDING_MARGIN, type UnitGroup } from './gram.ts';
import { blockGrid, channelsFirst, hasBlocks, patchSize, positions, unfold } from './unfold.ts';

export interface Measured {
  /** Squared norm of each unit's gradient of this layer. [units of all groups] */
  readonly squaredNorms: Tensor1D;
  /**
   * The layer's part of the clipped sum, in the order of `parametersOf`.
   * @param factors - [units]; what each unit's gradient is multiplied by.
   * @param scaled - the tap gradient times the factor of its unit; asked for only where it is needed.
   */
  readonly sum: (factors: Tensor1D, scaled: () => Tensor) => Tensor[];
}

export interface NormRule<K extends LayerKind = LayerKind> {
  /** @param input - [n, ...] what the layer multiplies its weights with; @param tap - [n, ...] gradient at its output. */
  measure(layer: LayerOf<K>, input: Tensor, tap: Tensor, groups: readonly UnitGroup[]): Measured;
}

export type NormRules = { readonly [K in LayerKind]?: NormRule<K> };

const squares = (x: Tensor, axes: number[]): Tensor1D => tf.sum(tf.square(x), axes);

const joined = (parts: Tensor[]): Tensor1D => (parts.length === 1 ? parts[0] : tf.concat(parts, 0)) as Tensor1D;

/** Rows × columns of each unit's gradient, formed because they are few; then norms and sum are one product each. */
function fromProducts(products: Tensor3D[], split: (sum: Tensor2D) => Tensor[]): Measured {
  return {
    squaredNorms: joined(products.map((product) => squares(product, [1, 2]))),
    sum: (factors) => {
      let start = 0;
      const sums = products.map((product) => {
        const [units, rows, columns] = product.shape;
        const own = tf.reshape(tf.slice(factors, start, units), [1, units]);
        start += units;
        return tf.reshape(tf.matMul(own, tf.reshape(product, [units, rows * columns])), [rows, columns]);
      });
      return split(tf.addN(sums) as Tensor2D);
    },
  };
}

interface Cost {
  /** Positions of a unit: images × positions of one image. */
  readonly t: number;
  readonly inputs: number;
  readonly outputs: number;
  /** Positions and values of the form in which the Gram matrix of the inputs is taken. */
  readonly gramT: number;
  readonly gramInputs: number;
}

/**
 * Costs of a unit, in multiplications. A product serves the sum as well, which saves the layer's ordinary gradient and so
 * part of its own arithmetic; but it is written, squared and read again. Both shares are measured (1 to 8 images of 28 × 28,
 * 64 to 128 filters): they decide speed, never a result.
 */
const PRODUCT_SHARE = 0.6;
const STORED_VALUE_COST = 20;
export function cheaper({ t, inputs, outputs, gramT, gramInputs }: Cost): 'product' | 'gram' {
  const product = (PRODUCT_SHARE * t + STORED_VALUE_COST) * inputs * outputs;
  return product <= gramT * gramT * (gramInputs + outputs) ? 'product' : 'gram';
}

/** @param choose - which form to take; `cheaper` but in tests of both. */
export const convolutionRule = (choose = cheaper): NormRule<'conv2d'> => ({
  measure(layer, input, tap, groups) {
    const x = input as Tensor4D;
    const { filters, bias } = layer;
    const shape: [number, number, number, number] = [layer.kernel, layer.kernel, layer.channels, filters];
    const images = Math.max(...groups.map((g) => g.images));
    const count = positions(layer);
    const size = patchSize(layer);
    const grid = hasBlocks(layer) ? blockGrid(layer) : undefined;
    const way = choose({
      t: images * count,
      inputs: size,
      outputs: filters,
      gramT: images * (grid ? grid.rows * grid.columns : count),
      gramInputs: grid ? layer.stride * layer.stride * layer.channels : size,
    });
    const first = channelsFirst(tap as Tensor4D);
    const flat = tf.reshape<tf.Rank.R3>(first, [first.shape[0], filters, count]);
    if (way === 'product') {
      const patches = byGroup(unfold(layer, x, bias), groups);
      const gradients = byGroup(flat, groups);
      const products = patches.map((u, i) => tf.matMul<Tensor3D>(endToEnd(u), endToEnd(gradients[i]), false, true));
      return fromProducts(products, (sum) => {
        const weight: Tensor = tf.reshape(tf.slice(sum, [0, 0], [size, filters]), shape);
        return bias ? [weight, tf.reshape(tf.slice(sum, [size, 0], [1, filters]), [filters])] : [weight];
      });
    }
    const { inner, outer } = grid ? blockGrams(layer, x, first, groups) : patchGrams(layer, x, flat, groups);
    return {
      squaredNorms: joined(inner.map((k, i) => normsFromGrams(k, outer[i], bias))),
      sum: (_, scaled) => {
        const dy = scaled() as Tensor4D;
        const attributes = { strides: layer.stride, pad: 'same', dataFormat: 'NHWC', filterShape: shape };
        const weight: Tensor = tf.engine().runKernel('Conv2DBackpropFilter', { x, dy }, attributes);
        return bias ? [weight, tf.sum(tf.sum(channelsFirst(dy), [2, 3]), 0)] : [weight];
      },
    };
  },
});

/** x·W + b and everything that is one: an embedding is a dense layer without bias whose input is one-hot. */
function linear(input: Tensor2D, tap: Tensor2D, bias: boolean, groups: readonly UnitGroup[]): Measured {
  const [, inputs] = input.shape;
  const [, units] = tap.shape;
  const images = Math.max(...groups.map((g) => g.images));
  const [xs, gs] = [byGroup(input, groups), byGroup(tap, groups)];
  const sum = (_: Tensor1D, scaled: () => Tensor): Tensor[] => {
    const g = scaled() as Tensor2D;
    const weight = tf.matMul(input, g, true, false);
    return bias ? [weight, tf.sum(g, 0)] : [weight];
  };
  if (images === 1) {
    const own = squares(input, [1]);
    return { squaredNorms: tf.mul(bias ? tf.add(own, 1) : own, squares(tap, [1])), sum };
  }
  const way = cheaper({ t: images, inputs, outputs: units, gramT: images, gramInputs: inputs });
  const squaredNorms = xs.map((x, i) => {
    const g = gs[i] as Tensor3D;
    if (way === 'gram') {
      const inner: Tensor3D = tf.matMul(x, x, false, true);
      return normsFromGrams(inner, tf.matMul(g, g, false, true), bias);
    }
    const weight = squares(tf.matMul(x, g, true, false), [1, 2]);
    const whole = bias ? tf.add(weight, squares(tf.sum(g, 1), [1])) : weight;
    const most = tf.mul(tf.add(squares(x, [1, 2]), bias ? images : 0), squares(g, [1, 2]));
    return tf.add(whole, tf.mul(most, ROUNDING_MARGIN));
  });
  return { squaredNorms: joined(squaredNorms), sum };
}

const dense: NormRule<'dense'> = {
  measure: (layer, input, tap, groups) => linear(input as Tensor2D, tap as Tensor2D, layer.bias, groups),
};

const embedding: NormRule<'embedding'> = {
  measure: (_, input, tap, groups) => linear(input as Tensor2D, tap as Tensor2D, false, groups),
};

const labelPlanes: NormRule<'labelPlanes'> = {
  measure: (layer, input, tap, groups) => {
    const flat = tf.reshape(tap, [tap.shape[0], layer.height * layer.width * layer.channels]);
    const { squaredNorms, sum } = linear(input as Tensor2D, flat as Tensor2D, false, groups);
    return { squaredNorms, sum: (factors, scaled) => sum(factors, () => tf.reshape(scaled(), flat.shape)) };
  },
};

/** Scale and shift after normalisation within an example: one value of each a channel, so products are stored. */
const groupNorm: NormRule<'groupNorm'> = {
  measure(layer, input, tap, groups) {
    const { channels } = layer;
    const sums = (y: Tensor) =>
      byGroup(tf.reshape(tf.sum(y, [1, 2]), [tap.shape[0], 1, channels]), groups).map((part) => tf.sum(part, 1));
    const [scales, shifts] = [sums(tf.mul(input, tap)), sums(tap)];
    const products = scales.map((scale, i) => tf.concat([scale, shifts[i]], 1) as Tensor3D);
    return fromProducts(products, (sum) =>
      [0, 1].map((i) => tf.reshape(tf.slice(sum, [i, 0], [1, channels]), [channels])),
    );
  },
};

/** Every layer kind that a private discriminator may have. */
export const NORM_RULES: NormRules = { conv2d: convolutionRule(), dense, embedding, groupNorm, labelPlanes };

/** Typed look-up: the rule of a layer's own kind. */
export const ruleOf = (rules: NormRules, layer: Layer): NormRule | undefined =>
  rules[layer.kind] as NormRule | undefined;

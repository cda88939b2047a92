import * as tf from '@tensorflow/tfjs';
import { int, text, type Graph, type Value } from '../graph.ts';
import { activate, pair } from './elementwise.ts';
import type { Rule, Rules } from './rule.ts';

/** Matrix products. */

const swapLast = (rank: number) => [...Array(rank).keys()].map((i) => (i < rank - 2 ? i : 2 * rank - 3 - i));

/** a·b over the last two axes, either transposed, the leading axes broadcast. */
export function matMul(g: Graph, a: Value, b: Value, transposeA: boolean, transposeB: boolean): Value {
  const [rankA, rankB] = [a.shape.length, b.shape.length];
  const rows = a.shape[rankA - (transposeA ? 1 : 2)];
  const columns = b.shape[rankB - (transposeB ? 2 : 1)];
  if (rankA === 2 && rankB === 2) {
    const attributes = { transA: int(transposeA ? 1 : 0), transB: int(transposeB ? 1 : 0) };
    return g.add('Gemm', [a, b], [rows, columns], 'float32', attributes);
  }
  const batch = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const left = transposeA ? g.transpose(a, swapLast(rankA)) : a;
  const right = transposeB ? g.transpose(b, swapLast(rankB)) : b;
  return g.add('MatMul', [left, right], [...batch, rows, columns], 'float32');
}

const batchMatMul: Rule<tf.BatchMatMulAttrs> = (g, { a, b }, { transposeA, transposeB }) =>
  matMul(g, a, b, transposeA, transposeB);

const fusedMatMul: Rule<tf._FusedMatMulAttrs> = (g, inputs, attrs) => {
  const product = matMul(g, inputs['a'], inputs['b'], attrs.transposeA, attrs.transposeB);
  const bias = inputs['bias'] as Value | undefined;
  return activate(g, bias ? pair(g, 'Add', product, bias) : product, attrs.activation, inputs, attrs.leakyreluAlpha);
};

const einsum: Rule<tf.EinsumAttrs> = (g, inputs, { equation }) => {
  const operands = Object.values(inputs);
  const plain = equation.replaceAll(' ', '');
  const [left, right] = plain.split('->');
  const sizes = new Map<string, number>();
  left.split(',').forEach((term, i) => [...term].forEach((letter, axis) => sizes.set(letter, operands[i].shape[axis])));
  const shape = [...right].map((letter) => sizes.get(letter)!);
  return g.add('Einsum', operands, shape, 'float32', { equation: text(plain) });
};

export const products = {
  BatchMatMul: batchMatMul,
  Einsum: einsum,
  _FusedMatMul: fusedMatMul,
} satisfies Rules;

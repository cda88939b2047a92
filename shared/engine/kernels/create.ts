import * as tf from '@tensorflow/tfjs';
import type { Graph, ValueType } from '../graph.ts';
import type { Rule, Rules } from './rule.ts';

/** Kernels whose result is known before the program runs. */

function filled(g: Graph, shape: readonly number[], value: number, dtype: string) {
  const type: ValueType = dtype === 'int32' || dtype === 'bool' ? dtype : 'float32';
  return g.constant(new Float32Array(tf.util.sizeFromShape([...shape])).fill(value), shape, type);
}

const like =
  (value: number): Rule<unknown> =>
  (g, { x }) =>
    filled(g, x.shape, value, x.dtype);

const fill: Rule<tf.FillAttrs> = (g, _, { shape, value, dtype }) => filled(g, shape, Number(value), dtype);

const linSpace: Rule<tf.LinSpaceAttrs> = (g, _, { start, stop, num }) =>
  g.constant(
    Float32Array.from({ length: num }, (_, i) => start + (i * (stop - start)) / (num - 1)),
    [num],
    'float32',
  );

const range: Rule<tf.RangeAttrs> = (g, _, { start, stop, step, dtype }) => {
  const length = Math.max(0, Math.ceil((stop - start) / step));
  return g.constant(
    Float32Array.from({ length }, (_, i) => start + i * step),
    [length],
    dtype === 'int32' ? 'int32' : 'float32',
  );
};

export const creations = {
  Fill: fill,
  LinSpace: linSpace,
  OnesLike: like(1),
  Range: range,
  ZerosLike: like(0),
} satisfies Rules;

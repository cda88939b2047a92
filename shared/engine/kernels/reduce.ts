import type * as tf from '@tensorflow/tfjs';
import { int, ints, type Graph, type Value, type ValueType } from '../graph.ts';
import { axesOf, type Rule, type Rules } from './rule.ts';

/** Kernels that fold axes away. */

/** Reduces `axes`, which are dropped unless `keepDims`. Reducing no axis leaves the tensor as it is. */
export function reduce(g: Graph, op: string, x: Value, axes: readonly number[], keepDims: boolean): Value {
  if (axes.length === 0) return x;
  const shape = keepDims
    ? x.shape.map((n, i) => (axes.includes(i) ? 1 : n))
    : x.shape.filter((_, i) => !axes.includes(i));
  const keepdims = int(keepDims ? 1 : 0);
  // In opset 17 only ReduceSum takes its axes as an input.
  return op === 'ReduceSum'
    ? g.add(op, [x, g.ints(axes)], shape, x.dtype, { keepdims })
    : g.add(op, [x], shape, x.dtype, { axes: ints(axes), keepdims });
}

interface Attrs {
  axis?: number | number[];
  reductionIndices?: number | number[];
  keepDims: boolean;
}

/** @param through - the type to compute in, when it is not the input's own. */
const reduction =
  (op: string, through?: ValueType): Rule<Attrs> =>
  (g, { x }, { axis, reductionIndices, keepDims }) => {
    const axes = axesOf(axis ?? reductionIndices, x.shape.length);
    return reduce(g, op, g.cast(x, through ?? (x.dtype === 'bool' ? 'int32' : x.dtype)), axes, keepDims);
  };

const overBooleans =
  (op: string): Rule<Attrs> =>
  (g, inputs, attrs) =>
    g.cast(reduction(op, 'int32')(g, inputs, attrs) as Value, 'bool');

const argument =
  (op: string): Rule<{ axis: number }> =>
  (g, { x }, { axis }) => {
    const [only] = axesOf(axis, x.shape.length);
    const shape = x.shape.filter((_, i) => i !== only);
    return g.cast(g.add(op, [x], shape, 'int64', { axis: int(only), keepdims: int(0) }), 'int32');
  };

const cumsum: Rule<tf.CumsumAttrs> = (g, { x }, { axis, exclusive, reverse }) =>
  g.add('CumSum', [x, g.ints(axesOf(axis, x.shape.length))], x.shape, x.dtype, {
    exclusive: int(exclusive ? 1 : 0),
    reverse: int(reverse ? 1 : 0),
  });

export const reductions = {
  All: overBooleans('ReduceMin'),
  Any: overBooleans('ReduceMax'),
  ArgMax: argument('ArgMax'),
  ArgMin: argument('ArgMin'),
  Cumsum: cumsum,
  Max: reduction('ReduceMax'),
  Mean: reduction('ReduceMean', 'float32'),
  Min: reduction('ReduceMin'),
  Prod: reduction('ReduceProd'),
  Sum: reduction('ReduceSum'),
} satisfies Rules;

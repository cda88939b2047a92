import type * as tf from '@tensorflow/tfjs';
import { int, text, type Graph, type Value } from '../graph.ts';
import { where } from './elementwise.ts';
import { axesOf, withAxis, type Rule, type Rules } from './rule.ts';

/** Kernels that pick or place elements by integer indices. */

/** [..., depth] booleans: does the index equal the position? An index out of range matches nothing. */
function matches(g: Graph, indices: Value, depth: number): Value {
  const positions = g.constant(
    Int32Array.from({ length: depth }, (_, i) => i),
    [depth],
    'int32',
  );
  const column = g.reshape(g.cast(indices, 'int32'), [...indices.shape, 1]);
  return g.add('Equal', [column, positions], [...indices.shape, depth], 'bool');
}

const oneHot: Rule<tf.OneHotAttrs> = (g, { indices }, { depth, onValue, offValue, dtype }) => {
  const type = dtype === 'int32' || dtype === 'bool' ? dtype : 'float32';
  const [on, off] = [onValue, offValue].map((value) => g.scalar(value, type === 'bool' ? 'int32' : type));
  return g.cast(where(g, matches(g, indices, depth), on, off), type);
};

const gather: Rule<tf.GatherV2Attrs> = (g, { x, indices }, { axis, batchDims }) => {
  const [at] = axesOf(axis, x.shape.length);
  if (batchDims === 0) {
    const shape = [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)];
    return g.add('Gather', [x, indices], shape, x.dtype, { axis: int(at) });
  }
  if (at !== batchDims) throw new Error('gather with batchDims works along the axis after the batch only');
  const shape = [...x.shape.slice(0, at), ...indices.shape.slice(batchDims), ...x.shape.slice(at + 1)];
  const tuples = g.reshape(g.cast(indices, 'int64'), [...indices.shape, 1]);
  return g.add('GatherND', [x, tuples], shape, x.dtype, { batch_dims: int(batchDims) });
};

const gatherNd: Rule<unknown> = (g, { params, indices }) => {
  const depth = indices.shape.at(-1)!;
  const shape = [...indices.shape.slice(0, -1), ...params.shape.slice(depth)];
  return g.add('GatherND', [params, g.cast(indices, 'int64')], shape, params.dtype);
};

/** Starts from zeros; updates to one place are added up. */
const scatterNd: Rule<tf.ScatterNdAttrs> = (g, { indices, updates }, { shape }) => {
  const zeros = g.constant(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape, updates.dtype);
  const places = g.cast(indices, 'int64');
  return g.add('ScatterND', [zeros, places, updates], shape, updates.dtype, { reduction: text('add') });
};

/** As a product with a one-hot matrix: exact, and fast for the few segments of class-conditional layers. */
const unsortedSegmentSum: Rule<tf.UnsortedSegmentSumAttrs> = (g, { x, segmentIds }, { numSegments }) => {
  const n = segmentIds.shape[0];
  const inner = x.shape.slice(segmentIds.shape.length);
  const rows = g.reshape(g.cast(x, 'float32'), [n, inner.reduce((a, b) => a * b, 1)]);
  const chosen = g.transpose(g.cast(matches(g, segmentIds, numSegments), 'float32'), [1, 0]);
  const sums = g.add('MatMul', [chosen, rows], [numSegments, rows.shape[1]], 'float32');
  return g.cast(g.reshape(sums, [numSegments, ...inner]), x.dtype);
};

const topK: Rule<tf.TopKAttrs> = (g, { x }, { k, sorted }) => {
  const shape = withAxis(x.shape, x.shape.length - 1, k);
  const outputs = [
    { shape, dtype: x.dtype },
    { shape, dtype: 'int64' as const },
  ];
  const [values, indices] = g.addMany('TopK', [x, g.ints([k])], outputs, { sorted: int(sorted ? 1 : 0) });
  return [values, g.cast(indices, 'int32')];
};

export const indexing = {
  GatherNd: gatherNd,
  GatherV2: gather,
  OneHot: oneHot,
  ScatterNd: scatterNd,
  TopK: topK,
  UnsortedSegmentSum: unsortedSegmentSum,
} satisfies Rules;

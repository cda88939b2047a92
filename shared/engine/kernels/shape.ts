import * as tf from '@tensorflow/tfjs';
import { int, text, type Graph, type Value } from '../graph.ts';
import { axesOf, withAxis, type Rule, type Rules } from './rule.ts';

/** Kernels that move elements without computing: reshape, transpose, slice, join, pad, repeat. */

/** Ends a backward slice beyond element 0; ONNX reads -1 as "the last". */
const BEFORE_THE_FIRST = -(2 ** 31);

/** @param ends - exclusive; may be -1 with a negative step, meaning before the first element. */
export function slice(
  g: Graph,
  x: Value,
  begins: readonly number[],
  ends: readonly number[],
  steps: readonly number[] = begins.map(() => 1),
): Value {
  const axes = x.shape.map((_, i) => i).filter((i) => begins[i] !== 0 || ends[i] !== x.shape[i] || steps[i] !== 1);
  if (axes.length === 0) return x;
  const at = (list: readonly number[]) => g.ints(axes.map((i) => list[i]));
  const stops = ends.map((end, i) => (end < 0 && steps[i] < 0 ? BEFORE_THE_FIRST : end));
  const shape = x.shape.map((_, i) => Math.max(0, Math.ceil((ends[i] - begins[i]) / steps[i])));
  return g.add('Slice', [x, at(begins), at(stops), g.ints(axes), at(steps)], shape, x.dtype);
}

const sliceRule: Rule<tf.SliceAttrs> = (g, { x }, attrs) => {
  const info = { dataId: {}, shape: [...x.shape], dtype: 'float32' as const };
  const [begin, size] = tf.slice_util.parseSliceParams(info, attrs.begin, attrs.size);
  return slice(
    g,
    x,
    begin,
    begin.map((b, i) => b + size[i]),
  );
};

const stridedSlice: Rule<tf.StridedSliceAttrs> = (g, { x }, a) => {
  const info = tf.slice_util.sliceInfo(
    [...x.shape],
    a.begin,
    a.end,
    a.strides,
    a.beginMask,
    a.endMask,
    a.ellipsisMask,
    a.newAxisMask,
    a.shrinkAxisMask,
  );
  if (info.isIdentity) return g.reshape(x, info.finalShape);
  const empty = info.finalShapeSparse.some((n) => n === 0);
  if (empty) return g.constant([], info.finalShape, x.dtype);
  return g.reshape(slice(g, x, info.begin, info.end, info.strides), info.finalShape);
};

const reverse: Rule<tf.ReverseAttrs> = (g, { x }, { dims }) => {
  const axes = axesOf(dims, x.shape.length);
  const pick = (yes: (n: number) => number, no: (n: number) => number) =>
    x.shape.map((n, i) => (axes.includes(i) ? yes(n) : no(n)));
  return slice(
    g,
    x,
    pick(
      (n) => n - 1,
      () => 0,
    ),
    pick(
      () => -1,
      (n) => n,
    ),
    pick(
      () => -1,
      () => 1,
    ),
  );
};

export const concat = (g: Graph, parts: readonly Value[], axis: number): Value => {
  const some = parts.filter((part) => part.shape.every((n) => n > 0));
  if (some.length === 0) return parts[0];
  if (some.length === 1) return some[0];
  const total = some.reduce((sum, part) => sum + part.shape[axis], 0);
  return g.add('Concat', some, withAxis(some[0].shape, axis, total), some[0].dtype, { axis: int(axis) });
};

export const expand = (g: Graph, x: Value, shape: readonly number[]): Value =>
  x.shape.length === shape.length && shape.every((n, i) => n === x.shape[i])
    ? x
    : g.add('Expand', [x, g.ints(shape)], shape, x.dtype);

const insertAxis = (shape: readonly number[], axis: number) => shape.toSpliced(axis, 0, 1);

const pack: Rule<tf.PackAttrs> = (g, inputs, { axis }) => {
  const parts = Object.values(inputs);
  const [at] = axesOf(axis, parts[0].shape.length + 1);
  return concat(
    g,
    parts.map((x) => g.reshape(x, insertAxis(x.shape, at))),
    at,
  );
};

function split(g: Graph, x: Value, axis: number, sizes: readonly number[]): readonly Value[] {
  if (sizes.length === 1) return [x];
  const outputs = sizes.map((n) => ({ shape: withAxis(x.shape, axis, n), dtype: x.dtype }));
  return g.addMany('Split', [x, g.ints(sizes)], outputs, { axis: int(axis) });
}

const splitV: Rule<tf.SplitVAttrs> = (g, { x }, { numOrSizeSplits, axis }) => {
  const [at] = axesOf(axis, x.shape.length);
  const info = { shape: [...x.shape] } as tf.Tensor;
  return split(g, x, at, tf.backend_util.prepareSplitSize(info, numOrSizeSplits, at));
};

const unpack: Rule<tf.UnpackAttrs> = (g, { value }, { axis }) => {
  const [at] = axesOf(axis, value.shape.length);
  const shape = value.shape.toSpliced(at, 1);
  return split(g, value, at, new Array<number>(value.shape[at]).fill(1)).map((x) => g.reshape(x, shape));
};

const tile: Rule<tf.TileAttrs> = (g, { x }, { reps }) => {
  const shape = x.shape.map((n, i) => n * reps[i]);
  if (reps.every((n) => n === 1)) return x;
  if (reps.every((n, i) => n === 1 || x.shape[i] === 1)) return expand(g, x, shape);
  return g.add('Tile', [x, g.ints(reps)], shape, x.dtype);
};

type Paddings = readonly (readonly [number, number])[];

const padded = (x: Value, paddings: Paddings) => x.shape.map((n, i) => n + paddings[i][0] + paddings[i][1]);
const padList = (g: Graph, p: Paddings) => g.ints([...p.map(([before]) => before), ...p.map(([, after]) => after)]);

const pad: Rule<tf.PadV2Attrs> = (g, { x }, { paddings, constantValue }) => {
  if (paddings.every(([before, after]) => before === 0 && after === 0)) return x;
  return g.add('Pad', [x, padList(g, paddings), g.scalar(constantValue, x.dtype)], padded(x, paddings), x.dtype);
};

/** 'symmetric' repeats the edge; ONNX has no such mode before opset 19, so each axis is gathered by index. */
const mirrorPad: Rule<tf.MirrorPadAttrs> = (g, { x }, { paddings, mode }) => {
  if (mode === 'reflect')
    return g.add('Pad', [x, padList(g, paddings)], padded(x, paddings), x.dtype, { mode: text('reflect') });
  return paddings.reduce((y, [before, after], axis) => {
    if (before === 0 && after === 0) return y;
    const n = y.shape[axis];
    const index = Array.from({ length: n + before + after }, (_, i) => {
      const at = i - before;
      return at < 0 ? -at - 1 : at < n ? at : 2 * n - 1 - at;
    });
    return g.add('Gather', [y, g.ints(index)], withAxis(y.shape, axis, index.length), y.dtype, { axis: int(axis) });
  }, x);
};

/** Channels to space, the first factors of the channel being the block's row and column. */
const depthToSpace: Rule<tf.DepthToSpaceAttrs> = (g, { x }, { blockSize: b, dataFormat }) => {
  const last = dataFormat === 'NHWC';
  const [n, h, w, c] = last ? x.shape : [0, 2, 3, 1].map((i) => x.shape[i]);
  const d = c / (b * b);
  return last
    ? g.reshape(g.transpose(g.reshape(x, [n, h, w, b, b, d]), [0, 1, 3, 2, 4, 5]), [n, h * b, w * b, d])
    : g.reshape(g.transpose(g.reshape(x, [n, b, b, d, h, w]), [0, 3, 4, 1, 5, 2]), [n, d, h * b, w * b]);
};

export const shapes = {
  Concat: ((g, inputs, { axis }) => {
    const parts = Object.values(inputs);
    return concat(g, parts, axesOf(axis, parts[0].shape.length)[0]);
  }) as Rule<tf.ConcatAttrs>,
  DepthToSpace: depthToSpace,
  ExpandDims: ((g, { input }, { dim }) =>
    g.reshape(
      input,
      insertAxis(input.shape, dim < 0 ? dim + input.shape.length + 1 : dim),
    )) as Rule<tf.ExpandDimsAttrs>,
  Identity: ((_, { x }) => x) as Rule<unknown>,
  MirrorPad: mirrorPad,
  Pack: pack,
  PadV2: pad,
  Reshape: ((g, { x }, { shape }) => {
    const size = x.shape.reduce((a, b) => a * b, 1);
    return g.reshape(x, tf.util.inferFromImplicitShape(shape, size));
  }) as Rule<tf.ReshapeAttrs>,
  Reverse: reverse,
  Slice: sliceRule,
  SplitV: splitV,
  StridedSlice: stridedSlice,
  Tile: tile,
  Transpose: ((g, { x }, { perm }) => g.transpose(x, perm)) as Rule<tf.TransposeAttrs>,
  Unpack: unpack,
} satisfies Rules;

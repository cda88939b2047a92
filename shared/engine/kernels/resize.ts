import type * as tf from '@tensorflow/tfjs';
import { int, type Graph, type Value } from '../graph.ts';
import { reduce } from './reduce.ts';
import { withAxis, type Rule, type Rules } from './rule.ts';

/**
 * Resizing images [batch, height, width, channels].
 *
 * Both kinds are separable and linear, so each axis is one small constant matrix [new size, old size], and the
 * gradient is the product with the transposed matrices: exact, and for half-pixel centres too, where tfjs' own
 * gradient kernels take the wrong centres.
 */

type Attrs = tf.ResizeBilinearAttrs;

const scale = (from: number, to: number, alignCorners: boolean) =>
  alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to;

/** The source row of every new row. */
function nearest(from: number, to: number, { alignCorners, halfPixelCenters }: Attrs): number[] {
  const ratio = scale(from, to, alignCorners);
  return Array.from({ length: to }, (_, i) => {
    const at = ratio * (halfPixelCenters ? i + 0.5 : i);
    return Math.max(0, Math.min(from - 1, alignCorners ? Math.round(at) : Math.floor(at)));
  });
}

/** [to, from], each row with one 1 or with the two weights of its neighbours. */
function weights(kind: 'nearest' | 'bilinear', from: number, to: number, attrs: Attrs): Float32Array {
  const matrix = new Float32Array(to * from);
  if (kind === 'nearest') {
    nearest(from, to, attrs).forEach((source, i) => (matrix[i * from + source] = 1));
    return matrix;
  }
  const ratio = scale(from, to, attrs.alignCorners);
  for (let i = 0; i < to; i++) {
    const at = attrs.halfPixelCenters ? ratio * (i + 0.5) - 0.5 : ratio * i;
    const low = Math.max(0, Math.floor(at));
    const fraction = at - low;
    matrix[i * from + low] += 1 - fraction;
    matrix[i * from + Math.min(from - 1, Math.ceil(at))] += fraction;
  }
  return matrix;
}

const transposed = (matrix: Float32Array, rows: number, columns: number) =>
  Float32Array.from(matrix, (_, at) => matrix[(at % rows) * columns + Math.floor(at / rows)]);

/** Multiplies rows and columns of every image by constant matrices. */
function separable(g: Graph, x: Value, rows: Float32Array, columns: Float32Array): Value {
  const [n, h, w, c] = x.shape;
  const [newH, newW] = [rows.length / h, columns.length / w];
  const flat = g.reshape(x, [n, h, w * c]);
  const tall = g.add('MatMul', [g.constant(rows, [newH, h], 'float32'), flat], [n, newH, w * c], 'float32');
  const images = g.reshape(tall, [n, newH, w, c]);
  return g.add('MatMul', [g.constant(columns, [newW, w], 'float32'), images], [n, newH, newW, c], 'float32');
}

const resizeNearest: Rule<Attrs> = (g, { images }, attrs) =>
  [1, 2].reduce((x, axis, i) => {
    const index = g.ints(nearest(x.shape[axis], attrs.size[i], attrs));
    return g.add('Gather', [x, index], withAxis(x.shape, axis, attrs.size[i]), x.dtype, { axis: int(axis) });
  }, images);

const resizeBilinear: Rule<Attrs> = (g, { images }, attrs) => {
  const [, h, w] = images.shape;
  const matrix = (from: number, to: number) => weights('bilinear', from, to, attrs);
  return separable(g, g.cast(images, 'float32'), matrix(h, attrs.size[0]), matrix(w, attrs.size[1]));
};

const gradient =
  (kind: 'nearest' | 'bilinear'): Rule<Attrs> =>
  (g, { images, dy }, attrs) => {
    const [n, h, w, c] = images.shape;
    const [, newH, newW] = dy.shape;
    const [fy, fx] = [newH / h, newW / w];
    // Whole copies of each pixel: the gradient is the sum over the copies.
    if (kind === 'nearest' && !attrs.alignCorners && Number.isInteger(fy) && Number.isInteger(fx))
      return reduce(g, 'ReduceSum', g.reshape(dy, [n, h, fy, w, fx, c]), [2, 4], false);
    const back = (from: number, to: number) => transposed(weights(kind, from, to, attrs), to, from);
    return separable(g, dy, back(h, newH), back(w, newW));
  };

export const resizes = {
  ResizeBilinear: resizeBilinear,
  ResizeBilinearGrad: gradient('bilinear'),
  ResizeNearestNeighbor: resizeNearest,
  ResizeNearestNeighborGrad: gradient('nearest'),
} satisfies Rules;

import * as tf from '@tensorflow/tfjs';
import { int, ints, type Graph, type Value } from '../graph.ts';
import { endPads } from './conv.ts';
import { pair } from './elementwise.ts';
import { TO_NCHW, TO_NHWC, type Rule, type Rules } from './rule.ts';
import { expand } from './shape.ts';

/** Pooling and its gradients. tfjs pools NHWC only. Padding never counts: not in a mean, not in a maximum. */

type Four = [number, number, number, number];
type Info = tf.backend_util.Conv2DInfo;

interface PoolAttrs {
  filterSize: [number, number] | number;
  strides: [number, number] | number;
  pad: 'valid' | 'same' | number | tf.backend_util.ExplicitPadding;
  dimRoundingMode?: 'floor' | 'round' | 'ceil';
}

const describe = (shape: readonly number[], a: PoolAttrs): Info =>
  tf.backend_util.computePool2DInfo(shape as Four, a.filterSize, a.strides, 1, a.pad, a.dimRoundingMode);

const geometry = (i: Info) => ({
  kernel_shape: ints([i.filterHeight, i.filterWidth]),
  strides: ints([i.strideHeight, i.strideWidth]),
  pads: ints([i.padInfo.top, i.padInfo.left, ...endPads(i)]),
});

const outShape = (i: Info) => [i.batchSize, i.outChannels, i.outHeight, i.outWidth];

const avgPool: Rule<PoolAttrs> = (g, { x }, attrs) => {
  const info = describe(x.shape, attrs);
  const pooled = g.add('AveragePool', [g.transpose(x, TO_NCHW)], outShape(info), 'float32', geometry(info));
  return g.transpose(pooled, TO_NHWC);
};

const maxPool: Rule<PoolAttrs> = (g, { x }, attrs) => {
  const info = describe(x.shape, attrs);
  return g.transpose(g.add('MaxPool', [g.transpose(x, TO_NCHW)], outShape(info), 'float32', geometry(info)), TO_NHWC);
};

/** Do the windows cover every element exactly once? */
const tiles = (i: Info) =>
  i.filterHeight === i.strideHeight &&
  i.filterWidth === i.strideWidth &&
  i.outHeight * i.strideHeight === i.inHeight &&
  i.outWidth * i.strideWidth === i.inWidth &&
  i.padInfo.top + i.padInfo.left === 0;

/** 1 / (number of real elements in the window), [1, outHeight, outWidth, 1]. */
function shares(i: Info): Float32Array {
  const real = (out: number, stride: number, filter: number, before: number, size: number) =>
    Math.min(out * stride - before + filter, size) - Math.max(out * stride - before, 0);
  return Float32Array.from({ length: i.outHeight * i.outWidth }, (_, at) => {
    const rows = real(Math.floor(at / i.outWidth), i.strideHeight, i.filterHeight, i.padInfo.top, i.inHeight);
    return 1 / (rows * real(at % i.outWidth, i.strideWidth, i.filterWidth, i.padInfo.left, i.inWidth));
  });
}

/**
 * Adds windows of values back into images: a transposed convolution.
 *
 * @param windows - [images, places, outHeight, outWidth]
 * @param filter - [places, 1, filterHeight, filterWidth]
 */
function spread(g: Graph, windows: Value, filter: Value, i: Info): Value {
  const [bottom, right] = endPads(i);
  const reach = (out: number, stride: number, size: number, pads: number) => (out - 1) * stride + size - pads;
  return g.add('ConvTranspose', [windows, filter], [windows.shape[0], 1, i.inHeight, i.inWidth], 'float32', {
    ...geometry(i),
    output_padding: ints([
      i.inHeight - reach(i.outHeight, i.strideHeight, i.filterHeight, i.padInfo.top + bottom),
      i.inWidth - reach(i.outWidth, i.strideWidth, i.filterWidth, i.padInfo.left + right),
    ]),
  });
}

/** Each output's gradient, divided by its count, spread over its window. */
const avgPoolGrad: Rule<PoolAttrs> = (g, { dy, input }, attrs) => {
  const i = describe(input.shape, attrs);
  const [n, h, w, c] = dy.shape;
  const shared = pair(g, 'Mul', dy, g.constant(shares(i), [1, h, w, 1], 'float32'));
  if (tiles(i)) {
    const cells = g.reshape(shared, [n, h, 1, w, 1, c]);
    return g.reshape(expand(g, cells, [n, h, i.strideHeight, w, i.strideWidth, c]), i.inShape);
  }
  const ones = new Float32Array(i.filterHeight * i.filterWidth).fill(1);
  const window = g.constant(ones, [1, 1, i.filterHeight, i.filterWidth], 'float32');
  const images = g.reshape(g.transpose(shared, TO_NCHW), [n * c, 1, h, w]);
  return g.transpose(g.reshape(spread(g, images, window, i), [n, c, i.inHeight, i.inWidth]), TO_NHWC);
};

/** One filter for each place in a window, with a single 1 there: [places, 1, height, width]. */
function places(g: Graph, i: Info): Value {
  const n = i.filterHeight * i.filterWidth;
  const identity = Float32Array.from({ length: n * n }, (_, at) => (at % n === Math.floor(at / n) ? 1 : 0));
  return g.constant(identity, [n, 1, i.filterHeight, i.filterWidth], 'float32');
}

/** 0 where a window's place lies in the image and -infinity where it lies in the padding: [1, places, outH, outW]. */
function outside(g: Graph, i: Info): Value {
  const n = i.filterHeight * i.filterWidth;
  const values = Float32Array.from({ length: n * i.outHeight * i.outWidth }, (_, at) => {
    const place = Math.floor(at / (i.outHeight * i.outWidth));
    const cell = at % (i.outHeight * i.outWidth);
    const row = Math.floor(cell / i.outWidth) * i.strideHeight - i.padInfo.top + Math.floor(place / i.filterWidth);
    const column = (cell % i.outWidth) * i.strideWidth - i.padInfo.left + (place % i.filterWidth);
    return row >= 0 && row < i.inHeight && column >= 0 && column < i.inWidth ? 0 : -Infinity;
  });
  return g.constant(values, [1, n, i.outHeight, i.outWidth], 'float32');
}

/**
 * The gradient goes to the first maximum of each window, in row-major order.
 *
 * A convolution with one-hot filters lays each window's elements out as channels, the winner's channel takes dy, and
 * the transposed convolution adds the channels back into place. (MaxPool's own indices do not exist on WebGPU.)
 */
const maxPoolGrad: Rule<PoolAttrs> = (g, { dy, input }, attrs) => {
  const i = describe(input.shape, attrs);
  const n = i.filterHeight * i.filterWidth;
  const images = i.batchSize * i.inChannels;
  const cells = [i.outHeight, i.outWidth];
  const planes = g.reshape(g.transpose(input, TO_NCHW), [images, 1, i.inHeight, i.inWidth]);
  const attributes = { strides: ints([i.strideHeight, i.strideWidth]), pads: geometry(i).pads };
  const windows = g.add('Conv', [planes, places(g, i)], [images, n, ...cells], 'float32', attributes);
  const inside = pair(g, 'Add', windows, outside(g, i));
  const winner = g.add('ArgMax', [inside], [images, 1, ...cells], 'int64', { axis: int(1), keepdims: int(1) });
  const position = g.constant(
    Int32Array.from({ length: n }, (_, at) => at),
    [1, n, 1, 1],
    'int32',
  );
  const wins = g.add('Equal', [g.cast(winner, 'int32'), position], [images, n, ...cells], 'bool');
  const flow = g.reshape(g.transpose(dy, TO_NCHW), [images, 1, ...cells]);
  const shares = pair(g, 'Mul', g.cast(wins, 'float32'), flow);
  return g.transpose(
    g.reshape(spread(g, shares, places(g, i), i), [i.batchSize, i.inChannels, i.inHeight, i.inWidth]),
    TO_NHWC,
  );
};

export const pools = {
  AvgPool: avgPool,
  AvgPoolGrad: avgPoolGrad,
  MaxPool: maxPool,
  MaxPoolGrad: maxPoolGrad,
} satisfies Rules;

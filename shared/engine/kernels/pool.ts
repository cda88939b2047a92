import * as tf from '@tensorflow/tfjs';
import { ints, text, type Graph, type Value } from '../graph.ts';
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
  const [bottom, right] = endPads(i);
  const reach = (out: number, stride: number, filter: number, pads: number) => (out - 1) * stride + filter - pads;
  const spread = g.add('ConvTranspose', [images, window], [n * c, 1, i.inHeight, i.inWidth], 'float32', {
    ...geometry(i),
    output_padding: ints([
      i.inHeight - reach(h, i.strideHeight, i.filterHeight, i.padInfo.top + bottom),
      i.inWidth - reach(w, i.strideWidth, i.filterWidth, i.padInfo.left + right),
    ]),
  });
  return g.transpose(g.reshape(spread, [n, c, i.inHeight, i.inWidth]), TO_NHWC);
};

/** Adds `updates` into zeros at flat positions; positions may repeat. */
function scatter(g: Graph, size: number, positions: Value, updates: Value): Value {
  const zeros = g.constant(new Float32Array(size), [size], 'float32');
  return g.add('ScatterElements', [zeros, positions, updates], [size], 'float32', { reduction: text('add') });
}

/** The gradient goes to the first maximum of each window, in row-major order. */
const maxPoolGrad: Rule<PoolAttrs> = (g, { dy, input }, attrs) => {
  const i = describe(input.shape, attrs);
  const outputs = [
    { shape: outShape(i), dtype: 'float32' as const },
    { shape: outShape(i), dtype: 'int64' as const },
  ];
  const [, winners] = g.addMany('MaxPool', [g.transpose(input, TO_NCHW)], outputs, geometry(i));
  const length = outShape(i).reduce((a, b) => a * b, 1);
  const size = i.batchSize * i.inChannels * i.inHeight * i.inWidth;
  const updates = g.reshape(g.transpose(dy, TO_NCHW), [length]);
  const flat = scatter(g, size, g.reshape(winners, [length]), updates);
  return g.transpose(g.reshape(flat, [i.batchSize, i.inChannels, i.inHeight, i.inWidth]), TO_NHWC);
};

export const pools = {
  AvgPool: avgPool,
  AvgPoolGrad: avgPoolGrad,
  MaxPool: maxPool,
  MaxPoolGrad: maxPoolGrad,
} satisfies Rules;

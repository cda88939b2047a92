import * as tf from '@tensorflow/tfjs';
import { FedError } from '../../errors.ts';
import { int, ints, type Graph, type Value } from '../graph.ts';
import { activate, pair } from './elementwise.ts';
import { TO_NCHW, TO_NHWC, type Rule, type Rules } from './rule.ts';
import { slice } from './shape.ts';

/**
 * Two-dimensional convolution, its two gradients, and the same per channel.
 *
 * Everything is computed in NCHW; NHWC operands are transposed on the way in and out, which ONNX Runtime's optimiser
 * mostly removes again. tfjs filters are [height, width, in, out]; ONNX wants [out, in, height, width].
 */

type Four = [number, number, number, number];
type Info = tf.backend_util.Conv2DInfo;

interface ConvAttrs {
  strides: [number, number] | number;
  pad: 'valid' | 'same' | number | tf.backend_util.ExplicitPadding;
  dataFormat?: 'NHWC' | 'NCHW';
  dilations?: [number, number] | number;
  dimRoundingMode?: 'floor' | 'round' | 'ceil';
}

/** @throws {FedError} KERNEL_MISSING for the geometries that tfjs itself gets wrong. */
function describe(input: readonly number[], filter: readonly number[], a: ConvAttrs, depthwise = false): Info {
  const format = tf.backend_util.convertConv2DDataFormat(a.dataFormat ?? 'NHWC');
  const dilations = a.dilations ?? 1;
  const info = tf.backend_util.computeConv2DInfo(
    input as Four,
    filter as Four,
    a.strides,
    dilations,
    a.pad,
    a.dimRoundingMode,
    depthwise,
    format,
  );
  const [bottom, right] = endPads(info);
  const tall = (info.outHeight - 1) * info.strideHeight + info.effectiveFilterHeight + info.strideHeight;
  const wide = (info.outWidth - 1) * info.strideWidth + info.effectiveFilterWidth + info.strideWidth;
  // Given one number as padding, tfjs works out the width with the height's filter and stride.
  if (tall <= info.padInfo.top + info.inHeight + bottom || wide <= info.padInfo.left + info.inWidth + right)
    throw new FedError('KERNEL_MISSING', 'Conv2D with a number as padding needs a square filter and equal strides');
  return info;
}

const isLast = (a: { dataFormat?: string }) => (a.dataFormat ?? 'NHWC') === 'NHWC';
const toNchw = (g: Graph, x: Value, last: boolean) => (last ? g.transpose(x, TO_NCHW) : x);
const fromNchw = (g: Graph, x: Value, last: boolean) => (last ? g.transpose(x, TO_NHWC) : x);

/** Bottom and right padding, raised where rounding up makes the output reach beyond the padded input. */
export function endPads(i: Info): [number, number] {
  const reach = (out: number, stride: number, filter: number, size: number, before: number) =>
    (out - 1) * stride + filter - size - before;
  return [
    Math.max(i.padInfo.bottom, reach(i.outHeight, i.strideHeight, i.effectiveFilterHeight, i.inHeight, i.padInfo.top)),
    Math.max(i.padInfo.right, reach(i.outWidth, i.strideWidth, i.effectiveFilterWidth, i.inWidth, i.padInfo.left)),
  ];
}

const geometry = (i: Info) => ({
  strides: ints([i.strideHeight, i.strideWidth]),
  dilations: ints([i.dilationHeight, i.dilationWidth]),
  pads: ints([i.padInfo.top, i.padInfo.left, ...endPads(i)]),
});

/** A convolution in NCHW with a filter [out, in / group, height, width]. */
const convolve = (g: Graph, x: Value, filter: Value, i: Info, group: number) =>
  g.add('Conv', [x, filter], [i.batchSize, i.outChannels, i.outHeight, i.outWidth], 'float32', {
    ...geometry(i),
    group: int(group),
  });

/**
 * Its transpose: from dy in NCHW to the gradient of the input, with a filter [out, in, height, width]. Without groups:
 * ONNX Runtime's WebGPU provider computes grouped transposed convolutions wrongly.
 */
function convolveBack(g: Graph, dy: Value, filter: Value, i: Info): Value {
  const [bottom, right] = endPads(i);
  const natural = (out: number, stride: number, effective: number, before: number, after: number) =>
    (out - 1) * stride + effective - before - after;
  // Input rows that no window reached: fewer than a stride, and their gradient is zero.
  const extra = [
    i.inHeight - natural(i.outHeight, i.strideHeight, i.effectiveFilterHeight, i.padInfo.top, bottom),
    i.inWidth - natural(i.outWidth, i.strideWidth, i.effectiveFilterWidth, i.padInfo.left, right),
  ];
  return g.add('ConvTranspose', [dy, filter], [i.batchSize, i.inChannels, i.inHeight, i.inWidth], 'float32', {
    ...geometry(i),
    output_padding: ints(extra),
  });
}

/**
 * The gradient of the filter as one more convolution: batch and channels change places in both operands, dy is the
 * filter, and the forward strides become dilations. Padding at the end makes the output exactly filter-sized; where
 * that would be negative, rows that no window reached are cut off instead.
 *
 * @param x - [in / group, group · batch, height, width]
 * @param dy - [out, batch, height, width]
 * @returns [in / group, out, filter height, filter width]
 */
function filterGradient(g: Graph, x: Value, dy: Value, i: Info, group: number): Value {
  const need = (filter: number, out: number, stride: number, dilation: number, size: number, before: number) =>
    (filter - 1) * dilation + 1 + (out - 1) * stride - size - before;
  const bottom = need(i.filterHeight, i.outHeight, i.strideHeight, i.dilationHeight, i.inHeight, i.padInfo.top);
  const right = need(i.filterWidth, i.outWidth, i.strideWidth, i.dilationWidth, i.inWidth, i.padInfo.left);
  const ends = [x.shape[0], x.shape[1], i.inHeight + Math.min(0, bottom), i.inWidth + Math.min(0, right)];
  const cut = slice(g, x, [0, 0, 0, 0], ends);
  return g.add('Conv', [cut, dy], [x.shape[0], dy.shape[0], i.filterHeight, i.filterWidth], 'float32', {
    strides: ints([i.dilationHeight, i.dilationWidth]),
    dilations: ints([i.strideHeight, i.strideWidth]),
    pads: ints([i.padInfo.top, i.padInfo.left, Math.max(0, bottom), Math.max(0, right)]),
    group: int(group),
  });
}

const conv2d: Rule<ConvAttrs> = (g, { x, filter }, attrs) => {
  const info = describe(x.shape, filter.shape, attrs);
  const last = isLast(attrs);
  return fromNchw(g, convolve(g, toNchw(g, x, last), g.transpose(filter, [3, 2, 0, 1]), info, 1), last);
};

const backpropInput: Rule<tf.Conv2DBackpropInputAttrs> = (g, { dy, filter }, attrs) => {
  const info = describe(attrs.inputShape, filter.shape, attrs);
  const last = isLast(attrs);
  return fromNchw(g, convolveBack(g, toNchw(g, dy, last), g.transpose(filter, [3, 2, 0, 1]), info), last);
};

const backpropFilter: Rule<tf.Conv2DBackpropFilterAttrs> = (g, { x, dy }, attrs) => {
  const info = describe(x.shape, attrs.filterShape, attrs);
  const last = isLast(attrs);
  const swap = (v: Value) => g.transpose(toNchw(g, v, last), [1, 0, 2, 3]);
  return g.transpose(filterGradient(g, swap(x), swap(dy), info, 1), [2, 3, 0, 1]);
};

/** [height, width, in, multiplier] as the filter of a convolution in `in` groups. */
const perChannel = (g: Graph, filter: Value) => {
  const [h, w, channels, multiplier] = filter.shape;
  return g.reshape(g.transpose(filter, [2, 3, 0, 1]), [channels * multiplier, 1, h, w]);
};

const depthwise: Rule<ConvAttrs> = (g, { x, filter }, attrs) => {
  const info = describe(x.shape, filter.shape, attrs, true);
  const last = isLast(attrs);
  return fromNchw(g, convolve(g, toNchw(g, x, last), perChannel(g, filter), info, info.inChannels), last);
};

/** As a full convolution whose filter is zero between different channels. */
const depthwiseBackpropInput: Rule<tf.DepthwiseConv2dNativeBackpropInputAttrs> = (g, { dy, filter }, attrs) => {
  const info = describe(attrs.inputShape, filter.shape, attrs, true);
  const [outs, ins] = [info.outChannels, info.inChannels];
  const own = Float32Array.from({ length: outs * ins }, (_, at) =>
    Math.floor(Math.floor(at / ins) / (outs / ins)) === at % ins ? 1 : 0,
  );
  const full = pair(g, 'Mul', perChannel(g, filter), g.constant(own, [outs, ins, 1, 1], 'float32'));
  return g.transpose(convolveBack(g, g.transpose(dy, TO_NCHW), full, info), TO_NHWC);
};

const depthwiseBackpropFilter: Rule<tf.DepthwiseConv2dNativeBackpropFilterAttrs> = (g, { x, dy }, attrs) => {
  const info = describe(x.shape, attrs.filterShape, attrs, true);
  const [n, h, w, channels] = x.shape;
  const swapped = g.reshape(g.transpose(x, [3, 0, 1, 2]), [1, channels * n, h, w]);
  const gradient = filterGradient(g, swapped, g.transpose(dy, [3, 0, 1, 2]), info, channels);
  const [fh, fw, , multiplier] = attrs.filterShape;
  return g.transpose(g.reshape(gradient, [channels, multiplier, fh, fw]), [2, 3, 0, 1]);
};

interface FusedAttrs extends ConvAttrs {
  activation: string;
  leakyreluAlpha?: number;
}

const fused =
  (plain: Rule<ConvAttrs>): Rule<FusedAttrs> =>
  (g, inputs, attrs) => {
    const { bias, ...rest } = inputs as Record<string, Value> & { bias?: Value };
    const y = plain(g, rest, attrs) as Value;
    if (!bias) return activate(g, y, attrs.activation, inputs, attrs.leakyreluAlpha);
    const perImage = !isLast(attrs) && bias.shape.length === 1 ? g.reshape(bias, [bias.shape[0], 1, 1]) : bias;
    return activate(g, pair(g, 'Add', y, perImage), attrs.activation, inputs, attrs.leakyreluAlpha);
  };

export const convolutions = {
  Conv2D: conv2d,
  Conv2DBackpropFilter: backpropFilter,
  Conv2DBackpropInput: backpropInput,
  DepthwiseConv2dNative: depthwise,
  DepthwiseConv2dNativeBackpropFilter: depthwiseBackpropFilter,
  DepthwiseConv2dNativeBackpropInput: depthwiseBackpropInput,
  FusedConv2D: fused(conv2d),
  FusedDepthwiseConv2D: fused(depthwise),
} satisfies Rules;

import * as tf from '@tensorflow/tfjs';
import { afterAll, describe, expect, test } from 'vitest';
import { float32, type Specs } from '../../shared/engine/program.ts';
import { RULES } from '../../shared/engine/recording-backend.ts';
import { difference, expectSame, feedsFor, runOnce, seenKernels, withGradients, type Body, type Tensors } from '../support/engine-oracle.ts'; // prettier-ignore
import { uniform } from '../support/rng.ts';

/** Kernels on images (convolution, pooling, resizing) against tfjs' own cpu backend, values and gradients. */

type Pad = 'same' | 'valid' | tf.backend_util.ExplicitPadding;
type Four = tf.Tensor4D;

const check = (name: string, inputs: Specs, body: Body, values = false): void =>
  test(name, async () => {
    const fn = values ? (x: Tensors) => ({ y: body(x) }) : withGradients(body, inputs);
    await expectSame(fn, inputs, feedsFor(inputs), 2e-5);
  });

const explicit = (format: 'NHWC' | 'NCHW'): Pad =>
  format === 'NHWC' ? [[0, 0], [1, 0], [2, 1], [0, 0]] : [[0, 0], [0, 0], [1, 0], [2, 1]]; // prettier-ignore
const padName = (pad: Pad) => (typeof pad === 'string' ? pad : 'explicit');

describe.each(['NHWC', 'NCHW'] as const)('convolution %s', (format) => {
  // Odd and unequal sizes: rows that no window reaches, uneven padding.
  const image = (h: number, w: number, c: number) => (format === 'NHWC' ? float32(2, h, w, c) : float32(2, c, h, w));
  for (const pad of ['same', 'valid', explicit(format)] as const)
    for (const stride of [1, 2] as const)
      for (const [kh, kw] of [[1, 1], [3, 2], [4, 4]] as const) // prettier-ignore
        check(`${kh}x${kw} stride ${stride} ${padName(pad)}`, { x: image(7, 6, 3), w: float32(kh, kw, 3, 4) }, ({ x, w }) =>
          tf.conv2d(x as Four, w as Four, stride, pad, format)); // prettier-ignore
  check('unequal strides', { x: image(7, 9, 2), w: float32(3, 3, 2, 3) }, ({ x, w }) => tf.conv2d(x as Four, w as Four, [3, 2], 'same', format)); // prettier-ignore
  // tfjs differentiates dilated convolutions on no backend.
  check('dilated', { x: image(9, 8, 2), w: float32(3, 2, 2, 3) }, ({ x, w }) => tf.conv2d(x as Four, w as Four, 1, 'same', format, [2, 3]), true); // prettier-ignore
  check('rounding up', { x: image(8, 7, 2), w: float32(3, 3, 2, 3) }, ({ x, w }) => tf.conv2d(x as Four, w as Four, 2, 1, format, 1, 'ceil'), true); // prettier-ignore
  for (const activation of ['linear', 'relu', ...(format === 'NHWC' ? (['prelu'] as const) : [])] as const)
    check(`fused ${activation}`, { x: image(5, 5, 2), w: float32(3, 3, 2, 3), bias: float32(3), p: float32(...(format === 'NHWC' ? [3] : [3, 1, 1])) }, ({ x, w, bias, p }) =>
      tf.fused.conv2d({ x: x as Four, filter: w as Four, strides: 1, pad: 'same', dataFormat: format, bias, activation, ...(activation === 'prelu' && { preluActivationWeights: p }) }), true); // prettier-ignore
  check('transposed', { dy: image(4, 3, 3), w: float32(4, 4, 2, 3) }, ({ dy, w }) =>
    tf.engine().runKernel('Conv2DBackpropInput', { dy, filter: w }, {
      strides: 2, pad: 'same', dataFormat: format, inputShape: format === 'NHWC' ? [2, 8, 6, 2] : [2, 2, 8, 6],
    })); // prettier-ignore
});

describe('convolution, further', () => {
  for (const pad of ['same', 'valid'] as const)
    for (const stride of [1, 2])
      check(`transposed, stride ${stride} ${pad}`, { x: float32(2, 4, 3, 3), w: float32(3, 4, 2, 3) }, ({ x, w }) =>
        tf.conv2dTranspose(x as Four, w as Four, pad === 'same' ? [2, 4 * stride, 3 * stride, 2] : [2, 3 * stride + 3, 2 * stride + 4, 2], stride, pad)); // prettier-ignore
  check('conv1d', { x: float32(2, 9, 3), w: float32(4, 3, 2) }, ({ x, w }) => tf.conv1d(x as tf.Tensor3D, w as tf.Tensor3D, 2, 'same')); // prettier-ignore
  for (const pad of ['same', 'valid'] as const)
    for (const stride of [1, 2] as const)
      check(`depthwise, stride ${stride} ${pad}`, { x: float32(2, 7, 6, 3), w: float32(3, 2, 3, 2) }, ({ x, w }) =>
        tf.depthwiseConv2d(x as Four, w as Four, stride, pad)); // prettier-ignore
  check('separable', { x: float32(2, 5, 6, 3), d: float32(3, 3, 3, 2), p: float32(1, 1, 6, 4) }, ({ x, d, p }) =>
    tf.separableConv2d(x as Four, d as Four, p as Four, 1, 'same')); // prettier-ignore
  check('fused depthwise', { x: float32(2, 5, 6, 3), w: float32(3, 3, 3, 1), bias: float32(3) }, ({ x, w, bias }) =>
    tf.fused.depthwiseConv2d({ x: x as Four, filter: w as Four, strides: 1, pad: 'same', bias, activation: 'relu' }), true); // prettier-ignore

  test('the gradient of a gradient, as a gradient penalty needs it', async () => {
    const inputs = { x: float32(2, 7, 7, 2), w: float32(4, 4, 2, 3) };
    const slope = (x: tf.Tensor, w: tf.Tensor) =>
      tf.grad((v: tf.Tensor) => tf.sum(tf.square(tf.conv2d(v as Four, w as Four, 2, 'same'))))(x);
    const fn = ({ x, w }: Tensors) => {
      const [dx, dw] = tf.grads((x: tf.Tensor, w: tf.Tensor) => tf.sum(tf.square(slope(x, w))))([x, w]);
      return { dx, dw };
    };
    await expectSame(fn, inputs, feedsFor(inputs), 5e-5);
  });
});

describe('pooling', () => {
  const image = { x: float32(2, 7, 6, 3) };
  for (const pad of ['same', 'valid'] as const)
    for (const [size, stride] of [
      [2, 2],
      [3, 2],
      [3, 1],
    ] as const) // prettier-ignore
    {
      check(`max ${size} stride ${stride} ${pad}`, image, ({ x }) => tf.maxPool(x as Four, size, stride, pad));
      check(`mean ${size} stride ${stride} ${pad}`, image, ({ x }) => tf.avgPool(x as Four, size, stride, pad), pad === 'same');
    }
  check('mean, whole windows', { x: float32(2, 6, 4, 3) }, ({ x }) => tf.avgPool(x as Four, 2, 2, 'valid'));
  check('max, ties go to the first', { x: float32(2, 6, 4, 3) }, ({ x }) =>
    tf.maxPool(tf.round(x) as Four, 3, 2, 'same'),
  );
  check('global mean', image, ({ x }) => tf.avgPool(x as Four, [7, 6], 1, 'valid'));
});

describe('resizing', () => {
  const image = { x: float32(2, 4, 5, 3) };
  for (const size of [
    [8, 10],
    [7, 3],
    [4, 5],
    [1, 1],
  ] as [number, number][])
    // prettier-ignore
    for (const [corners, centres] of [[false, false], [true, false], [false, true]] as const) // prettier-ignore
    {
      const name = `to ${size.join('x')}${corners ? ', corners aligned' : ''}${centres ? ', half-pixel centres' : ''}`;
      check(`nearest ${name}`, image, ({ x }) => tf.image.resizeNearestNeighbor(x as Four, size, corners, centres), true);
      check(`bilinear ${name}`, image, ({ x }) => tf.image.resizeBilinear(x as Four, size, corners, centres), true);
    }
  // tfjs' kernel swaps height and width, so squares only.
  check('the gradient of bilinear', { x: float32(2, 4, 4, 3) }, ({ x }) => tf.image.resizeBilinear(x as Four, [7, 9]));
});

/**
 * Kernels whose tfjs gradient is wrong on the cpu backend: a padded mean divides by the whole window, nearest
 * mixes channels, resizing ignores half-pixel centres and swaps height and width. All are linear, so the true gradient g of w·f(x) satisfies
 * g·u = w·f(u) for every u, and the right-hand side needs only the forward kernel.
 */
describe('gradients of linear kernels, by linearity', () => {
  const cases: Record<string, Body> = {
    'padded mean': ({ x }) => tf.avgPool(x as Four, 3, 2, 'same'),
    'padded mean, stride 1': ({ x }) => tf.avgPool(x as Four, [2, 3], 1, 'same'),
    'nearest, doubled': ({ x }) => tf.image.resizeNearestNeighbor(x as Four, [10, 8]),
    'nearest up': ({ x }) => tf.image.resizeNearestNeighbor(x as Four, [10, 8], false, true),
    'nearest, no whole factor': ({ x }) => tf.image.resizeNearestNeighbor(x as Four, [7, 3], true),
    'bilinear down': ({ x }) => tf.image.resizeBilinear(x as Four, [3, 2], false, true),
    'bilinear up': ({ x }) => tf.image.resizeBilinear(x as Four, [10, 9], true),
  };
  const image = { x: float32(2, 5, 4, 3) };
  test.each(Object.entries(cases))('%s', async (_, body) => {
    const gradient = (await runOnce(withGradients(body, image), image, feedsFor(image)))['d_x'];
    for (const seed of [1, 2, 3]) {
      const u = uniform(seed, gradient.length);
      const sum = (x: Tensors) => {
        const y = body(x);
        return { s: tf.sum(tf.mul(y, tf.tensor(uniform(99, y.size), y.shape))) };
      };
      const { s } = await runOnce(sum, image, { x: u }, 'tfjs');
      const product = Array.from(gradient).reduce((total, g, i) => total + g * u[i], 0);
      expect(difference([product], [s[0]])).toBeLessThan(1e-4);
    }
  });
});

afterAll(() => {
  const ours = Object.keys(RULES).filter((name) => /Conv|Pool|Resize/.test(name));
  expect(ours.filter((name) => !seenKernels.has(name))).toEqual([]);
});

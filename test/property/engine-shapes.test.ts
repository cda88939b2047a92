import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { float32 } from '../../shared/engine/program.ts';
import { expectSame, feedsFor, withGradients, type Body } from '../support/engine-oracle.ts';

/** Kernels whose rules compute shapes, over random geometries, against tfjs' own cpu backend. */

const size = fc.integer({ min: 1, max: 4 });
const axes = (rank: number) => fc.subarray([...Array(rank).keys()], { minLength: 1 });
const same = (inputs: Parameters<typeof withGradients>[1], body: Body) =>
  expectSame(withGradients(body, inputs), inputs, feedsFor(inputs), 5e-5);

test('convolution and both its gradients, whatever the sizes, strides and padding', async () => {
  const geometry = fc.record({
    n: fc.integer({ min: 1, max: 3 }),
    h: fc.integer({ min: 4, max: 11 }),
    w: fc.integer({ min: 4, max: 11 }),
    kh: fc.integer({ min: 1, max: 4 }),
    kw: fc.integer({ min: 1, max: 4 }),
    ins: size,
    outs: size,
    strides: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
    pad: fc.constantFrom('same' as const, 'valid' as const, 0, 1, 2),
    format: fc.constantFrom('NHWC' as const, 'NCHW' as const),
  });
  await fc.assert(
    fc.asyncProperty(geometry, async ({ n, h, w, kh, ins, outs, pad, format, ...free }) => {
      // A number as padding has its own test: tfjs means it for square filters and equal strides.
      const [kw, strides] = typeof pad === 'number' ? [kh, free.strides[0]] : [free.kw, free.strides];
      const image = format === 'NHWC' ? float32(n, h, w, ins) : float32(n, ins, h, w);
      await same({ image, filter: float32(kh, kw, ins, outs) }, ({ image, filter }) =>
        tf.conv2d(image as tf.Tensor4D, filter as tf.Tensor4D, strides, pad, format, 1, typeof pad === 'number' ? 'floor' : undefined)); // prettier-ignore
    }),
    { numRuns: 40 },
  );
});

test('a number as padding is refused where tfjs computes another shape than the convolution has', async () => {
  const inputs = { image: float32(1, 5, 8, 1), filter: float32(3, 1, 1, 1) };
  const conv: Body = ({ image, filter }) => tf.conv2d(image as tf.Tensor4D, filter as tf.Tensor4D, 1, 1);
  await expect(same(inputs, conv)).rejects.toThrow(/KERNEL_MISSING.*square/);
});

test('two tensors of any shapes that broadcast', async () => {
  const pair = fc.array(fc.tuple(size, fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 4 }).chain((list) =>
    fc.record({
      a: fc.constant(list.map(([n, one]) => (one ? 1 : n))),
      b: fc.constant(list.map(([n, , one]) => (one ? 1 : n))),
      cut: fc.integer({ min: 0, max: list.length - 1 }),
    }),
  );
  await fc.assert(
    fc.asyncProperty(pair, async ({ a, b, cut }) => {
      await same({ a: float32(...a), b: float32(...b.slice(cut)) }, ({ a, b }) => a.mul(b).add(a).sub(b));
    }),
    { numRuns: 40 },
  );
});

test('reductions over any axes, transposes by any permutation, slices of any part', async () => {
  const shape = fc.array(size, { minLength: 1, maxLength: 4 });
  const task = shape.chain((s) =>
    fc.record({
      s: fc.constant(s),
      over: axes(s.length),
      keep: fc.boolean(),
      perm: fc.shuffledSubarray([...s.keys()], { minLength: s.length }),
      part: fc.tuple(...s.map((n) => fc.nat(n - 1).chain((from) => fc.tuple(fc.constant(from), fc.integer({ min: 1, max: n - from }))))), // prettier-ignore
      padding: fc.tuple(...s.map(() => fc.tuple(fc.nat(2), fc.nat(2)))),
    }),
  );
  await fc.assert(
    fc.asyncProperty(task, async ({ s, over, keep, perm, part, padding }) => {
      await same({ x: float32(...s) }, ({ x }) => {
        const padded = tf.pad(tf.slice(tf.transpose(x, perm), perm.map((axis) => part[axis][0]), perm.map((axis) => part[axis][1])), padding); // prettier-ignore
        return tf.concat([tf.sum(tf.square(padded), over, keep).flatten(), tf.max(x, over, keep).flatten(), tf.mean(x, over).flatten()]); // prettier-ignore
      });
    }),
    { numRuns: 40 },
  );
});

test('positive control: a rule that is wrong for one geometry is caught', async () => {
  // Swapping height and width of the filter is invisible for square filters only.
  const wrong = async (kh: number, kw: number) => {
    const inputs = { image: float32(1, 6, 6, 1), filter: float32(kh, kw, 1, 1) };
    const feeds = feedsFor(inputs);
    const right = await expectSame(
      ({ image, filter }) => ({ y: tf.conv2d(image as tf.Tensor4D, filter as tf.Tensor4D, 1, 'same') }),
      inputs,
      feeds,
    );
    const swapped = await expectSame(
      ({ image, filter }) => ({
        y: tf.conv2d(image as tf.Tensor4D, tf.transpose(filter, [1, 0, 2, 3]) as tf.Tensor4D, 1, 'same'),
      }),
      inputs,
      feeds,
    );
    expect(swapped['y']).toEqual(right['y']);
  };
  await expect(fc.assert(fc.asyncProperty(size, size, wrong), { numRuns: 40 })).rejects.toThrow(/Property failed/);
});

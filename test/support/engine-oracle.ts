import * as tf from '@tensorflow/tfjs';
import { expect } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import {
  sizeOf,
  type Arrays,
  type Engine,
  type EngineName,
  type Specs,
  type TensorFunction,
} from '../../shared/engine/program.ts';
import { record } from '../../shared/engine/recording-backend.ts';
import { uniform } from './rng.ts';

/**
 * Runs a function on the recorded engine and on tfjs' own cpu backend, and compares.
 *
 * VEILGAN_TEST_ENGINE=webgpu (or cuda, coreml, dml) runs every engine test on that engine instead of `cpu`.
 */

export type Tensors = Record<string, tf.Tensor>;
export type Body = (x: Tensors) => tf.Tensor;

const UNDER_TEST = (process.env['VEILGAN_TEST_ENGINE'] ?? 'cpu') as EngineName;
/** GPUs compute sines and cosines to about 2e-4. */
const SLACK = UNDER_TEST === 'cpu' ? 1 : 50;

let engines: Promise<{ cpu: Engine; tfjs: Engine }> | undefined;
const both = () =>
  (engines ??= (async () => ({ cpu: await openEngine(UNDER_TEST, { threads: 1 }), tfjs: await openEngine('tfjs') }))());

/** Every tfjs kernel that a comparison has recorded so far. */
export const seenKernels = new Set<string>();

/** Fixed weights, so that a sum of outputs has a gradient that tells its elements apart. */
const weightsLike = (y: tf.Tensor) => tf.tensor(uniform(99, Math.max(1, y.size)), y.shape.length ? y.shape : []);

/** `body`, and the gradients of a weighted sum of its result with respect to every float input. */
export function withGradients(body: Body, inputs: Specs): TensorFunction {
  const floats = Object.keys(inputs).filter((key) => inputs[key].dtype === 'float32');
  return (x) => {
    const loss = (...values: tf.Tensor[]) => {
      const y = body({ ...x, ...Object.fromEntries(floats.map((key, i) => [key, values[i]])) });
      return tf.sum(tf.mul(y, weightsLike(y)));
    };
    const gradients = tf.grads(loss)(floats.map((key) => x[key]));
    return { y: body(x), ...Object.fromEntries(floats.map((key, i) => [`d_${key}`, gradients[i]])) };
  };
}

/** Seeded feeds in [low, high); int32 inputs count 0, 1, 2, ... modulo `modulus`. */
export function feedsFor(inputs: Specs, low = -1, high = 1, modulus = 3): Arrays {
  return Object.fromEntries(
    Object.entries(inputs).map(([key, { shape, dtype }], i) => {
      const n = sizeOf(shape);
      return [
        key,
        dtype === 'float32' ? uniform(i + 1, n, low, high) : Int32Array.from({ length: n }, (_, j) => j % modulus),
      ];
    }),
  );
}

/** Largest |a - b| / max(1, |b|); NaN counts as equal to NaN, and equal infinities as equal. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; i++) {
    if (Object.is(a[i], b[i]) || a[i] === b[i]) continue;
    const d = Math.abs(a[i] - b[i]) / Math.max(1, Math.abs(b[i]));
    worst = Number.isNaN(d) ? Infinity : Math.max(worst, d);
  }
  return worst;
}

/**
 * Runs `fn` on both and expects the same names, shapes, types and values.
 *
 * @param tolerance - relative to max(1, |value|); 1e-5 is some 80 float32 roundings.
 */
export async function expectSame(fn: TensorFunction, inputs: Specs, feeds: Arrays, tolerance = 1e-5): Promise<Arrays> {
  const { cpu, tfjs } = await both();
  for (const kernel of record('test', fn, inputs).kernels) seenKernels.add(kernel);
  const [ours, oracle] = [await cpu.compile('test', fn, inputs), await tfjs.compile('test', fn, inputs)];
  const [actual, expected] = [await ours.run(feeds), await oracle.run(feeds)];
  expect(Object.keys(actual)).toEqual(Object.keys(expected));
  for (const [key, { shape, dtype }] of Object.entries(ours.outputs)) {
    expect(actual[key].length, `${key} [${shape.join()}] ${dtype}`).toBe(expected[key].length);
    expect(actual[key].constructor, key).toBe(expected[key].constructor);
    expect(difference(actual[key], expected[key]), key).toBeLessThan(tolerance * SLACK);
  }
  await ours.dispose();
  return actual;
}

/** Runs `fn` on the cpu engine once. */
export async function runOnce(
  fn: TensorFunction,
  inputs: Specs,
  feeds: Arrays,
  which: 'cpu' | 'tfjs' = 'cpu',
): Promise<Arrays> {
  for (const kernel of record('test', fn, inputs).kernels) seenKernels.add(kernel);
  const program = await (await both())[which].compile('test', fn, inputs);
  const results = await program.run(feeds);
  await program.dispose();
  return results;
}

/** Feature sets at every shape a policy may have: lengths, norms, determinism, and what they see. */
import type * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import { float32, type Engine } from '../../shared/engine/program.ts';
import { momentImages } from '../../shared/moments/embedding.ts';
import { type FourierBlock, type FourierConfig, featureSet, fourierFeatures } from '../../shared/moments/features.ts';
import { waveletLength, waveletVector } from '../../shared/moments/wavelets.ts';
import { l2 } from '../support/gan-rig.ts';
import { refusalOf } from '../support/glue-rig.ts';
import { uniform } from '../support/rng.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const SHAPES = [28, 32, 64].flatMap((size) => [1, 3].map((channels) => ({ size, channels })));
const block = (on: FourierBlock['on'], over: Partial<FourierBlock> = {}): FourierBlock => ({
  ...{ on, bandwidth: 0.5, frequencies: 6, weight: 1 },
  ...over,
});
const config = (...blocks: FourierBlock[]): FourierConfig => ({ kind: 'fourier', seed: 'test', blocks });

/** Runs one function of images on the engine. */
async function run(fn: (x: tf.Tensor4D) => tf.Tensor, pixels: Float32Array, shape: number[]): Promise<Float32Array> {
  const program = await engine.compile('test', ({ x }) => ({ y: fn(x as tf.Tensor4D) }), { x: float32(...shape) });
  const { y } = await program.run({ x: pixels });
  await program.dispose();
  return y as Float32Array;
}

test.each(SHAPES)('wavelets of $size pixels and $channels channels: length and norm', async ({ size, channels }) => {
  const shape = [2, channels, size, size];
  const noise = uniform(1, 2 * channels * size * size, 0, 1);
  // Eight orientations at two scales over a grid of quarters, of the halved image where it is large.
  const places = ((size === 64 ? 32 : size) / 4) ** 2;
  for (const lowPass of [true, false]) {
    const length = waveletLength({ channels, size }, lowPass);
    expect(length).toBe(channels * places * (16 + Number(lowPass)));
    const rows = await run((x) => waveletVector(x, lowPass), noise, shape);
    expect(rows.length).toBe(2 * length);
    for (const at of [0, length]) {
      const norm = l2(rows.subarray(at, at + length));
      expect(norm).toBeLessThan(1);
      expect(norm).toBeGreaterThan(0.99);
    }
  }
});

test.each(SHAPES)('features of $size pixels and $channels channels: norm 1, whatever they look at', async (shape) => {
  const { size, channels } = shape;
  const blocks = [
    block('pixels', { bandwidth: 9 }),
    block('wavelets', { weight: 3 }),
    block('edges', { frequencies: 2 }),
  ];
  const set = featureSet(config(...blocks), shape);
  expect(set.length).toBe(2 * (6 + 6 + 2));
  expect(set.constants['directions0'].shape).toEqual([channels * size * size, 6]);
  expect(set.constants['directions1'].shape).toEqual([waveletLength(shape), 6]);
  expect(set.constants['directions2'].shape).toEqual([waveletLength(shape, false), 2]);
  const constants = Object.fromEntries(Object.entries(set.constants).map(([k, c]) => [k, float32(...c.shape)]));
  const feeds = Object.fromEntries(Object.entries(set.constants).map(([k, c]) => [k, c.values]));
  const embed = await engine.compile('embed', ({ x, ...rest }) => ({ y: set.embed(x as tf.Tensor4D, rest) }), {
    x: float32(2, channels, size, size),
    ...constants,
  });
  const x = uniform(2, 2 * channels * size * size);
  // Black is an image too: its wavelet vector is short, and its features are not.
  x.fill(-1, channels * size * size);
  const { y } = await embed.run({ x, ...feeds });
  await embed.dispose();
  const rows = [0, 1].map((i) => y.subarray(i * set.length, (i + 1) * set.length));
  for (const row of rows) expect(l2(row)).toBeCloseTo(1, 5);
  // Each block has its share of the square: 1, 3 and 1 of 5, wherever its cosines and sines lie.
  const shares = [rows[0].subarray(0, 12), rows[0].subarray(12, 24), rows[0].subarray(24)].map((part) => l2(part) ** 2);
  [0.2, 0.6, 0.2].forEach((share, i) => expect(shares[i]).toBeCloseTo(share, 5));
});

test('within an image, edges do not see brightness; the blurred image does', async () => {
  const step = Float32Array.from({ length: 784 }, (_, i) => (i % 28 < 14 ? 0.2 : 0.5));
  const brighter = step.map((v) => v + 0.3);
  /** Direction of the values whose filters stay within the frame: beyond it there is black, an edge of its own. */
  const inner = async (image: Float32Array, lowPass: boolean) => {
    const rows = await run((x) => waveletVector(x, lowPass), image, [1, 1, 28, 28]);
    // Map after map of 7 × 7 places.
    const kept = rows.filter((_, i) => [Math.floor((i % 49) / 7), i % 7].every((p) => p >= 2 && p <= 4));
    return kept.map((v) => v / l2(kept));
  };
  const apart = async (lowPass: boolean) => {
    const [a, b] = [await inner(step, lowPass), await inner(brighter, lowPass)];
    return l2(a.map((v, i) => v - b[i]));
  };
  expect(await apart(false)).toBeLessThan(1e-3);
  expect(await apart(true)).toBeGreaterThan(0.05);
});

test('the same seed draws the same directions, another seed and another block others', () => {
  const of = (seed: string) =>
    fourierFeatures({ ...config(block('pixels'), block('pixels')), seed }, { channels: 1, size: 28 });
  const [a, again, b] = [of('a'), of('a'), of('b')];
  expect(again.constants).toEqual(a.constants);
  expect(b.constants).not.toEqual(a.constants);
  expect(a.constants['directions1'].values).not.toEqual(a.constants['directions0'].values);
});

test('widths, counts and weights that make no kernel are refused', async () => {
  const shape = { channels: 1, size: 28 };
  const wrong = [
    { bandwidth: 0 },
    { bandwidth: Infinity },
    { bandwidth: NaN },
    { frequencies: 0 },
    { weight: 0 },
    { weight: -1 },
  ];
  for (const over of wrong)
    expect(await refusalOf(() => fourierFeatures(config(block('pixels', over)), shape))).toMatch(/^PARAMETER_INVALID/);
  expect(await refusalOf(() => fourierFeatures(config(), shape))).toMatch(/^PARAMETER_INVALID/);
});

test('a patient’s images share one weight of 1, and those beyond the limit have none', () => {
  const chosen = momentImages([[0, 1, 2], [3]], Int32Array.of(0, 1, 2, 0), 2);
  expect(chosen).toEqual([
    { index: 0, label: 0, weight: 0.5 },
    { index: 1, label: 1, weight: 0.5 },
    { index: 3, label: 0, weight: 1 },
  ]);
});

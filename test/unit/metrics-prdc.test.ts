import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { prdc } from '../../shared/metrics/prdc.ts';
import { PublicRandom } from '../../shared/public-random.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const D = 4;
const cloud = (seed: string, n: number, shift = 0, scale = 1) =>
  new PublicRandom(seed).gaussians(n * D).map((g) => g * scale + shift);

test('the same distribution: precision and recall high, density near 1, coverage near 1 - 2^-k as the paper derives', async () => {
  // Naeem et al. 2020, section 3.2: with as many fakes as reals E[coverage] → 1 - 2^-k = 0.969 for k = 5, E[density] → 1.
  const m = await prdc(engine, cloud('real', 1000), cloud('fake', 1000), D);
  expect(m.density).toBeGreaterThan(0.85);
  expect(m.density).toBeLessThan(1.15);
  expect(Math.abs(m.coverage - (1 - 2 ** -5))).toBeLessThan(0.03);
  expect(m.precision).toBeGreaterThan(0.85);
  expect(m.recall).toBeGreaterThan(0.85);
});

test('a distribution elsewhere: all zero', async () => {
  expect(await prdc(engine, cloud('real', 200), cloud('fake', 200, 50), D)).toEqual({
    precision: 0,
    recall: 0,
    density: 0,
    coverage: 0,
  });
});

test('a collapsed generator: precise, but without recall', async () => {
  const m = await prdc(engine, cloud('real', 500), cloud('fake', 500, 0, 0.05), D);
  expect(m.precision).toBeGreaterThan(0.9);
  expect(m.recall).toBeLessThan(0.1);
  expect(m.coverage).toBeLessThan(0.3);
});

test('one odd real image makes room for many bad ones in precision, not in density; an odd synthetic one in recall alone', async () => {
  const [real, odd] = [cloud('real', 200), cloud('real', 200)];
  odd.fill(20, 0, D);
  const far = cloud('far', 200, 8, 0.5);
  expect(await prdc(engine, real, far, D)).toMatchObject({ precision: 0, density: 0 });
  const swollen = await prdc(engine, odd, far, D);
  expect(swollen.precision).toBe(1);
  expect(swollen.density).toBeLessThan(0.25);
  far.fill(-8, 0, D);
  const recalled = await prdc(engine, real, far, D);
  expect(recalled.recall).toBe(1);
  expect(recalled.coverage).toBeLessThan(0.05);
});

test('one dimension by hand: reals at 0, 1, 2; k = 1; a fake at 0.4 and one at 9', async () => {
  const m = await prdc(engine, Float32Array.of(0, 1, 2), Float32Array.of(0.4, 9), 1, 1);
  // Real radii are 1: the fake at 0.4 lies within those of 0 and 1. Fake radii are 8.6: each real lies within one.
  expect(m).toEqual({ precision: 0.5, recall: 1, density: 1, coverage: 2 / 3 });
});

test('one picture many times, and copies of the real ones: distances equal to a radius count as inside', async () => {
  const real = cloud('real', 40);
  expect(await prdc(engine, real, real, D)).toMatchObject({ precision: 1, recall: 1, coverage: 1 });
  const same = await prdc(engine, real, new Float32Array(600 * D).fill(0.1), D);
  expect(same.recall).toBe(0);
});

test('as many rows as neighbours are refused', async () => {
  await expect(prdc(engine, cloud('real', 5), cloud('fake', 9), D)).rejects.toThrow(/PARAMETER_INVALID/);
});

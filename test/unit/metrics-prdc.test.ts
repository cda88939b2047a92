import { expect, test } from 'vitest';
import { prdc } from '../../shared/metrics/prdc.ts';
import { PublicRandom } from '../../shared/public-random.ts';

const D = 4;
const cloud = (seed: string, n: number, shift = 0, scale = 1) =>
  new PublicRandom(seed).gaussians(n * D).map((g) => g * scale + shift);

test('the same distribution: precision and recall high, density near 1, coverage near 1 - 2^-k as the paper derives', () => {
  // Naeem et al. 2020, section 3.2: with as many fakes as reals E[coverage] → 1 - 2^-k = 0.969 for k = 5, E[density] → 1.
  const m = prdc(cloud('real', 1000), cloud('fake', 1000), D);
  expect(m.density).toBeGreaterThan(0.85);
  expect(m.density).toBeLessThan(1.15);
  expect(Math.abs(m.coverage - (1 - 2 ** -5))).toBeLessThan(0.03);
  expect(m.precision).toBeGreaterThan(0.85);
  expect(m.recall).toBeGreaterThan(0.85);
});

test('a distribution elsewhere: all zero', () => {
  expect(prdc(cloud('real', 200), cloud('fake', 200, 50), D)).toEqual({
    precision: 0,
    recall: 0,
    density: 0,
    coverage: 0,
  });
});

test('a collapsed generator: precise, but without recall', () => {
  const m = prdc(cloud('real', 500), cloud('fake', 500, 0, 0.05), D);
  expect(m.precision).toBeGreaterThan(0.9);
  expect(m.recall).toBeLessThan(0.1);
  expect(m.coverage).toBeLessThan(0.3);
});

test('one dimension by hand: reals at 0, 1, 2; k = 1; a fake at 0.4 and one at 9', () => {
  const m = prdc(Float32Array.of(0, 1, 2), Float32Array.of(0.4, 9), 1, 1);
  // Real radii are 1: the fake at 0.4 lies within those of 0 and 1. Fake radii are 8.6: each real lies within one.
  expect(m).toEqual({ precision: 0.5, recall: 1, density: 1, coverage: 2 / 3 });
});

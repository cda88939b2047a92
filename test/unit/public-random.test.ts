import { expect, test } from 'vitest';
import { PublicRandom } from '../../shared/public-random.ts';

test('the same seed draws the same, another seed does not', () => {
  expect(new PublicRandom('a').gaussians(8)).toEqual(new PublicRandom('a').gaussians(8));
  expect(new PublicRandom('a').gaussians(8)).not.toEqual(new PublicRandom('b').gaussians(8));
});

test('uniforms stay inside (0, 1), Gaussians have mean 0 and variance 1', () => {
  const r = new PublicRandom('moments');
  expect(r.uniforms(10_000).every((u) => u > 0 && u < 1)).toBe(true);
  const g = r.gaussians(100_001);
  const mean = g.reduce((s, x) => s + x, 0) / g.length;
  const variance = g.reduce((s, x) => s + (x - mean) ** 2, 0) / g.length;
  expect(Math.abs(mean)).toBeLessThan(0.015);
  expect(Math.abs(variance - 1)).toBeLessThan(0.02);
});

test('a permutation holds every index once; categories follow their probabilities and never one of probability zero', () => {
  const r = new PublicRandom('order');
  expect([...r.permutation(100)].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  const draws = r.categorical(20_000, [0.7, 0, 0.3, 0]);
  const count = (k: number) => draws.filter((d) => d === k).length;
  expect(count(1) + count(3)).toBe(0);
  expect(Math.abs(count(0) / 20_000 - 0.7)).toBeLessThan(0.02);
});

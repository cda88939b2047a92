import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { CONSTANT_COORDINATE } from '../../shared/moments/embedding.ts';
import { momentLoss, momentTargets } from '../../shared/moments/objective.ts';
import { morletFilters } from '../../shared/moments/wavelets.ts';

test('targets are sums over noised counts; a class that noise drowns, or that nobody declared, gets weight 0', () => {
  // Class 0: 400 patients; class 1: none, its count is noise; class 2: 300 patients that no site declared.
  const sum = Float64Array.of(
    ...[200, -40, 400 * CONSTANT_COORDINATE],
    ...[1.5, -2, 2],
    ...[90, 30, 300 * CONSTANT_COORDINATE],
  );
  const { means, classWeights } = momentTargets(sum, 3, 2, [true, true, false]);
  expect([...classWeights]).toEqual([1, 0, 0]);
  expect(means[0]).toBeCloseTo(0.5, 6);
  expect(means[1]).toBeCloseTo(-0.1, 6);
  expect([...means.slice(2)]).toEqual([0, 0, 0, 0]);
});

test('the loss is ⟨m₁, m₂⟩ - ⟨μ, m₁ + m₂⟩, summed over classes by hand', () => {
  // Two classes, two features and the constant column, which must not count.
  const rows = tf.tensor2d([1, 2, 9, 3, 4, 9, 5, 6, 9, 7, 8, 9], [4, 3]);
  const oneHot = tf.tensor2d([1, 0, 0, 1, 1, 0, 0, 1], [4, 2]);
  const means = tf.tensor2d([1, 0, 0, 1], [2, 2]);
  const loss = (weights: number[]) => momentLoss(rows, oneHot, means, tf.tensor1d(weights)).dataSync()[0];
  const zero = 1 * 5 + 2 * 6 - (1 + 5);
  const one = 3 * 7 + 4 * 8 - (4 + 8);
  expect(loss([1, 0])).toBeCloseTo(zero, 5);
  expect(loss([1, 1])).toBeCloseTo(zero + one, 5);
  expect(loss([0, 0.5])).toBeCloseTo(one / 2, 5);
});

test('wavelets sum to zero, so that brightness alone makes no edge, and their absolute values to one', () => {
  const width = 9;
  const filters = morletFilters({ width, sigma: 2, frequency: 1.05 });
  for (let o = 0; o < 8; o++) {
    let [re, im, size] = [0, 0, 0];
    for (let i = 0; i < width * width; i++) {
      re += filters[i * 16 + o];
      im += filters[i * 16 + 8 + o];
      size += Math.hypot(filters[i * 16 + o], filters[i * 16 + 8 + o]);
    }
    expect(Math.abs(re) + Math.abs(im)).toBeLessThan(1e-6);
    expect(size).toBeCloseTo(1, 5);
  }
});

/** Quantiles, ranks and intervals, against scipy 1.17 and numpy 2.4 (the calls are beside the numbers) and closed forms. */
import { expect, test } from 'vitest';
import { compareRanks, lowerLimit, meanAndStd, quantiles, upperLimit } from '../../shared/metrics/statistics.ts';

test('Clopper and Pearson: the published interval of 5 in 10, scipy, and the closed forms at the ends', () => {
  // Brown, Cai and DasGupta 2001 and any table: 5 of 10 at 95 % is (0.187, 0.813).
  // scipy.stats.beta.ppf(.025, 5, 6), beta.ppf(.975, 6, 5), beta.ppf(.95, 11, 990)
  expect(lowerLimit(5, 10, 0.025)).toBeCloseTo(0.18708602844739855, 12);
  expect(upperLimit(5, 10, 0.025)).toBeCloseTo(0.8129139715526015, 12);
  expect(upperLimit(10, 1000, 0.05)).toBeCloseTo(0.016903175120562504, 11);
  expect(lowerLimit(0, 10, 0.05)).toBe(0);
  expect(lowerLimit(10, 10, 0.05)).toBeCloseTo(0.05 ** 0.1, 9);
  expect(upperLimit(0, 1000, 0.05)).toBeCloseTo(1 - 0.05 ** 0.001, 9);
  expect(upperLimit(10, 10, 0.05)).toBe(1);
});

test('ranks: by hand, and with ties as scipy has it', () => {
  expect(compareRanks([3, 2], [1, 2]).area).toBe(0.875);
  // scipy.stats.mannwhitneyu([1,2,2,3,5,8,8,9], [0,2,3,4,4,8,10], use_continuity=False, method='asymptotic')
  const { area, pValue } = compareRanks([1, 2, 2, 3, 5, 8, 8, 9], [0, 2, 3, 4, 4, 8, 10]);
  expect(area).toBeCloseTo(0.5089285714285714, 12);
  expect(pValue).toBeCloseTo(0.95344003441657, 12);
  expect(compareRanks([1, 1], [1, 1, 1])).toEqual({ area: 0.5, z: 0, pValue: 1 });
  expect(compareRanks([2, 3], [0, 1]).area).toBe(1);
});

test('quantiles as numpy has them; mean and deviation by hand', () => {
  // numpy.quantile([3,1,4,1,5,9,2,6], [.05,.5,.9])
  expect(quantiles([3, 1, 4, 1, 5, 9, 2, 6], [0.05, 0.5, 0.9, 1])).toEqual([1, 3.5, expect.closeTo(6.9, 12), 9]);
  expect(meanAndStd([1, 3])).toEqual({ mean: 2, std: Math.SQRT2 });
  expect(meanAndStd([7])).toEqual({ mean: 7, std: 0 });
});

test('refused: nothing to sum up, and what is no number', () => {
  expect(() => quantiles([], [0.5])).toThrow(/PARAMETER_INVALID/);
  expect(() => compareRanks([], [1])).toThrow(/PARAMETER_INVALID/);
  expect(() => compareRanks([NaN, 1], [1])).toThrow(/PARAMETER_INVALID/);
  expect(() => compareRanks([1], [2, NaN])).toThrow(/PARAMETER_INVALID/);
});

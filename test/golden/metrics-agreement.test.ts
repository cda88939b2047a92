import { expect, test } from 'vitest';
import { cohenKappa, fleissKappa } from '../../shared/metrics/agreement.ts';

const times = (...runs: [category: number, count: number][]): number[] =>
  runs.flatMap(([category, count]) => Array<number>(count).fill(category));

// Source: scikit-learn, sklearn/metrics/tests/test_classification.py, test_cohen_kappa, whose first and second tables are 1 and 4
// of Artstein and Poesio 2008, Computational Linguistics 34, 555-596. Three and four decimals are given.
test('Cohen’s kappa, plain and weighted, as in scikit-learn’s tests', () => {
  const [a, b] = [times([0, 40], [1, 60]), times([0, 20], [1, 20], [0, 10], [1, 50])];
  expect(cohenKappa(a, b, 2)).toBeCloseTo(0.348, 3);
  expect(cohenKappa(b, a, 2)).toBeCloseTo(0.348, 3);
  const three = times([0, 46], [1, 44], [2, 10]);
  expect(cohenKappa(three, times([0, 52], [1, 32], [2, 16]), 3)).toBeCloseTo(0.8013, 4);
  const shifted = times([0, 50], [1, 40], [2, 10]);
  expect(cohenKappa(three, shifted, 3)).toBeCloseTo(0.9315, 4);
  expect(cohenKappa(three, shifted, 3, 'linear')).toBeCloseTo(0.9412, 4);
  expect(cohenKappa(three, shifted, 3, 'quadratic')).toBeCloseTo(0.9541, 4);
});

// Source: Fleiss 1971's statistic worked through on https://en.wikipedia.org/wiki/Fleiss%27_kappa, "Worked example": 0.210.
test('Fleiss’ kappa of fourteen readers and ten cases', () => {
  const table = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
  ];
  expect(fleissKappa(table)).toBeCloseTo(0.21, 3);
});

test('the ends: the same, as by chance, opposite, and where nothing is defined', () => {
  expect(cohenKappa([0, 1, 0, 1], [0, 1, 0, 1], 2)).toBe(1);
  expect(cohenKappa([0, 0, 1, 1], [0, 1, 0, 1], 2)).toBe(0);
  expect(cohenKappa([0, 1], [1, 0], 2)).toBe(-1);
  expect(cohenKappa([1, 1], [1, 1], 2)).toBeNaN();
  expect(cohenKappa([], [], 2)).toBeNaN();
  expect(fleissKappa([[2, 0], [0, 2]])).toBe(1); // prettier-ignore
  expect(fleissKappa([])).toBeNaN();
  expect(() => fleissKappa([[1, 0]])).toThrow(/PARAMETER_INVALID/);
  expect(() => fleissKappa([[2, 0], [3, 0]])).toThrow(/PARAMETER_INVALID/); // prettier-ignore
  expect(() => cohenKappa([0], [2], 2)).toThrow(/PARAMETER_INVALID/);
});

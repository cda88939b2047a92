import { expect, test } from 'vitest';
import { clopperPearson, wilson } from '../../shared/metrics/proportion.ts';

// Source: Newcombe 1998, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17, 857-872, table I:
// method 3 (score) and method 5 (exact). Four decimals are printed.
test.each([
  [81, 263, [0.2553, 0.3662], [0.2527, 0.3676]],
  [15, 148, [0.0624, 0.1605], [0.0578, 0.1617]],
  [0, 20, [0, 0.1611], [0, 0.1684]],
  [1, 29, [0.0061, 0.1718], [0.0009, 0.1776]],
] as const)('%i of %i: both intervals as Newcombe printed them', (k, n, score, exact) => {
  for (const [got, want] of [
    [wilson(k, n), score],
    [clopperPearson(k, n), exact],
  ] as const) {
    expect(Math.abs(got.low - want[0])).toBeLessThanOrEqual(5e-5);
    expect(Math.abs(got.high - want[1])).toBeLessThanOrEqual(5e-5);
  }
});

test('the exact interval of none and of all has a closed form', () => {
  for (const n of [1, 7, 50, 400]) {
    expect(clopperPearson(0, n).low).toBe(0);
    expect(clopperPearson(0, n).high).toBeCloseTo(1 - 0.025 ** (1 / n), 10);
    expect(clopperPearson(n, n).low).toBeCloseTo(0.025 ** (1 / n), 10);
    expect(clopperPearson(n, n).high).toBe(1);
  }
});

test('of no trials nothing is known; what is no count is refused', () => {
  expect([wilson(0, 0), clopperPearson(0, 0)]).toEqual(Array(2).fill({ low: 0, high: 1 }));
  expect(() => clopperPearson(2, 1)).toThrow(/PARAMETER_INVALID/);
  expect(() => clopperPearson(0.5, 1)).toThrow(/PARAMETER_INVALID/);
  expect(() => wilson(-1, 1)).toThrow(/PARAMETER_INVALID/);
});

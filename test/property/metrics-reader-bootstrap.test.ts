import { expect, test } from 'vitest';
import { seeded } from '../../shared/imaging/seeded.ts';
import { wilson } from '../../shared/metrics/proportion.ts';
import {
  differenceEstimate,
  meanEstimate,
  percentileInterval,
  type ReaderValue,
  shareEstimate,
} from '../../shared/metrics/reader-bootstrap.ts';

/** Answers of readers to cases, each right or wrong by its own chance and by what readers and cases add to it. */
function answers(
  readers: number,
  cases: number,
  seed: string,
  spread: { reader: number; case: number },
): ReaderValue[] {
  const random = seeded(seed);
  const ofReader = Array.from({ length: readers }, () => random.normal(0, spread.reader));
  const ofCase = Array.from({ length: cases }, () => random.normal(0, spread.case));
  return ofReader.flatMap((r, i) =>
    ofCase.map((c, j) => ({
      reader: `r${i}`,
      case: `c${j}`,
      stratum: 'all',
      value: Number(random.normal() + r + c > 0),
    })),
  );
}

test('one reader: nearly Wilson’s interval, as the cases alone vary', () => {
  const values = answers(1, 200, 'one', { reader: 0, case: 0 });
  const right = values.filter((v) => v.value === 1).length;
  const plain = wilson(right, 200);
  const estimate = shareEstimate(values, seeded('draws'));
  expect(estimate.value).toBe(right / 200);
  expect(Math.abs(estimate.low - plain.low)).toBeLessThan(0.006);
  expect(Math.abs(estimate.high - plain.high)).toBeLessThan(0.006);
});

test('all answers alike: every case counts once, whatever the number of readers', () => {
  const values = answers(3, 30, 'alike', { reader: 0, case: 0 }).map((v) => ({ ...v, value: 1 }));
  expect(shareEstimate(values, seeded('x'), 200)).toEqual({ value: 1, ...wilson(30, 30) });
  expect(shareEstimate([], seeded('x'))).toEqual({ value: NaN, low: 0, high: 1 });
});

/** How often the interval holds 0.5, which is the true share by symmetry. */
function coverage(interval: (values: ReaderValue[], k: number) => { low: number; high: number }): number {
  const trials = 150;
  let covered = 0;
  for (let k = 0; k < trials; k++) {
    const { low, high } = interval(answers(6, 40, `study ${k}`, { reader: 0.5, case: 1 }), k);
    if (low <= 0.5 && 0.5 <= high) covered++;
  }
  return covered / trials;
}

test('with readers and cases that differ, 95 % intervals hold the truth nine times in ten or more', () => {
  expect(coverage((values, k) => shareEstimate(values, seeded(`${k}`), 200))).toBeGreaterThan(0.9);
}, 60_000);

test('positive control: answers taken as independent do not', () => {
  const naive = (values: ReaderValue[]) => wilson(values.filter((v) => v.value === 1).length, values.length);
  expect(coverage(naive)).toBeLessThan(0.7);
});

test('a mean and a difference: exact values, intervals around them, the same from the same seed', () => {
  const random = seeded('likert');
  const values = ['a', 'b', 'c'].flatMap((reader) =>
    Array.from({ length: 40 }, (_, i) => ({ reader, case: `c${i}`, stratum: i < 20 ? 'real' : 'synthetic', value: (i < 20 ? 3 : 2) + random.below(3) }))); // prettier-ignore
  const mean = (name: string) => values.filter((v) => v.stratum === name).reduce((sum, v) => sum + v.value, 0) / 60;
  const gap = differenceEstimate(values, ['real', 'synthetic'], seeded('s'), 400);
  expect(gap.value).toBeCloseTo(mean('real') - mean('synthetic'), 12);
  expect([gap.low < gap.value, gap.value < gap.high, gap.low > 0.3, gap.high < 1.7]).toEqual(Array(4).fill(true));
  expect(differenceEstimate(values, ['real', 'synthetic'], seeded('s'), 400)).toEqual(gap);
  expect(meanEstimate(values.filter((v) => v.stratum === 'real'), seeded('s'), 400).value).toBeCloseTo(mean('real'), 12); // prettier-ignore
});

test('percentiles of 0 to 1000, and of too few draws', () => {
  expect(percentileInterval(Array.from({ length: 1001 }, (_, i) => 1000 - i))).toEqual({ low: 25, high: 975 });
  expect(percentileInterval([1, 2, 3])).toEqual({ low: NaN, high: NaN });
});

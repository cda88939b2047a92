import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { LATTICE_SIGMA, type LatticeGaussian, latticeGaussian } from '../../shared/dp/gaussian.ts';
import {
  type ClippedSum,
  dangerouslyTrustAsClippedSum,
  FLOAT_SLACK,
  latticeFor,
  meanOverExpectedBatch,
  type NoisedGradient,
  type NoisedSum,
  privatize,
} from '../../shared/dp/noised.ts';
import { publicBytes } from '../../shared/public-random.ts';

const gaussian = latticeGaussian(publicBytes('noised'));
const silent: LatticeGaussian = (out) => out.fill(0);
const trust = (values: number[], clipNorm = 1) => dangerouslyTrustAsClippedSum(Float64Array.from(values), clipNorm);
const l2 = (v: Float64Array) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));

describe('privacy state is a type', () => {
  test('the compiler takes neither for the other', () => {
    const sum = trust([1, 2]);
    const noised = privatize(sum, { clipNorm: 1, noiseMultiplier: 1 }, gaussian);
    expectTypeOf(noised).toEqualTypeOf<NoisedSum>();
    expectTypeOf<ClippedSum>().not.toExtend<NoisedSum>();
    expectTypeOf<NoisedSum>().not.toExtend<ClippedSum>();
    expectTypeOf<NoisedSum>().not.toExtend<NoisedGradient>();
    const optimise = (gradient: NoisedGradient) => gradient.values.length;
    /** Compiled, never run: each line would be a mistake, and `tsc` says so. */
    const mistakes = () => {
      // @ts-expect-error raw sums do not reach an optimiser
      optimise(sum);
      // @ts-expect-error nor do sums that were not divided
      optimise(noised);
      // @ts-expect-error nor arrays, whatever they hold
      meanOverExpectedBatch(new Float64Array(2), 1);
      // @ts-expect-error a clipped sum is not averaged before it is noised
      meanOverExpectedBatch(sum, 1);
      // @ts-expect-error what is noised once is not noised again
      privatize(noised, { clipNorm: 1, noiseMultiplier: 1 }, gaussian);
      // @ts-expect-error an object of the right shape is not a noised sum: only `privatize` makes one
      meanOverExpectedBatch({ values: new Float64Array(2), clipNorm: 1, noiseMultiplier: 1 }, 1);
    };
    expect(mistakes).toBeTypeOf('function');
    expect(optimise(meanOverExpectedBatch(noised, 2))).toBe(2);
  });
});

describe('the noise', () => {
  const d = 200_000;

  test.each([
    [1, 1],
    [0.1, 2.5],
    [10, 0.3],
  ])('has standard deviation σ·C on the sum: C = %d, σ = %d', (clipNorm, noiseMultiplier) => {
    const { values } = privatize(
      dangerouslyTrustAsClippedSum(new Float64Array(d), clipNorm),
      { clipNorm, noiseMultiplier },
      gaussian,
    );
    const ratio = l2(values) / Math.sqrt(d) / (noiseMultiplier * clipNorm);
    // Slack and lattice add 0.1 %; five standard errors are 0.8 %.
    expect(Math.abs(ratio - 1.001)).toBeLessThan(0.008);
    // Positive control: forgetting C, or taking σ for the variance, would be seen.
    for (const wrong of [clipNorm, Math.sqrt(noiseMultiplier)])
      if (wrong !== 1) expect(Math.abs(ratio * wrong - 1.001)).toBeGreaterThan(0.008);
  });

  test('is added to the sum and to nothing else', () => {
    const sum = [3, -1, 0.5];
    const { values } = privatize(trust(sum), { clipNorm: 1, noiseMultiplier: 2 }, silent);
    values.forEach((v, i) => expect(Math.abs(v - sum[i])).toBeLessThan(2 / LATTICE_SIGMA));
  });

  test('a batch of nobody takes noise like any other', () => {
    const { values } = privatize(trust([0, 0, 0, 0]), { clipNorm: 1, noiseMultiplier: 1 }, gaussian);
    expect(values.every((v) => v !== 0)).toBe(true);
  });

  test('no noise is possible, and then the sum is what it was', () => {
    const { values } = privatize(trust([0.1, -7]), { clipNorm: 1, noiseMultiplier: 0 }, gaussian);
    expect([...values]).toEqual([0.1, -7]);
  });
});

describe('the lattice', () => {
  const D = 4;
  const coordinate = fc.integer({ min: -1000, max: 1000 }).map((x) => x / 997);
  const vector = fc.array(coordinate, { minLength: D, maxLength: D });
  const sigma = fc.integer({ min: 1, max: 200 }).map((x) => x / 10);

  test('every output is a whole number of steps, whatever the sum: its low bits say nothing', () => {
    fc.assert(
      fc.property(vector, sigma, (sum, noiseMultiplier) => {
        const { step } = latticeFor(D, 1, noiseMultiplier);
        const { values } = privatize(trust(sum), { clipNorm: 1, noiseMultiplier }, gaussian);
        return values.every((v) => Math.round(v / step) * step === v);
      }),
    );
  });

  test('positive control: float noise on a float sum leaves the lattice', () => {
    const { step } = latticeFor(D, 1, 1);
    const { values } = privatize(trust([0, 0, 0, 0]), { clipNorm: 1, noiseMultiplier: 1 }, gaussian);
    expect(values.every((v) => Math.round((v + 0.1) / step) * step === v + 0.1)).toBe(false);
  });

  /** The claim: rounded sums of neighbours differ by at most what the noise was scaled for. */
  const sensitivityIsPaid = (paid: (d: number, noiseMultiplier: number, step: number) => number) =>
    fc.property(vector, vector, sigma, (sum, direction, noiseMultiplier) => {
      const norm = Math.hypot(...direction) || 1;
      // So coarse a lattice, in relation, that rounding shows: a clip of a few steps.
      const { step } = latticeFor(D, 1, noiseMultiplier);
      const clip = 3 * step;
      const other = sum.map((x, i) => x + (direction[i] / norm) * clip);
      const round = (v: number[]) => Float64Array.from(v, (x) => Math.round(x / step) * step);
      const [a, b] = [round(sum), round(other)];
      return l2(a.map((x, i) => x - b[i])) <= clip + paid(D, noiseMultiplier, step) * (1 + 1e-9);
    });

  test('rounding moves neighbours apart by at most √d steps, and the noise is scaled for it', () => {
    fc.assert(
      sensitivityIsPaid((d, _, step) => Math.sqrt(d) * step),
      { numRuns: 500 },
    );
    for (const [d, clipNorm, noiseMultiplier] of [
      [4, 1, 1],
      [1_000_000, 0.1, 14],
      [50_000, 3, 0.7],
    ] as const) {
      const { step, std } = latticeFor(d, clipNorm, noiseMultiplier);
      const sensitivity = clipNorm * (1 + FLOAT_SLACK) + Math.sqrt(d) * step;
      expect(std / (noiseMultiplier * sensitivity)).toBeCloseTo(1, 12);
      expect(std).toBeCloseTo(step * LATTICE_SIGMA, 12);
    }
  });

  test('costs 0.12 % at a million coordinates, and is refused where it would double the noise', () => {
    expect(latticeFor(1_000_000, 1, 1).std).toBeCloseTo(1.0012, 4);
    expect(() => latticeFor(2e12, 1, 2)).toThrow(/PARAMETER_INVALID/);
  });

  test('positive control: leaving the rounding unpaid is caught', () => {
    expect(() =>
      fc.assert(
        sensitivityIsPaid(() => 0),
        { numRuns: 500 },
      ),
    ).toThrow(/Property failed/);
  });
});

describe('private values never throw, parameters do', () => {
  test('an entry that is not finite is brought into range and nothing else changes', () => {
    for (const noiseMultiplier of [0, 1]) {
      const sum = trust([NaN, Infinity, -Infinity, 1e308, 0.25]);
      const { values } = privatize(sum, { clipNorm: 1, noiseMultiplier }, silent);
      expect(values.every(Number.isFinite)).toBe(true);
      expect(values[0]).toBe(0);
      expect(values[1]).toBe(-values[2]);
      expect(values[4]).toBeCloseTo(0.25, 6);
    }
  });

  test.each([
    ['a clip that is not the sum’s', { clipNorm: 2, noiseMultiplier: 1 }],
    ['negative noise', { clipNorm: 1, noiseMultiplier: -1 }],
    ['noise that is not a number', { clipNorm: 1, noiseMultiplier: NaN }],
    ['infinite noise', { clipNorm: 1, noiseMultiplier: Infinity }],
  ])('%s', (_, p) => {
    expect(() => privatize(trust([0]), p, gaussian)).toThrow(/PARAMETER_INVALID/);
  });

  test('a clip or an expected batch out of range', () => {
    for (const bad of [0, -1, NaN, Infinity]) {
      expect(() => trust([0], bad)).toThrow(/PARAMETER_INVALID/);
      const noised = privatize(trust([0]), { clipNorm: 1, noiseMultiplier: 1 }, gaussian);
      expect(() => meanOverExpectedBatch(noised, bad)).toThrow(/PARAMETER_INVALID/);
    }
  });

  test('the mean divides by the expected batch', () => {
    const noised = privatize(trust([6, -3]), { clipNorm: 1, noiseMultiplier: 0 }, gaussian);
    expect([...meanOverExpectedBatch(noised, 1.5).values]).toEqual([4, -2]);
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PatientImages } from '../../shared/dp/patient-batch.ts';
import { layPatients } from '../../shared/dp/patient-batch.ts';
import { passesOf } from '../../shared/dp/patient-gradient.ts';
import { movingAverage } from '../../shared/gan/average.ts';
import { classWeights, drawFakeInputs, type FakeInputs, oneHot } from '../../shared/gan/batch.ts';
import { config, l2 } from '../support/gan-rig.ts';
import { clipVector } from '../../shared/gan/generator-gradient.ts';

const UNIFORM = [1 / 3, 1 / 3, 1 / 3];
const NUM_RUNS = { numRuns: 200 };

describe('labels of fakes', () => {
  type MakeFakes = (real: readonly PatientImages[]) => FakeInputs;
  const patientsOf = (label: number): PatientImages[] =>
    Array.from({ length: 40 }, () => ({ images: [new Float32Array(784)], labels: [label] }));

  /** Fakes must be the same whatever the real labels are. */
  const ignoresRealLabels = (make: MakeFakes): boolean => {
    const [a, b] = [make(patientsOf(0)), make(patientsOf(2))];
    return a.labels.every((label, i) => label === b.labels[i]) && a.latents.every((x, i) => x === b.latents[i]);
  };

  test('come from the public distribution and a public seed', () => {
    expect(ignoresRealLabels(() => drawFakeInputs(40, 4, UNIFORM, 'round 1'))).toBe(true);
    const { labels } = drawFakeInputs(3000, 1, [0.5, 0, 0.5], 'x');
    expect(labels.filter((label) => label === 1).length).toBe(0);
    expect(Math.abs(labels.filter((label) => label === 0).length / 3000 - 0.5)).toBeLessThan(0.05);
  });

  test('positive control: fakes that copy the real labels are caught', () => {
    const copies: MakeFakes = (real) => ({
      ...drawFakeInputs(real.length, 4, UNIFORM, 'round 1'),
      labels: Int32Array.from(real, ({ labels }) => labels[0]),
    });
    expect(ignoresRealLabels(copies)).toBe(false);
  });
});

describe('class weights', () => {
  test('sites together give every class its share, once, whoever declares it', () => {
    const shares = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 3, maxLength: 3 });
    const sites = fc.array(fc.subarray([0, 1, 2], { minLength: 1 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(shares, sites, (parts, declared) => {
        const total = parts.reduce((a, b) => a + b);
        const distribution = parts.map((p) => p / total);
        const declarers = distribution.map((_, c) => declared.filter((site) => site.includes(c)).length);
        const sum = [0, 0, 0];
        for (const site of declared) {
          const { distribution: own, weights } = classWeights(distribution, site, declarers);
          own.forEach((p, c) => (sum[c] += p * weights[c]));
        }
        return sum.every((x, c) => Math.abs(x - (declarers[c] > 0 ? distribution[c] : 0)) < 1e-12);
      }),
      NUM_RUNS,
    );
  });

  test('a site that declares nothing drawn, and a class nobody declares, are refused', () => {
    for (const refused of [() => classWeights([1, 0, 0], [1], [1, 1, 1]), () => classWeights(UNIFORM, [0], [0, 1, 1])])
      expect(refused).toThrow(expect.objectContaining({ code: 'PARAMETER_INVALID' }));
  });
});

test('one-hot rows; a label out of range is refused', () => {
  expect([...oneHot(Int32Array.of(2, 0), 3)]).toEqual([0, 0, 1, 1, 0, 0]);
  expect(() => oneHot(Int32Array.of(3), 3)).toThrow(expect.objectContaining({ code: 'PARAMETER_INVALID' }));
});

test('a clipped update never exceeds its norm, in float32 too; one that is not finite becomes zero', () => {
  const value = fc.oneof(fc.integer({ min: -9, max: 9 }), fc.double({ noNaN: true }));
  fc.assert(
    fc.property(
      fc.array(value, { minLength: 1, maxLength: 50 }),
      fc.double({ min: 1e-3, max: 10, noNaN: true }),
      (v, C) => {
        const clipped = clipVector(Float64Array.from(v), C);
        const finite = clipped.every((x) => Number.isFinite(x));
        return finite && l2(clipped) <= C * (1 + 1e-7);
      },
    ),
    NUM_RUNS,
  );
  expect([...clipVector(Float64Array.of(1, NaN), 1)]).toEqual([0, 0]);
  expect([...clipVector(Float64Array.of(0.25, 0.5), 1)]).toEqual([0.25, 0.5]);
});

describe('places', () => {
  test('empty slots weigh nothing, images beyond m are left out, weights of a patient sum to 1', () => {
    const image = (x: number) => new Float32Array(784).fill(x);
    const batch = layPatients(config(), 3, 2, [
      { images: [image(0.1), image(0.2), image(0.3)], labels: [0, 1, 2] },
      { images: [image(0.4)], labels: [2] },
    ]);
    expect([...batch.weights]).toEqual([0.5, 0.5, 1, 0, 0, 0]);
    expect([...batch.labels.subarray(0, 9)]).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1]);
    expect(batch.images[2 * 784]).toBeCloseTo(0.4);
    expect(batch.images.subarray(3 * 784).every((x) => x === 0)).toBe(true);
  });

  test('passes hold everything, are no larger than asked for, and depend on public numbers alone', () => {
    const count = fc.integer({ min: 1, max: 300 });
    fc.assert(
      fc.property(
        count,
        fc.integer({ min: 1, max: 4 }),
        count,
        fc.integer({ min: 8, max: 512 }),
        (places, m, fakes, n) => {
          const { micro, passes } = passesOf({ places, imagesPerPatient: m, fakes }, n);
          // Rounding up adds at most one patient and one fake to a pass.
          const fits = micro.patients * m + micro.fakes <= n + m + 1;
          return fits && passes * micro.patients >= places && passes * micro.fakes >= fakes;
        },
      ),
      NUM_RUNS,
    );
  });
});

test('a moving average with decay 0 is the newest, with decay 0.75 three quarters of the old', () => {
  const [old, newest] = [Float32Array.of(4), Float32Array.of(8)];
  expect([movingAverage(old, newest, 0)[0], movingAverage(old, newest, 0.75)[0]]).toEqual([8, 5]);
});

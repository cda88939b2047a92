import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { momentImages, MomentSummer } from '../../shared/moments/embedding.ts';
import { type FeatureSet, fourierFeatures } from '../../shared/moments/features.ts';

const SHAPE = { channels: 1, size: 28 };
const PIXELS = 28 * 28;
const CLASSES = 3;
const features = fourierFeatures(
  {
    kind: 'fourier',
    seed: 'test',
    blocks: [
      { on: 'pixels', bandwidth: 5, frequencies: 8, weight: 1 },
      { on: 'pixels', bandwidth: 20, frequencies: 16, weight: 3 },
      { on: 'wavelets', bandwidth: 0.5, frequencies: 8, weight: 2 },
    ],
  },
  SHAPE,
);

let engine: Engine;
let summer: MomentSummer;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
  summer = await MomentSummer.create(engine, features, SHAPE, CLASSES, 16);
});
afterAll(async () => {
  await summer.dispose();
  await engine.dispose();
});

/** Patients, each with images: a level and a slope of brightness and a label. Levels beyond ±1 are not images. */
const patient = fc.array(
  fc.record({
    level: fc.oneof(
      fc.integer({ min: -4, max: 4 }).map((v) => v / 4),
      fc.constantFrom(NaN, Infinity, -7),
    ),
    slope: fc.integer({ min: 0, max: 3 }),
    label: fc.nat({ max: CLASSES - 1 }),
  }),
  { minLength: 1, maxLength: 4 },
);
const cohort = fc.array(patient, { minLength: 1, maxLength: 5 });
type Cohort = { level: number; slope: number; label: number }[][];

function layOut(patients: Cohort) {
  const images = patients.flat();
  const pixels = new Float32Array(images.length * PIXELS);
  images.forEach(({ level, slope }, i) => {
    for (let p = 0; p < PIXELS; p++) pixels[i * PIXELS + p] = slope === 0 ? level : level * Math.cos((p * slope) / 9);
  });
  let row = 0;
  const rows = patients.map((own) => own.map(() => row++));
  return { pixels, rows, labels: Int32Array.from(images, ({ label }) => label) };
}

type Sum = (patients: Cohort) => Promise<Float64Array>;
const ours: Sum = (patients) => {
  const { pixels, rows, labels } = layOut(patients);
  return summer.sum(pixels, momentImages(rows, labels, 3));
};

/** The claim itself: removing any one patient moves the sum by at most 1. */
const sensitivityIsOne = (sum: Sum) =>
  fc.asyncProperty(cohort, fc.nat(), async (patients, pick) => {
    const all = await sum(patients);
    const fewer = patients.length === 1 ? all.map(() => 0) : await sum(patients.toSpliced(pick % patients.length, 1));
    return Math.hypot(...all.map((v, i) => v - fewer[i])) <= 1 + 1e-5;
  });

test('removing one patient moves the moment sum by at most 1', async () => {
  await fc.assert(sensitivityIsOne(ours), { numRuns: 60, seed: 1 });
});

test('positive control: a patient in two classes counted once for each is caught', async () => {
  const oncePerClass: Sum = (patients) => {
    const { pixels, rows, labels } = layOut(patients);
    const images = rows.flatMap((own) => {
      const perClass = new Map<number, number[]>();
      own.slice(0, 3).forEach((r) => perClass.set(labels[r], [...(perClass.get(labels[r]) ?? []), r]));
      return [...perClass.values()].flatMap((group) =>
        group.map((index) => ({ index, label: labels[index], weight: 1 / group.length })),
      );
    });
    return summer.sum(pixels, images);
  };
  await expect(fc.assert(sensitivityIsOne(oncePerClass), { numRuns: 60, seed: 1 })).rejects.toThrow(/Property failed/);
});

/** Norms of the feature rows themselves, before the clip that stands behind them. */
function rowNorms(set: FeatureSet): number[] {
  return tf.tidy(() => {
    const { pixels } = layOut([
      [{ level: 1, slope: 2, label: 0 }],
      [{ level: -0.5, slope: 0, label: 1 }],
      [{ level: 0.3, slope: 3, label: 2 }],
    ]);
    const constants = Object.fromEntries(
      Object.entries(set.constants).map(([k, c]) => [k, tf.tensor(c.values, [...c.shape])]),
    );
    const rows = set.embed(tf.tensor4d(pixels, [3, 1, 28, 28]), constants);
    return [...tf.sqrt(tf.sum(tf.square(rows), 1)).dataSync()];
  });
}

test('rows have norm 1 by construction, whatever the bandwidths', () => {
  for (const norm of rowNorms(features)) expect(Math.abs(norm - 1)).toBeLessThan(1e-5);
});

test('positive control: bandwidths that are not scaled against each other have larger rows, and the clip holds them', async () => {
  const unscaled: FeatureSet = {
    ...features,
    embed: (x: Tensor4D, constants) => tf.mul<Tensor2D>(features.embed(x, constants), Math.sqrt(3)),
  };
  expect(Math.max(...rowNorms(unscaled))).toBeGreaterThan(1.5);
  const guarded = await MomentSummer.create(engine, unscaled, SHAPE, CLASSES, 16);
  const { pixels, rows, labels } = layOut([[{ level: 1, slope: 2, label: 0 }]]);
  const sum = await guarded.sum(pixels, momentImages(rows, labels, 3));
  expect(Math.hypot(...sum)).toBeLessThanOrEqual(1 + 1e-6);
  await guarded.dispose();
});

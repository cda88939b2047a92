/** A critic comes from the coordinator: whatever its weights, one patient moves the noised sum by at most 1. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import { type Engine, float32 } from '../../shared/engine/program.ts';
import {
  checkCritic,
  criticFeatures,
  criticLayout,
  criticLength,
  MAX_CRITIC_PARAMETER,
} from '../../shared/moments/critic.ts';
import { momentImages, MomentSummer } from '../../shared/moments/embedding.ts';
import type { FeatureSet } from '../../shared/moments/features.ts';
import { refusalOf, tinyCritic } from '../support/glue-rig.ts';
import { uniform } from '../support/rng.ts';

const SHAPE = { channels: 1, size: 28 };
const CLASSES = 3;
const PIXELS = 28 * 28;
const layout = criticLayout(tinyCritic, SHAPE, CLASSES);
const standardised = {
  ...tinyCritic,
  blocks: tinyCritic.blocks.map((b) => ({ ...b, normalise: 'standardised' as const })),
};
const longer = criticLayout(standardised, SHAPE, CLASSES);
const featuresOf = (parameters: Float32Array) => criticFeatures(tinyCritic, SHAPE, CLASSES, 'seed 1', parameters);

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

/** Weights a coordinator might choose to break the bound: at the limit, all alike, all zero, of wild scales. */
const hostileOf = (length: number): Record<string, Float32Array> => ({
  'at the limit': new Float32Array(length).fill(MAX_CRITIC_PARAMETER),
  'at the limit, either sign': uniform(1, length).map((u) => (u < 0 ? -1 : 1) * MAX_CRITIC_PARAMETER),
  zero: new Float32Array(length),
  tiny: uniform(2, length).map((u) => u * 1e-30),
  'of many scales': uniform(3, length).map((u, i) => u * 10 ** ((i % 40) - 38)),
});
const hostile = hostileOf(layout.length);

const patient = fc.record({
  level: fc.oneof(
    fc.integer({ min: -4, max: 4 }).map((v) => v / 4),
    fc.constantFrom(NaN, Infinity, -7),
  ),
  slope: fc.integer({ min: 0, max: 3 }),
  label: fc.nat({ max: CLASSES - 1 }),
});
const cohort = fc.array(fc.array(patient, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 });
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

/** Whether, with these features, no patient of no cohort moves the sum by more than 1; NaN counts as more. */
async function moves(features: FeatureSet): Promise<void> {
  const summer = await MomentSummer.create(engine, features, SHAPE, CLASSES, 12);
  const sum = (patients: Cohort) => {
    const { pixels, rows, labels } = layOut(patients);
    return summer.sum(pixels, momentImages(rows, labels, 3));
  };
  try {
    await fc.assert(
      fc.asyncProperty(cohort, fc.nat(), async (patients, pick) => {
        const all = await sum(patients);
        const fewer =
          patients.length === 1 ? all.map(() => 0) : await sum(patients.toSpliced(pick % patients.length, 1));
        return Math.hypot(...all.map((v, i) => v - fewer[i])) <= 1 + 1e-5;
      }),
      { numRuns: 25, seed: 1 },
    );
  } finally {
    await summer.dispose();
  }
}

test.each(Object.entries(hostile))('one patient moves the sum by at most 1 under weights %s', async (_, parameters) => {
  await moves(featuresOf(parameters));
});

test.each(Object.entries(hostileOf(longer.length)))(
  'nor where layers are standardised, by weights and statistics %s',
  async (_, parameters) => {
    await moves(criticFeatures(standardised, SHAPE, CLASSES, 'seed 1', parameters));
  },
);

test('without the clip behind them rows have norm 1, on the engine that sites run: any weights, any statistics, any mixture', async () => {
  const [maps, dense] = tinyCritic.blocks;
  const mixtures = [
    standardised.blocks,
    tinyCritic.blocks.map((b) => ({ ...b, normalise: 'centred' as const })),
    [maps, { ...maps, normalise: 'centred' as const }, { ...maps, normalise: 'standardised' as const }, dense],
  ];
  const shades = [-1, 0, 1];
  const images = Float32Array.from([
    ...shades.flatMap((v) => [...new Float32Array(PIXELS).fill(v)]),
    ...uniform(9, PIXELS),
  ]);
  const worst: number[] = [];
  for (const blocks of mixtures) {
    const config = { ...tinyCritic, blocks };
    const { length } = criticLayout(config, SHAPE, CLASSES);
    for (const parameters of Object.values(hostileOf(length))) {
      const set = criticFeatures(config, SHAPE, CLASSES, 'seed 1', parameters);
      const specs = Object.entries(set.constants).map(([k, c]) => [k, float32(...c.shape)] as const);
      const program = await engine.compile(
        'rows',
        ({ x, ...constants }) => ({ rows: set.embed(x as Tensor4D, constants) }),
        { x: float32(4, 1, 28, 28), ...Object.fromEntries(specs) },
      );
      const constants = Object.fromEntries(Object.entries(set.constants).map(([k, c]) => [k, c.values]));
      const { rows } = await program.run({ x: images, ...constants });
      await program.dispose();
      for (let i = 0; i < 4; i++) worst.push(Math.hypot(...rows.subarray(i * set.length, (i + 1) * set.length)));
    }
  }
  expect(worst).toHaveLength(3 * 5 * 4);
  // Never longer, and by construction never shorter.
  for (const norm of worst) expect(Math.abs(norm - 1)).toBeLessThan(1e-5);
});

test.each([undefined, 'standardised'] as const)(
  'the widest critic of the largest images stays finite at the limit: %s',
  (normalise) => {
    const block = { on: 'dense' as const, normalise, bandwidth: 1e-6, frequencies: 2, weight: 1 };
    const config = { ...tinyCritic, width: 128, blocks: [block, { ...block, on: 'maps' as const }] };
    const shape = { channels: 3, size: 64 };
    const wide = criticLayout(config, shape, 1);
    const set = criticFeatures(config, shape, 1, 's', new Float32Array(wide.length).fill(MAX_CRITIC_PARAMETER));
    const rows = tf.tidy(() => {
      const constants = Object.fromEntries(
        Object.entries(set.constants).map(([k, c]) => [k, tf.tensor(c.values, [...c.shape])]),
      );
      return [...set.embed(tf.ones([1, 3, 64, 64]), constants).dataSync()];
    });
    expect(Math.abs(Math.hypot(...rows) - 1)).toBeLessThan(1e-4);
    expect(criticLength(config)).toBe(rows.length);
  },
);

test('positive control: features that skip the division by the norm break the bound only where the clip is gone', async () => {
  const honest = featuresOf(hostile['at the limit']);
  const loose: FeatureSet = {
    ...honest,
    embed: (x: Tensor4D, constants) => tf.mul<Tensor2D>(honest.embed(x, constants), 3),
  };
  const norm = tf.tidy(() => {
    const constants = Object.fromEntries(
      Object.entries(honest.constants).map(([k, c]) => [k, tf.tensor(c.values, [...c.shape])]),
    );
    return tf.norm(loose.embed(tf.ones([1, 1, 28, 28]), constants)).dataSync()[0];
  });
  expect(norm).toBeGreaterThan(2.9);
  await moves(loose);
});

test('positive control: weights beyond the limit make a NaN of some images, and the property sees it', async () => {
  const parameters = uniform(4, layout.length).map((u) => u * 1e20);
  const set = featuresOf(hostile['zero']);
  const broken = Object.entries(set.constants).map(([name, c]) => {
    const entry = layout.entries.find((e) => `critic.${e.name}` === name);
    return [name, entry ? { ...c, values: parameters.slice(entry.offset, entry.offset + entry.size) } : c] as const;
  });
  await expect(moves({ ...set, constants: Object.fromEntries(broken) })).rejects.toThrow(/Property failed/);
});

test('such weights are refused, and so are others of the wrong size', async () => {
  const at = (i: number, value: number) => new Float32Array(layout.length).map((_, j) => (j === i ? value : 0));
  for (const value of [NaN, Infinity, -Infinity, 1.01 * MAX_CRITIC_PARAMETER, -101])
    for (const i of [0, layout.length - 1])
      expect(await refusalOf(() => checkCritic(at(i, value), layout))).toMatch(/^PARAMETER_INVALID/);
  expect(await refusalOf(() => checkCritic(new Float32Array(layout.length + 1), layout))).toMatch(/^PARAMETER_INVALID/);
  expect(await refusalOf(() => featuresOf(at(0, NaN)))).toMatch(/^PARAMETER_INVALID/);
  expect(() => checkCritic(at(0, MAX_CRITIC_PARAMETER), layout)).not.toThrow();
  // A critic without its statistics, where the policy has them; and one of them beyond the limit.
  expect(await refusalOf(() => checkCritic(new Float32Array(layout.length), longer))).toMatch(/^PARAMETER_INVALID/);
  const scaled = new Float32Array(longer.length);
  scaled[longer.length - 1] = 2 * MAX_CRITIC_PARAMETER;
  expect(await refusalOf(() => checkCritic(scaled, longer))).toMatch(/^PARAMETER_INVALID/);
});

test('an image’s features do not depend on its neighbours, and each round looks along new directions', () => {
  const parameters = uniform(5, layout.length);
  const embed = (set: FeatureSet, x: Tensor4D) => {
    const constants = Object.fromEntries(
      Object.entries(set.constants).map(([k, c]) => [k, tf.tensor(c.values, [...c.shape])]),
    );
    return [...tf.slice(set.embed(x, constants), [0, 0], [1, -1]).dataSync()];
  };
  tf.tidy(() => {
    const own = tf.tensor4d(uniform(6, PIXELS), [1, 1, 28, 28]);
    const beside = (seed: number): Tensor4D => tf.concat([own, tf.tensor4d(uniform(seed, PIXELS), [1, 1, 28, 28])], 0);
    const set = featuresOf(parameters);
    expect(embed(set, beside(7))).toEqual(embed(set, beside(8)));
    expect(embed(set, own)).not.toEqual(embed(criticFeatures(tinyCritic, SHAPE, CLASSES, 'seed 2', parameters), own));
  });
});

/**
 * The privacy claim itself, on the whole path of step 2: adding or removing one patient, whatever the images are, moves the
 * clipped sum by at most C; and a patient's part does not depend on who else is there.
 */
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clippedSum } from '../../shared/dp/clipped-gradient.ts';
import { FLOAT_SLACK } from '../../shared/dp/noised.ts';
import { NORM_RULES, type NormRule, type NormRules } from '../../shared/dp/norm-rules.ts';
import { layPatients, type PatientImages } from '../../shared/dp/patient-batch.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine, Program } from '../../shared/engine/program.ts';
import { insecureGradientSum } from '../../shared/gan/discriminator-gradient.ts';
import { addToFlat, parameterFeeds } from '../../shared/gan/layout.ts';
import { type Case, l2, makeCase } from '../support/gan-rig.ts';

const PLACES = 3;
const SLOTS = 2;
const C = 0.5;
let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

type Summer = (patients: readonly PatientImages[], place?: number) => Promise<Float64Array>;

/** The sum over patients laid from `place` on; fakes of weight zero. */
function summer(c: Case, program: Program): Summer {
  const { layout } = c.gan.discriminator;
  return async (patients, place = 0) => {
    const before = Array.from({ length: place }, () => ({ images: [], labels: [] }));
    const batch = layPatients(c.gan.config, PLACES, SLOTS, [...before, ...patients]);
    const feeds = {
      ...parameterFeeds(layout, c.parameters, 'd.'),
      images: batch.images,
      labels: batch.labels,
      imageWeights: batch.weights,
      fakes: c.fakes.images,
      fakeLabels: new Float32Array(c.gan.config.classes),
      fakeWeights: new Float32Array(1),
    };
    const outputs = await program.run(
      'clipNorm' in program.inputs ? { ...feeds, clipNorm: Float32Array.of(C) } : feeds,
    );
    const sum = new Float64Array(layout.length);
    addToFlat(layout, outputs, 'g.', sum);
    return sum;
  };
}

const BATCH = { patients: PLACES, imagesPerPatient: SLOTS, fakes: 1 };
const open = async (c: Case, options: { rules?: NormRules; rule?: { kind: 'normalise'; stability: number } } = {}) => {
  const { fn, inputs } = clippedSum(c.gan, BATCH, options);
  return summer(c, await engine.compile('sum', fn, inputs));
};

const pixel = fc.constantFrom(-1, -0.5, 0, 0.25, 1);
const wild = fc.constantFrom(NaN, Infinity, -Infinity, 1e30, 1);
/** Images of constant, random or broken pixels: a few numbers a picture, spread over it. */
const image = (values: fc.Arbitrary<number>) =>
  fc.array(values, { minLength: 1, maxLength: 7 }).map((few) => {
    return Float32Array.from({ length: 784 }, (_, i) => few[(i * i + (i >> 5)) % few.length]);
  });
const patient = (values: fc.Arbitrary<number>): fc.Arbitrary<PatientImages> =>
  fc
    .array(fc.tuple(image(values), fc.nat({ max: 2 })), { minLength: 1, maxLength: SLOTS })
    .map((pairs) => ({ images: pairs.map(([x]) => x), labels: pairs.map(([, label]) => label) }));
const patients = (values: fc.Arbitrary<number>) => fc.array(patient(values), { minLength: 1, maxLength: PLACES });

const sensitivityIsBounded = (sum: Summer, values: fc.Arbitrary<number>) =>
  fc.asyncProperty(patients(values), fc.nat(), async (all, pick) => {
    const whole = await sum(all);
    const fewer = await sum(all.toSpliced(pick % all.length, 1));
    return l2(whole.map((x, i) => x - fewer[i])) <= C * (1 + FLOAT_SLACK);
  });

/** A sum of parts, each a function of one patient: then two sums add up. */
const patientsAreIndependent = (sum: Summer) =>
  fc.asyncProperty(patient(pixel), patient(pixel), async (a, b) => {
    const [both, first, second] = [await sum([a, b]), await sum([a]), await sum([b], 1)];
    return l2(both.map((x, i) => x - first[i] - second[i])) <= 1e-5 * C;
  });

const RUNS = { numRuns: 40 };
const control = { numRuns: 40, endOnFailure: true };

test.each([
  ['projection', {}],
  ['naming the class', { conditioning: 'classifier' }],
  ['planes and GroupNorm', { conditioning: 'planes', groupNorm: 2 }],
  ['odd kernels', { architecture: 'odd' }],
] as const)('removing a patient moves the sum by at most C: %s', async (_, over) => {
  const sum = await open(makeCase(over, [1], SLOTS, 1));
  await fc.assert(sensitivityIsBounded(sum, fc.oneof(pixel, wild)), RUNS);
  await fc.assert(patientsAreIndependent(sum), { numRuns: 15 });
});

test('so it is when every gradient is brought to length C', async () => {
  const sum = await open(makeCase({}, [1], SLOTS, 1), { rule: { kind: 'normalise', stability: 0.01 } });
  await fc.assert(sensitivityIsBounded(sum, pixel), RUNS);
  const images = [new Float32Array(784).fill(0.5)];
  expect(l2(await sum([{ images, labels: [1] }])) / C).toBeGreaterThan(0.9);
});

test('so it is with parameters as large as they may be', async () => {
  const c = makeCase({ discriminatorWidth: 16, imageSize: 28 }, [1], SLOTS, 1);
  const sum = await open({ ...c, parameters: c.parameters.map((w) => Math.sign(w) * 100) });
  await fc.assert(sensitivityIsBounded(sum, pixel), { numRuns: 10 });
});

test('an empty step is exactly zero, and so is a patient who cannot be used', async () => {
  const sum = await open(makeCase({}, [1], SLOTS, 1));
  expect((await sum([])).every((x) => x === 0)).toBe(true);
  const broken = new Float32Array(784).fill(0.5);
  broken[700] = NaN;
  expect((await sum([{ images: [broken], labels: [0] }])).every((x) => x === 0)).toBe(true);
  expect((await sum([{ images: [broken.fill(0)], labels: [7] }])).every((x) => x === 0)).toBe(true);
});

describe('positive controls', () => {
  test('without a clip the sensitivity test fails', async () => {
    const c = makeCase({}, [1], SLOTS, 1);
    const { fn, inputs } = insecureGradientSum(c.gan, BATCH);
    const sum = summer(c, await engine.compile('sum', fn, inputs));
    await expect(fc.assert(sensitivityIsBounded(sum, pixel), control)).rejects.toThrow(/Property failed/);
  });

  test('with a clip that is 1 % loose it fails', async () => {
    const strict = await open(makeCase({}, [1], SLOTS, 1));
    const loose: Summer = async (all) => (await strict(all)).map((x) => 1.01 * x);
    await expect(fc.assert(sensitivityIsBounded(loose, pixel), control)).rejects.toThrow(/Property failed/);
  });

  test('with a norm that forgets the cross terms between a patient’s images it fails', async () => {
    const c = makeCase({}, [1], SLOTS, 1);
    const forgetful = (rule: NormRule): NormRule => ({
      measure(layer, input, tap, groups) {
        const images = groups.reduce((n, g) => n + g.units * g.images, 0);
        const alone = rule.measure(layer, input, tap, [{ units: images, images: 1 }]).squaredNorms;
        const ofPatients = tf.sum(tf.reshape(tf.slice(alone, 0, PLACES * SLOTS), [PLACES, SLOTS]), 1);
        const squaredNorms = tf.concat([ofPatients, tf.slice(alone, PLACES * SLOTS)]) as tf.Tensor1D;
        return { squaredNorms, sum: rule.measure(layer, input, tap, groups).sum };
      },
    });
    const rules = Object.fromEntries(
      Object.entries(NORM_RULES).map(([kind, rule]) => [kind, forgetful(rule as NormRule)]),
    ) as NormRules;
    await expect(fc.assert(sensitivityIsBounded(await open(c, { rules }), pixel), control)).rejects.toThrow(
      /Property failed/,
    );
  });

  test('a batch normalisation is refused by name', () => {
    const c = makeCase({ architecture: 'batch-normed' }, [1], SLOTS, 1);
    expect(() => clippedSum(c.gan, BATCH)).toThrow(
      expect.objectContaining({
        code: 'LAYER_WITHOUT_NORM_RULE',
        message: expect.stringContaining("batchNorm 'norm'"),
      }),
    );
  });

  test('forced in, it is caught by the independence test', async () => {
    const c = makeCase({ architecture: 'batch-normed' }, [1], SLOTS, 1);
    const rules = { ...NORM_RULES, batchNorm: NORM_RULES.groupNorm as unknown as NormRule<'batchNorm'> };
    const sum = await open(c, { rules });
    await expect(fc.assert(patientsAreIndependent(sum), control)).rejects.toThrow(/Property failed/);
  });
});

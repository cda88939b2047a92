/**
 * The clipped sum against its definition: every patient's gradient by ordinary autodiff, alone, on another engine; norm,
 * clip and sum in float64.
 *
 * Tolerance 1e-4 of the sum's length: both sides are float32 inside, and the two engines alone differ by about 2e-6. A clip
 * that is 1 % loose differs by 1e-2.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clippedSum } from '../../shared/dp/clipped-gradient.ts';
import { convolutionRule, NORM_RULES } from '../../shared/dp/norm-rules.ts';
import { PatientGradients } from '../../shared/dp/patient-gradient.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { oneHot } from '../../shared/gan/batch.ts';
import type { GanConfig } from '../../shared/gan/config.ts';
import { addToFlat, parameterFeeds } from '../../shared/gan/layout.ts';
import {
  addAll,
  type Case,
  clipAndSum,
  gradientOf,
  l2,
  makeCase,
  relativeError,
  scaled,
  unitGradients,
} from '../support/gan-rig.ts';

const TOLERANCE = 1e-4;
let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

/** The checking function of every test here and of every positive control. */
function isClippedSum(sum: Float64Array, units: readonly Float64Array[], C: number): boolean {
  return relativeError(sum, clipAndSum(units, C)) < TOLERANCE;
}

async function ours(c: Case, C: number, imagesAtOnce = 64): Promise<Float64Array> {
  const shape = {
    places: c.batch.patients,
    imagesPerPatient: c.batch.imagesPerPatient,
    fakes: c.fakes.labels.length,
  };
  const gradients = await PatientGradients.open(engine, c.gan, shape, { kind: 'clip' }, imagesAtOnce);
  const { sum } = await gradients.sum(c.parameters, c.batch, c.fakes, C);
  await gradients.dispose();
  return sum.values;
}

/** A bound that some gradients exceed and some do not. */
const middleNorm = (units: readonly Float64Array[]): number =>
  units.map(l2).sort((a, b) => a - b)[Math.floor(units.length / 2)] * 0.99;

const CASES: [string, Partial<GanConfig>, number[], number][] = [
  ['28 pixels, projection, one image a patient', {}, [1, 1, 1], 1],
  ['28 pixels, projection, up to three images', {}, [3, 1, 2], 3],
  ['28 pixels, label planes, hinge', { conditioning: 'planes', loss: 'hinge' }, [2, 1], 2],
  ['28 pixels, label planes, one image', { conditioning: 'planes' }, [1, 1], 1],
  ['28 pixels, naming the class', { conditioning: 'classifier' }, [2, 1], 2],
  ['28 pixels, unconditional, GroupNorm', { conditioning: 'none', groupNorm: 2 }, [1, 2], 2],
  ['32 pixels, colour, GroupNorm, hinge', { imageSize: 32, channels: 3, groupNorm: 4, loss: 'hinge' }, [1, 1], 1],
  ['64 pixels, projection', { imageSize: 64, discriminatorWidth: 2 }, [1, 2], 2],
  ['28 pixels, wide enough for Gram matrices', { discriminatorWidth: 16, conditioning: 'none' }, [1, 1], 1],
  ['odd kernels, skip connection', { architecture: 'odd' }, [1, 2], 2],
  ['odd kernels, one image', { architecture: 'odd', conditioning: 'none' }, [1, 1], 1],
  ['mlp', { architecture: 'mlp', conditioning: 'planes' }, [2, 1], 2],
];

test.each(CASES)('clipped sum equals autodiff, one patient at a time: %s', async (_, over, sizes, m) => {
  const c = makeCase(over, sizes, m, 2);
  const units = unitGradients(c);
  for (const C of [middleNorm(units), 1e-2, 1e6]) expect(isClippedSum(await ours(c, C), units, C)).toBe(true);
});

describe('every form of a convolution gives the same', () => {
  test.each([
    ['dcgan', 'product', 1],
    ['dcgan', 'gram', 1],
    ['dcgan', 'product', 2],
    ['dcgan', 'gram', 2],
    ['odd', 'product', 2],
    ['odd', 'gram', 1],
    ['odd', 'gram', 2],
  ] as const)('%s by %s, %i image slots', async (architecture, way, m) => {
    const c = makeCase({ architecture }, [m, 1], m, 1);
    const units = unitGradients(c);
    const C = middleNorm(units);
    const rules = { ...NORM_RULES, conv2d: convolutionRule(() => way) };
    const batch = { patients: 2, imagesPerPatient: m, fakes: 1 };
    const { fn, inputs } = clippedSum(c.gan, batch, { rules, normsForTests: true });
    const program = await engine.compile('forced', fn, inputs);
    const outputs = await program.run({
      ...parameterFeeds(c.gan.discriminator.layout, c.parameters, 'd.'),
      images: c.batch.images,
      labels: c.batch.labels,
      imageWeights: c.batch.weights,
      fakes: c.fakes.images,
      fakeLabels: oneHot(c.fakes.labels, 3),
      fakeWeights: Float32Array.of(1),
      clipNorm: Float32Array.of(C),
    });
    await program.dispose();
    const sum = new Float64Array(c.parameters.length);
    addToFlat(c.gan.discriminator.layout, outputs, 'g.', sum);
    units.forEach((g, i) => {
      expect(outputs['norms'][i] / l2(g)).toBeCloseTo(1, 4);
    });
    expect(isClippedSum(sum, units, C)).toBe(true);
  });
});

test('micro-batches and empty places change nothing', async () => {
  const c = makeCase({}, [2, 1, 2, 1, 1], 2, 3, { places: 7 });
  const units = unitGradients(c);
  const C = middleNorm(units);
  for (const imagesAtOnce of [3, 8, 64]) expect(isClippedSum(await ours(c, C, imagesAtOnce), units, C)).toBe(true);
});

test('the tfjs engine computes the same', async () => {
  const c = makeCase({}, [2, 1], 2, 1);
  const units = unitGradients(c);
  const own = engine;
  engine = await openEngine('tfjs');
  const sum = await ours(c, middleNorm(units));
  engine = own;
  expect(isClippedSum(sum, units, middleNorm(units))).toBe(true);
});

describe('positive controls: the check catches', () => {
  const c = makeCase({}, [3, 1, 2], 3, 2);
  const units = unitGradients(c);
  const C = middleNorm(units);

  test('a clip of the batch', () => {
    const total = addAll(units);
    expect(isClippedSum(scaled(total, Math.min(1, C / l2(total))), units, C)).toBe(false);
  });

  test('a clip that is 1 % loose', () => {
    expect(isClippedSum(clipAndSum(units, 1.01 * C), units, C)).toBe(false);
  });

  test('norms of images added up, without the cross terms between a patient’s images', () => {
    const C = 0.5 * Math.min(...units.map(l2)); // all are clipped
    const real = c.patients.map((p, i) => {
      const single = p.images.map((image, j) => l2(gradientOf(c, [image], [p.labels[j]], 1)) / p.images.length);
      return scaled(units[i], Math.min(1, C / l2(single)));
    });
    const fakes = units.slice(3).map((g) => scaled(g, Math.min(1, C / l2(g))));
    expect(isClippedSum(addAll([...real, ...fakes]), units, C)).toBe(false);
  });

  test('fakes that are not clipped', () => {
    const small = 1e-2;
    const real = clipAndSum(units.slice(0, 3), small);
    expect(isClippedSum(addAll([real, ...units.slice(3)]), units, small)).toBe(false);
  });

  test('nothing, where the sum is right', () => {
    expect(isClippedSum(clipAndSum(units, C), units, C)).toBe(true);
  });
});

/**
 * Measures against plain NumPy and SciPy (1.17), which `python3 test/support/metrics-reference.py` prints; its functions name
 * the published implementations they follow. Products in single precision on our side: six digits where they enter.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { featureMoments, frechetDistance } from '../../shared/metrics/frechet.ts';
import { intensityDistance } from '../../shared/metrics/intensity.ts';
import { kernelDistance } from '../../shared/metrics/kid.ts';
import { authenticity, trainingDistances } from '../../shared/metrics/memorisation.ts';
import { msSsim } from '../../shared/metrics/ms-ssim.ts';
import { principalComponents } from '../../shared/metrics/pca.ts';
import { powerSpectrum } from '../../shared/metrics/power-spectrum.ts';
import { prdc } from '../../shared/metrics/prdc.ts';
import { squaredWasserstein } from '../../shared/metrics/sliced-wasserstein.ts';
import { referenceRows } from '../support/reference-rows.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const D = 6;
const a = referenceRows(120 * D, 1);
const b = referenceRows(90 * D, 2).map((x) => x * 0.5 + 0.25);
const relative = (actual: number, expected: number) => Math.abs(actual / expected - 1);

test('Fréchet distance', () => {
  const distance = frechetDistance(featureMoments(a, D), featureMoments(b, D));
  expect(relative(distance, 0.9473673955043638)).toBeLessThan(1e-9);
});

test('kernel distance, both sets whole', async () => {
  const found = await kernelDistance(engine, a.subarray(0, 90 * D), b, D, { seed: 'golden' });
  expect(relative(found.value, 0.23089319550195908)).toBeLessThan(1e-6);
  expect(found).toMatchObject({ blocks: 1, blockSize: 90, std: 0 });
});

test('precision, recall, density, coverage', async () => {
  const fake = referenceRows(90 * D, 2).map((x) => x * 0.75 + 0.5);
  expect(await prdc(engine, a, fake, D, 5)).toEqual({
    precision: 0.8222222222222222,
    recall: 0.35833333333333334,
    density: expect.closeTo(0.6799999999999999, 12) as number,
    coverage: 0.5416666666666666,
  });
});

test('the same in several strips and blocks', async () => {
  const fake = referenceRows(600 * 3, 8).map((x) => x * 0.875);
  expect(await prdc(engine, referenceRows(700 * 3, 7), fake, 3, 5)).toEqual({
    precision: 1,
    recall: 0.96,
    density: expect.closeTo(1.0956666666666668, 12) as number,
    coverage: 0.9428571428571428,
  });
});

test('authenticity', async () => {
  const [found] = await trainingDistances(engine, [b], a, D);
  expect(authenticity(found)).toBeCloseTo(0.32222222222222224, 12);
});

test('Wasserstein distances of numbers: of grey levels, and squared of samples of two sizes', () => {
  expect(intensityDistance(a, b)).toBeCloseTo(40.67638888888889, 9);
  const column = (rows: Float32Array) => rows.filter((_, at) => at % D === 0).sort();
  expect(squaredWasserstein(column(a), column(b))).toBeCloseTo(0.16628974008943057, 9);
});

test('principal components: variances and their share', () => {
  const { variances, share, axes } = principalComponents(referenceRows(200 * 12, 3), 12, 4);
  const expected = [0.4743970913906687, 0.42919479632227, 0.40349190425122616, 0.38935520806327345];
  variances.forEach((v, k) => expect(relative(v, expected[k])).toBeLessThan(1e-9));
  expect(relative(share, 0.41859594393952204)).toBeLessThan(1e-9);
  for (let p = 0; p < 4; p++)
    for (let q = 0; q < 4; q++) {
      let dot = 0;
      for (let j = 0; j < 12; j++) dot += axes[p * 12 + j] * axes[q * 12 + j];
      expect(dot).toBeCloseTo(Number(p === q), 6);
    }
});

test.each([
  [28, 0.9379668140273592],
  [32, 0.906556082397072],
  [64, 0.8694142820030053],
])('MS-SSIM at %i pixels', (size, expected) => {
  const sums = Float64Array.from(referenceRows(size * size, 4));
  for (let at = size; at < sums.length; at++) sums[at] += sums[at - size];
  for (let at = 0; at < sums.length; at++) if (at % size > 0) sums[at] += sums[at - 1];
  const most = sums.reduce((x, y) => Math.max(x, Math.abs(y)), 0);
  const x = Float32Array.from(sums, (s) => Math.round((s / most) * 127) / 128);
  const noise = referenceRows(size * size, 5);
  const y = x.map((v, at) => Math.round(0.75 * v * 128 + 16 * noise[at]) / 128);
  expect(msSsim(x, y, { size: size, channels: 1 })).toBeCloseTo(expected, 9);
});

test('MS-SSIM of two even greys is the luminance term of the last scale alone; black counts as 0', () => {
  const grey = (value: number) => new Float32Array(28 * 28).fill(value);
  const c1 = 0.02 ** 2;
  for (const [x, y] of [
    [-0.0625, 0.0625],
    [-1, -0.5],
    [0.5, 1],
  ] as const) {
    // prettier-ignore
    const [p, q] = [x + 1, y + 1];
    const closed = ((2 * p * q + c1) / (p * p + q * q + c1)) ** (0.2856 / (0.0448 + 0.2856));
    expect(msSsim(grey(x), grey(y), { size: 28, channels: 1 })).toBeCloseTo(closed, 9);
  }
});

test.each([
  [8, [0.0010726646962666564, 0.0075594941406356315, 0.00785707670548859, 0.004394371903153857, 0.004701001669630333]],
  [7, [0.0010369061645599813, 0.011996689769837128, 0.006366506619129179, 0.007124206385716262]],
])('power spectrum at %i pixels', (size, expected) => {
  const found = powerSpectrum({ n: 1, channels: 1, size, pixels: referenceRows(size * size, 6) });
  expected.forEach((power, r) => expect(relative(found[r], power)).toBeLessThan(1e-9));
  expect(found.length).toBe(expected.length);
});

import { describe, expect, test } from 'vitest';
import { decodedScores, nearestSetting } from '../../shared/attack/decode.ts';
import { judgeInversion } from '../../shared/attack/inversion.ts';
import { judgeMembership, nearestDistances, patientsToRefute } from '../../shared/attack/membership.ts';
import { judgeUniform } from '../../shared/attack/uniform.ts';
import { publicBytes, PublicRandom } from '../../shared/public-random.ts';

const random = new PublicRandom('attack parts');
const vectors = (n: number, d: number) => Array.from({ length: n }, () => Float64Array.from(random.gaussians(d)));

describe('decoding a sum', () => {
  const candidates = vectors(40, 400);
  const bits = Array.from({ length: 40 }, (_, i) => (i % 3 === 0 ? 1 : 0));
  const sumOf = (noise: number) => {
    const errors = random.gaussians(400);
    return Float64Array.from(errors, (e, j) => noise * e + candidates.reduce((all, c, i) => all + bits[i] * c[j], 0));
  };
  test('without noise every coin is read; in much noise none is', () => {
    const clear = decodedScores(candidates, 1e-6)(sumOf(0));
    clear.forEach((score, i) => expect(score).toBeCloseTo(bits[i], 4));
    const blind = decodedScores(candidates, 2000)(sumOf(2000));
    blind.forEach((score) => expect(Math.abs(score - 0.5)).toBeLessThan(0.1));
  });
  test('a function that is not linear is read by trying every setting of the coins', async () => {
    const seen = async (b: ArrayLike<number>) =>
      Float64Array.from(candidates[0], (_, j) =>
        Math.tanh(0.2 * [...Array(8).keys()].reduce((s, i) => s + b[i] * candidates[i][j], 0)),
      );
    const scores = await nearestSetting(8, seen);
    const truth = [1, 0, 0, 1, 1, 0, 1, 0];
    scores(await seen(truth)).forEach((score, i) => expect(score > 0 ? 1 : 0).toBe(truth[i]));
    await expect(nearestSetting(11, seen)).rejects.toThrow(/^PARAMETER_INVALID/);
  });
});

describe('membership', () => {
  test('distances are what they are by hand', () => {
    expect([...nearestDistances(Float32Array.of(0, 0, 3, 4), Float32Array.of(0, 1, 3, 4), 2)]).toEqual([1, 0]);
  });
  test('scores alike refute nothing; scores apart do', () => {
    const claimed = 1;
    const [a, b] = [random.gaussians(300), random.gaussians(300)];
    expect(judgeMembership({ members: a, others: b, claimed, delta: 1e-5 })).toMatchObject({ refuted: false });
    const apart = judgeMembership({ members: a.map((x) => x + 3), others: b, claimed, delta: 1e-5 });
    expect(apart).toMatchObject({ refuted: true });
    expect(apart.area).toBeGreaterThan(0.95);
  });
  test('a mechanism that keeps its epsilon is hardly ever refuted: Gaussians of exactly that trade-off', () => {
    // N(0, 1) against N(1/2, 1): epsilon 1.993 at delta 1e-5.
    const refuted = Array.from({ length: 40 }, () => {
      const [a, b] = [random.gaussians(200), random.gaussians(200)];
      return judgeMembership({ members: a.map((x) => x + 0.5), others: b, claimed: 1.993, delta: 1e-5 }).refuted;
    });
    expect(refuted.filter(Boolean).length).toBeLessThanOrEqual(4);
  });
});

describe('patients to refute a claim', () => {
  const o = { least: 120, most: 2000, delta: 1e-5 };
  test('more for more epsilon; and with so many, copies are found, where the former number found none', () => {
    expect([0.5, 2, 2.75].map((claimed) => patientsToRefute(claimed, o))).toEqual([160, 600, 1200]);
    expect(patientsToRefute(9, o)).toBe(o.most);
    const copies = (patients: number) => {
      const half = Array.from({ length: patients / 2 }, () => 9);
      return judgeMembership({ members: half, others: random.gaussians(patients / 2), claimed: 2.75, delta: 1e-5 }).refuted; // prettier-ignore
    };
    expect([copies(120), copies(1200)]).toEqual([false, true]);
  });
});

describe('inversion', () => {
  const images = vectors(60, 50);
  const channel = vectors(50, 80);
  const through = (noise: number) =>
    images.map((x) => {
      const errors = random.gaussians(80);
      return Float64Array.from(errors, (e, j) => noise * e + channel.reduce((all, row, k) => all + x[k] * row[j], 0));
    });
  test('an open channel is inverted; a drowned one is not', () => {
    const open = judgeInversion(through(0), images, 45);
    expect(open.named).toBeGreaterThan(0.9);
    expect(open.pValue).toBeLessThan(1e-9);
    const drowned = judgeInversion(through(500), images, 45);
    expect(drowned.pValue).toBeGreaterThan(1e-3);
    expect(drowned.chance).toBeCloseTo(1 / 15);
  });
});

describe('uniform bytes', () => {
  const bytes = new Uint8Array(100_000);
  publicBytes('uniform')(bytes);
  test('chi-square of 255 degrees: 293.25 is the 5 % point of the tables', () => {
    const counts = judgeUniform(bytes);
    expect(counts.pValue).toBeGreaterThan(1e-6);
    // A histogram of that very chi-square: n/2 bytes of value 0 too many, the others even.
    const n = 256 * 1000;
    const excess = Math.sqrt((293.25 * 1000 * 255) / 256);
    const made = Uint8Array.from({ length: n }, (_, i) => i % 256);
    for (let i = 0; i < Math.round(excess * (256 / 255)); i++) made[(i % 255) + 1 + 256 * Math.floor(i / 255)] = 0;
    const { chiSquare, pValue } = judgeUniform(made);
    expect(chiSquare).toBeGreaterThan(285);
    expect(chiSquare).toBeLessThan(301);
    expect(pValue).toBeGreaterThan(0.02);
    expect(pValue).toBeLessThan(0.1);
  });
  test('positive control: one byte value in 256 twice as often is found', () => {
    expect(judgeUniform(bytes.map((b) => (b === 7 ? 8 : b))).pValue).toBeLessThan(1e-6);
  });
});

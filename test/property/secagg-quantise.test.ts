import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { SpooledTensor } from '../../shared/aggregation/aggregation.ts';
import { addPacked, packBits, packedBytes } from '../../shared/aggregation/bit-pack.ts';
import {
  createQuantiser,
  dequantiseSum,
  modulusBits,
  mostNormOfSum,
  quantise,
  quantiserOf,
  stepOf,
} from '../../shared/aggregation/quantise.ts';
import type { Quantiser } from '../../shared/aggregation/quantise.ts';
import { secureBytes } from '../../shared/random.ts';
import { MASKED, testPolicy } from '../support/round-rig.ts';
import { mulberry32 } from '../support/rng.ts';
import { codeOf } from '../support/wire-rig.ts';

const seeded = (seed: number) => {
  const next = mulberry32(seed);
  return (out: Uint8Array) => {
    for (let i = 0; i < out.length; i++) out[i] = Math.floor(next() * 256);
  };
};
const spooled = (bytes: Uint8Array, piece: number): SpooledTensor => ({
  bytes: bytes.length,
  async *chunks() {
    for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
  },
});

test('a sum is within one step a site of the exact sum of the clamped values', () => {
  const range = fc.integer({ min: 1, max: 1000 }).map((r) => r / 100);
  const property = (round: typeof quantise) =>
    fc.property(
      range,
      fc.integer({ min: 9, max: 29 }),
      fc.nat(),
      fc.integer({ min: 1, max: 8 }),
      (r, bits, seed, n) => {
        const q = createQuantiser(bits, r);
        const next = mulberry32(seed);
        const sites = Array.from({ length: n }, () =>
          Float32Array.from({ length: 40 }, () => (next() * 2.4 - 1.2) * r),
        );
        const sums = new Float64Array(40);
        const exact = new Float64Array(40);
        for (const values of sites) {
          round(values, q, seeded(seed)).forEach((v, i) => (sums[i] += v));
          values.forEach((v, i) => (exact[i] += Math.min(r, Math.max(-r, v))));
        }
        const bound = n * stepOf(q) * (1 + 1e-6) + 1e-12 * r;
        return dequantiseSum(sums, q, n).every((v, i) => Math.abs(v - exact[i]) <= bound);
      },
    );
  fc.assert(property(quantise), { numRuns: 300 });
  // Positive control: two bits fewer than it says.
  const coarse: typeof quantise = (values, q, random) =>
    quantise(values, createQuantiser(q.bits - 2, q.range), random).map((v) => v * 4);
  expect(() => fc.assert(property(coarse), { numRuns: 100 })).toThrow(/Property failed/);
});

/** z of the mean of many roundings of one value, in standard errors of the rounding. */
function zOfMean(q: Quantiser, share: number, round: typeof quantise): number {
  const n = 200_000;
  const value = Math.fround(share * stepOf(q));
  const x = (value + q.range) / stepOf(q);
  const p = x - Math.floor(x);
  const mean = round(new Float32Array(n).fill(value), q, secureBytes).reduce((sum, v) => sum + v, 0) / n;
  return (mean - x) / Math.sqrt((p * (1 - p)) / n);
}

test('rounding is unbiased: the mean of 200,000 roundings is the value; a biased rounding is seen', () => {
  const q = createQuantiser(12, 1);
  // Five standard errors: about one run in a million and a half goes beyond by chance.
  for (const share of [0.1, 0.25, -0.3, 7.77]) expect(Math.abs(zOfMean(q, share, quantise))).toBeLessThan(5);
  const nearest: typeof quantise = (values, { range }) =>
    Uint32Array.from(values, (v) => Math.round((v + range) / stepOf(q)));
  expect(Math.abs(zOfMean(q, 0.1, nearest))).toBeGreaterThan(50);
  // A generator whose draws are too small by a tenth.
  const tilted: typeof quantise = (values, q2) =>
    quantise(values, q2, (out) => {
      secureBytes(out);
      const draws = new Int32Array(out.buffer, out.byteOffset, out.length / 4);
      for (let i = 0; i < draws.length; i++) draws[i] = Math.floor((draws[i] + 2 ** 31) * 0.9 - 2 ** 31);
    });
  expect(Math.abs(zOfMean(q, 0.25, tilted))).toBeGreaterThan(20);
});

test('extreme and broken values stay in range', () => {
  const q = createQuantiser(16, 0.5);
  const values = Float32Array.of(0.5, -0.5, 9, -9, Infinity, -Infinity, NaN, 0);
  const out = quantise(values, q, secureBytes);
  expect(Math.max(...out)).toBe(q.levels - 1);
  expect(Math.min(...out)).toBe(0);
  expect([...out.slice(0, 6)]).toEqual([65535, 0, 65535, 0, 65535, 0]);
  expect(Math.abs(out[6] - 32767.5)).toBeLessThanOrEqual(0.5);
});

test('the largest cohort of a policy does not wrap; one site more may', () => {
  for (const [bits, sites] of [
    [29, 8],
    [22, 1000],
    [16, 20],
    [9, 3],
  ]) {
    const width = modulusBits(bits, sites);
    expect(sites * (2 ** bits - 1)).toBeLessThan(2 ** width);
    // Positive control: the width is the smallest, so twice the sites overflow it.
    expect(2 * sites * (2 ** bits - 1)).toBeGreaterThanOrEqual(2 ** width);
  }
  expect(() => modulusBits(29, 9)).toThrow(/^PARAMETER_INVALID: 29 bits for 9 sites take 33/);
});

test('packed values come back through any cut of the upload, added modulo 2^32', async () => {
  const next = mulberry32(7);
  for (const width of [9, 12, 13, 16, 19, 29, 31, 32])
    for (const length of [1, 31, 32, 33, 1000]) {
      const values = Uint32Array.from({ length }, () => Math.floor(next() * 2 ** width));
      const packed = packBits(values, width);
      expect(packed.length).toBe(packedBytes(length, width));
      for (const piece of [1, 3, 64, 100_000]) {
        const sum = new Uint32Array(length).fill(5);
        await addPacked(sum, spooled(packed, piece), width);
        expect(sum).toEqual(values.map((v) => v + 5));
      }
    }
  const short = spooled(packBits(new Uint32Array(10), 13), 8);
  expect(await codeOf(addPacked(new Uint32Array(40), short, 13))).toBe('UPDATE_SHAPE');
});

test('bytes of a value: 16 bits for 8 sites take 19, against 32 of a float', () => {
  expect(packedBytes(1_000_000, modulusBits(16, 8)) / 4_000_000).toBeCloseTo(19 / 32, 5);
  expect(packedBytes(1_000_000, modulusBits(29, 8)) / 4_000_000).toBe(1);
});

test('the range of a round: the clip of a generator update; patients and noise of a moment sum', () => {
  const policy = testPolicy({ aggregation: MASKED });
  expect(quantiserOf(policy, { kind: 'generator' })).toEqual({ bits: 16, range: 1, levels: 65536 });
  // 512 expected at a rate of 0.064: 8,000 patients at most, and eight times sigma, which is 5.
  expect(quantiserOf(policy, { kind: 'moments' }).range).toBe(8000 + 8 * 5);
  expect(() => quantiserOf(testPolicy({}), { kind: 'generator' })).toThrow(/^PARAMETER_INVALID/);
});

test('no honest sum is longer than the coordinator allows', () => {
  const q = createQuantiser(9, 1);
  const sums = new Float64Array(50);
  for (let n = 0; n < 3; n++) {
    const value = Float32Array.from({ length: 50 }, () => 1 / Math.sqrt(50));
    quantise(value, q, secureBytes).forEach((v, i) => (sums[i] += v));
  }
  const norm = Math.hypot(...dequantiseSum(sums, q, 3));
  expect(norm).toBeLessThanOrEqual(mostNormOfSum(q, 3, 1, 50));
  expect(norm * 1.05).toBeGreaterThan(3);
});

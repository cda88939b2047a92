import { describe, expect, test } from 'vitest';
import { skellamReach } from '../../shared/dp/pooled-lattice.ts';
import { skellamSource } from '../../shared/dp/skellam.ts';
import {
  buildSkellamTable,
  MAX_SHARE_VARIANCE,
  type SkellamTable,
  skellamWeights,
} from '../../shared/dp/skellam-table.ts';
import { publicBytes } from '../../shared/public-random.ts';
import { skellamCumulative } from '../support/skellam.ts';

const N = 200_000;
const draw = (variance: number, seed: string, n = N): Int32Array => {
  const out = new Int32Array(n);
  skellamSource(variance, publicBytes(seed)).fill(out);
  return out;
};
const plus = (all: readonly Int32Array[]): Int32Array => all[0].map((_, i) => all.reduce((sum, x) => sum + x[i], 0));

/** Chi-square over 64 cells of nearly equal probability; 63 degrees of freedom, above 117 with probability 5e-5. */
function chiSquare(draws: Int32Array, variance: number): number {
  const cumulative = skellamCumulative(variance, skellamReach(variance));
  const cells = new Float64Array(64);
  const mass = new Float64Array(64);
  // A value belongs to the cell in which the middle of its probability lies: the law is discrete, cells are not equal.
  const cellOf = (k: number) => Math.min(63, Math.floor(32 * (cumulative(k - 1) + cumulative(k))));
  const most = skellamReach(variance);
  for (let k = -most; k <= most; k++) mass[cellOf(k)] += cumulative(k) - cumulative(k - 1);
  for (const k of draws) cells[cellOf(k)]++;
  return cells.reduce((sum, c, i) => sum + (c - draws.length * mass[i]) ** 2 / (draws.length * mass[i]), 0);
}

const varianceOf = (draws: Int32Array) => draws.reduce((sum, x) => sum + x * x, 0) / draws.length;

describe('draws are Skellam', () => {
  for (const variance of [900, 40_000, 2_000_000])
    test(`of variance ${variance}, by chi-square, in mean, in second and in fourth moment`, () => {
      const draws = draw(variance, `single ${variance}`);
      expect(chiSquare(draws, variance)).toBeLessThan(117);
      expect(Math.abs(draws.reduce((a, b) => a + b, 0) / N)).toBeLessThan(5 * Math.sqrt(variance / N));
      expect(Math.abs(varianceOf(draws) / variance - 1)).toBeLessThan(5 * Math.sqrt(2 / N));
      const fourth = draws.reduce((sum, x) => sum + x ** 4, 0) / N;
      // E X^4 = 3 μ² + μ; its own standard deviation is near √96 μ².
      expect(Math.abs(fourth / (3 * variance ** 2 + variance) - 1)).toBeLessThan((5 * Math.sqrt(96 / N)) / 3);
    });

  test('positive controls: 3 % too much variance, one step of shift at a small variance, a doubled lattice', () => {
    expect(chiSquare(draw(41_200, 'wide'), 40_000)).toBeGreaterThan(117);
    expect(
      chiSquare(
        draw(900, 'shifted').map((x) => x + 1),
        900,
      ),
    ).toBeGreaterThan(117);
    expect(
      chiSquare(
        draw(225, 'doubled').map((x) => 2 * x),
        900,
      ),
    ).toBeGreaterThan(117);
  });
});

describe('shares add up to one Skellam variable', () => {
  test('of the summed variance, whatever the number of sites', () => {
    for (const sites of [2, 5, 20]) {
      const shares = Array.from({ length: sites }, (_, i) => draw(900, `share ${sites} ${i}`, 100_000));
      expect(chiSquare(plus(shares), 900 * sites)).toBeLessThan(117);
    }
  });
  test('of small shares, where it is far from normal', () => {
    // Variance 1 and 3 make 4: cells of single values.
    const sum = plus([draw(1, 'one'), draw(3, 'three')]);
    const cumulative = skellamCumulative(4, 40);
    for (let k = -6; k <= 6; k++) {
      const p = cumulative(k) - cumulative(k - 1);
      const seen = sum.filter((x) => x === k).length;
      expect(Math.abs(seen - N * p)).toBeLessThan(5 * Math.sqrt(N * p));
    }
  });
  test('positive control: a share too few', () => {
    const shares = Array.from({ length: 4 }, (_, i) => draw(900, `few ${i}`, 100_000));
    expect(chiSquare(plus(shares), 900 * 5)).toBeGreaterThan(117);
  });
});

describe('the table is the Skellam law', () => {
  const ONE = 140n;
  /** Total variation distance of the table's law from its weights, in units of 2^-140. */
  function distance(t: SkellamTable, withLow: boolean): bigint {
    const capacity = 1n << BigInt(32 - t.slotBits + 106);
    const size = BigInt(t.high.length);
    const mass = new Map<number, bigint>();
    const put = (x: number, m: bigint) => mass.set(x, (mass.get(x) ?? 0n) + m);
    t.high.forEach((high, slot) => {
      const low = withLow ? (BigInt(t.middle[slot]) << 53n) + BigInt(t.low[slot]) : 0n;
      const threshold = (BigInt(high) << 106n) + low;
      put(slot - t.reach, threshold);
      put(t.alias[slot], capacity - threshold);
    });
    const half = skellamWeights(t.variance, t.reach);
    const total = half.reduce((sum, w, k) => sum + (k === 0 ? w : 2n * w), 0n);
    let sum = 0n;
    for (const [x, m] of mass) {
      const actual = (m << ONE) / (capacity * size);
      const ideal = Math.abs(x) > t.reach ? 0n : (half[Math.abs(x)] << ONE) / total;
      sum += actual > ideal ? actual - ideal : ideal - actual;
    }
    return sum / 2n;
  }

  test('within 2^-119 in total variation, by exact arithmetic on its entries', () => {
    for (const variance of [1, 12, 250_000])
      expect(distance(buildSkellamTable(variance), true) < 1n << (ONE - 119n)).toBe(true);
  });
  test('positive control: without its low bits it is not', () => {
    expect(distance(buildSkellamTable(250_000), false) > 1n << (ONE - 119n)).toBe(true);
  });
  test('what is cut off weighs less than 2^-125', () => {
    for (const variance of [1, 12, 4000]) {
      const reach = skellamReach(variance);
      const far = skellamWeights(variance, 2 * reach + 40);
      const total = far.reduce((sum, w, k) => sum + (k === 0 ? w : 2n * w), 0n);
      const beyond = far.slice(reach + 1).reduce((sum, w) => sum + 2n * w, 0n);
      expect(beyond << 125n < total).toBe(true);
    }
  });
  test('its weights are those of the Bessel functions', () => {
    // I_k(2), from Abramowitz and Stegun, table 9.8: I_0 = 2.2795853, I_1 = 1.5906369, I_2 = 0.6889484.
    const [w0, w1, w2] = skellamWeights(2, 60).map((w) => Number(w >> 200n));
    expect(w1 / w0).toBeCloseTo(1.5906369 / 2.2795853, 7);
    expect(w2 / w0).toBeCloseTo(0.6889484 / 2.2795853, 7);
  });
  test('variances that are no whole numbers, or too large for a table, are refused', () => {
    for (const variance of [0.5, -1, NaN, 2 * MAX_SHARE_VARIANCE])
      expect(() => buildSkellamTable(variance)).toThrow(/PARAMETER_INVALID/);
  });
});

test('what equal bits leave open is decided by the next 53, and by 53 more', () => {
  const t = buildSkellamTable(250_000);
  const slot = t.high.findIndex(
    (h, s) => h > 0 && h < 2 ** (32 - t.slotBits) && t.middle[s] > 1 && t.low[s] > 1 && t.alias[s] !== s - t.reach,
  );
  const split = (x: number) => [Math.floor(x / 2 ** 26) * 32, (x % 2 ** 26) * 64];
  const answer = (middle: number, low: number): number => {
    const source = skellamSource(t.variance, (out) => {
      const words = new Uint32Array(out.buffer, out.byteOffset, out.length / 4);
      if (words.length === 4) words.set([...split(middle), ...split(low)]);
      else words.fill(slot + t.high[slot] * 2 ** t.slotBits);
    });
    const out = new Int32Array(1);
    source.fill(out);
    return out[0];
  };
  const [own, other] = [slot - t.reach, t.alias[slot]];
  expect(answer(t.middle[slot] - 1, 2 ** 53 - 1)).toBe(own);
  expect(answer(t.middle[slot] + 1, 0)).toBe(other);
  expect(answer(t.middle[slot], t.low[slot] - 1)).toBe(own);
  expect(answer(t.middle[slot], t.low[slot])).toBe(other);
});

test('no variance, no noise; and bytes come in bulk', () => {
  const out = Int32Array.of(7, 7);
  skellamSource(0, () => expect.fail('asks for bytes')).fill(out);
  expect([...out]).toEqual([0, 0]);
  let calls = 0;
  const bytes = publicBytes('bulk');
  skellamSource(4e6, (x) => {
    calls++;
    bytes(x);
  }).fill(new Int32Array(138_000));
  expect(calls).toBeLessThan(60);
});

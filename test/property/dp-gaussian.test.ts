import { describe, expect, test } from 'vitest';
import { LATTICE_SIGMA, type LatticeGaussian, latticeGaussian } from '../../shared/dp/gaussian.ts';
import {
  buildLatticeTable,
  latticeWeights,
  LOW_BITS,
  TABLE_REACH,
  TABLE_SIGMA,
  TABLE_SLOTS,
} from '../../shared/dp/lattice-table.ts';
import { logNormalCdf } from '../../shared/dp/special.ts';
import { publicBytes } from '../../shared/public-random.ts';

const N = 400_000;
const draw = (gaussian: LatticeGaussian, n = N): Float64Array => {
  const out = new Int32Array(n);
  gaussian(out);
  return Float64Array.from(out, (x) => x / LATTICE_SIGMA);
};
const seeded = (seed: string) => latticeGaussian(publicBytes(seed));

/** Kolmogorov and Smirnov: √n · largest distance to Φ. Above 2.2 with probability 1e-4 for true normal draws. */
function kolmogorov(draws: Float64Array): number {
  const sorted = draws.slice().sort();
  let largest = 0;
  sorted.forEach((x, i) => {
    const p = Math.exp(logNormalCdf(x));
    largest = Math.max(largest, Math.abs(p - i / sorted.length), Math.abs(p - (i + 1) / sorted.length));
  });
  return largest * Math.sqrt(sorted.length);
}

/** Chi-square over 64 cells of equal probability; 63 degrees of freedom, above 117 with probability 5e-5. */
function chiSquare(draws: Float64Array): number {
  const cells = new Float64Array(64);
  for (const x of draws) cells[Math.min(63, Math.floor(64 * Math.exp(logNormalCdf(x))))]++;
  const expected = draws.length / 64;
  return cells.reduce((sum, c) => sum + (c - expected) ** 2 / expected, 0);
}

const moment = (draws: Float64Array, k: number) => draws.reduce((sum, x) => sum + x ** k, 0) / draws.length;
const neighbours = (draws: Float64Array, lag: number) => {
  let sum = 0;
  for (let i = lag; i < draws.length; i++) sum += draws[i] * draws[i - lag];
  return sum / Math.sqrt(draws.length - lag);
};

describe('draws are normal', () => {
  const draws = draw(seeded('draws are normal'));

  test('by the tests of Kolmogorov and Smirnov, and chi-square', () => {
    expect(kolmogorov(draws)).toBeLessThan(2.2);
    expect(chiSquare(draws)).toBeLessThan(117);
  });

  test('in their first six moments, within five standard errors', () => {
    const errors = [1, 2, 15, 96, 945, 10_170]; // variance of x^k, k = 1 … 6
    [0, 1, 0, 3, 0, 15].forEach((expected, k) => {
      expect(Math.abs(moment(draws, k + 1) - expected)).toBeLessThan(5 * Math.sqrt(errors[k] / N));
    });
  });

  test('and independent of their neighbours, also across blocks', () => {
    for (const lag of [1, 2, 3, 4096]) expect(Math.abs(neighbours(draws, lag))).toBeLessThan(5);
  });

  test('tails: beyond 4 standard deviations as often as they should be', () => {
    const beyond = draws.filter((x) => Math.abs(x) > 4).length;
    const expected = 2 * N * Math.exp(logNormalCdf(-4));
    expect(Math.abs(beyond - expected)).toBeLessThan(5 * Math.sqrt(expected));
  });

  test('positive controls: 2 % too wide, a shift of 1 %, a sum of three uniforms, a repeated block', () => {
    expect(kolmogorov(draws.map((x) => x * 1.02))).toBeGreaterThan(2.2);
    expect(chiSquare(draws.map((x) => x * 1.02))).toBeGreaterThan(117);
    expect(kolmogorov(draws.map((x) => x + 0.01))).toBeGreaterThan(2.2);
    const uniforms = draws.map((x) => 2 * (Math.exp(logNormalCdf(x)) - 0.5));
    expect(
      chiSquare(Float64Array.from({ length: N - 2 }, (_, i) => uniforms[i] + uniforms[i + 1] + uniforms[i + 2])),
    ).toBeGreaterThan(117);
    const repeated = draws.map((_, i) => draws[i % 4096]);
    expect(neighbours(repeated, 4096)).toBeGreaterThan(5);
  });
});

describe('the table is the discrete Gaussian', () => {
  const { high, low, own, alias } = buildLatticeTable();
  const full = 1n << 72n;
  const massOf = (lowBits: (i: number) => bigint) => {
    const mass = new Map<number, bigint>();
    const put = (x: number, m: bigint) => mass.set(x, (mass.get(x) ?? 0n) + m);
    for (let i = 0; i < TABLE_SLOTS; i++) {
      const threshold = (BigInt(high[i]) << BigInt(LOW_BITS)) + lowBits(i);
      put(own[i], threshold);
      put(alias[i], full - threshold);
    }
    return mass;
  };
  /** Total variation distance to the weights, in units of 2^-100. */
  const distance = (mass: Map<number, bigint>): bigint => {
    const half = latticeWeights(TABLE_SIGMA, TABLE_REACH);
    const total = half.reduce((sum, w, x) => sum + (x === 0 ? w : 2n * w), 0n);
    let sum = 0n;
    for (let x = -TABLE_REACH; x <= TABLE_REACH; x++) {
      const actual = ((mass.get(x) ?? 0n) << 100n) / (full * BigInt(TABLE_SLOTS));
      const ideal = (half[Math.abs(x)] << 100n) / total;
      sum += actual > ideal ? actual - ideal : ideal - actual;
    }
    return sum / 2n;
  };

  test('within 2^-70 in total variation, by exact arithmetic on its entries', () => {
    const mass = massOf((i) => BigInt(low[i]));
    expect([...mass.values()].reduce((a, b) => a + b, 0n)).toBe(full * BigInt(TABLE_SLOTS));
    expect(distance(mass) < 1n << 30n).toBe(true);
  });

  test('positive control: without the 53 low bits it is not', () => {
    expect(distance(massOf(() => 0n)) > 1n << 30n).toBe(true);
  });

  test('its weights are those of the formula', () => {
    const half = latticeWeights(TABLE_SIGMA, TABLE_REACH);
    for (const x of [0, 1, 100, 256, 1500, 3000])
      expect(Number(half[x]) / 2 ** 256 / Math.exp((-x * x) / (2 * TABLE_SIGMA ** 2))).toBeCloseTo(1, 11);
  });

  test('what two equal high parts leave open is decided by the low part', () => {
    // Bytes that choose a slot and meet its threshold exactly, then 53 bits just below and just at it.
    const slot = high.findIndex((h, i) => h > 0 && h < 2 ** 19 && low[i] > 1 && alias[i] !== own[i]);
    const word = slot | (high[slot] << 13);
    const answer = (extra: number): number => {
      const gaussian = latticeGaussian((out) => {
        const words = new Uint32Array(out.buffer, out.byteOffset, out.length / 4);
        if (words.length > 2) words.fill(word);
        else words.set([Math.floor(extra / 2 ** 26) * 32, (extra % 2 ** 26) * 64]);
      });
      const out = new Int32Array(1);
      gaussian(out);
      return out[0];
    };
    const three = 1 + 128 + 128 ** 2;
    expect(answer(low[slot] - 1)).toBe(three * own[slot]);
    expect(answer(low[slot])).toBe(three * alias[slot]);
  });
});

describe('one draw of three lookups is again a discrete Gaussian', () => {
  // Small enough to sum exactly, with the ratio of the real one: σ = 16 and stride 8 leave σ ≈ 2 in the inner sum.
  const gaussian = (sigma: number, x: number) => Math.exp((-x * x) / (2 * sigma * sigma));
  const worst = (sigma: number, stride: number): number => {
    const reach = 12 * sigma;
    const total = sigma * Math.sqrt(1 + stride * stride);
    const ratios: number[] = [];
    for (let x = -Math.ceil(3 * total); x <= 3 * total; x++) {
      let sum = 0;
      for (let y = -reach; y <= reach; y++) sum += gaussian(sigma, x - stride * y) * gaussian(sigma, y);
      ratios.push(sum / gaussian(total, x));
    }
    return Math.max(...ratios) / Math.min(...ratios) - 1;
  };

  test('at the ratio in use, to the last digit a float can show', () => expect(worst(16, 8)).toBeLessThan(1e-12));
  test('positive control: too long a stride leaves ripples', () => expect(worst(16, 32)).toBeGreaterThan(1e-3));
});

test('bulk: a million draws take about 25 ms, one call for bytes serves four thousand', () => {
  let calls = 0;
  const bytes = publicBytes('bulk');
  const gaussian = latticeGaussian((out) => {
    calls++;
    bytes(out);
  });
  const out = new Int32Array(1_000_000);
  gaussian(out);
  // One call a block of 4,096, and one a lookup in 2^19.
  expect(calls).toBeLessThan(1_000_000 / 4096 + 40);
  const start = performance.now();
  gaussian(out);
  expect(performance.now() - start).toBeLessThan(1000);
});

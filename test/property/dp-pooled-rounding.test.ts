import { describe, expect, test } from 'vitest';
import { dangerouslyTrustAsClippedSum, FLOAT_SLACK } from '../../shared/dp/noised.ts';
import { pooledDelta } from '../../shared/dp/pooled-delta.ts';
import {
  FINE,
  integerLimit,
  latticeSensitivity,
  ROUNDING_BETA,
  shareVariance,
  skellamReach,
} from '../../shared/dp/pooled-lattice.ts';
import { drawShareNoise, noiseShare, type ShareNoise } from '../../shared/dp/pooled-share.ts';
import { publicBytes } from '../../shared/public-random.ts';
import { mulberry32, uniform } from '../support/rng.ts';

const lattice = { stepsPerClip: 256, norm: 1, share: 0, limit: 100_000 };
const sumOf = (values: ArrayLike<number>, norm = 1) => dangerouslyTrustAsClippedSum(Float64Array.from(values), norm);
/** A vector of norm 1, most of it in few coordinates or evenly spread. */
const unit = (seed: number, d: number, spread: boolean): Float64Array => {
  const raw = Float64Array.from(uniform(seed, d), (x) => (spread ? x : x ** 9));
  const norm = Math.hypot(...raw);
  return raw.map((x) => x / norm);
};
const copy = (n: ShareNoise): ShareNoise => ({ ...n, noise: n.noise.slice(), dither: n.dither.slice() });
const norm2 = (x: Int32Array) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
const norm1 = (x: Int32Array) => x.reduce((sum, v) => sum + Math.abs(v), 0);

describe('one patient moves the rounded sum of a site by no more than is accounted', () => {
  const d = 2000;
  const { l2, l1 } = latticeSensitivity({ stepsPerClip: 256, coordinates: d, noiseMultiplier: 1 });
  const difference = (i: number, dither: 'same' | 'fresh'): Int32Array => {
    const others = uniform(1000 + i, d, -3, 3);
    const patient = unit(i, d, i % 2 === 0);
    const drawn = drawShareNoise(d, 0, publicBytes(`rounding ${i}`));
    const again = dither === 'same' ? copy(drawn) : drawShareNoise(d, 0, publicBytes(`fresh ${i}`));
    const without = noiseShare(sumOf(others), lattice, drawn).values;
    const withHim = noiseShare(sumOf(others.map((x, k) => x + patient[k])), lattice, again).values;
    return withHim.map((x, k) => x - without[k]);
  };

  test('for any data of the others, by the same dither', () => {
    for (let i = 0; i < 60; i++) {
      const moved = difference(i, 'same');
      expect(norm2(moved)).toBeLessThanOrEqual(l2);
      expect(norm1(moved)).toBeLessThanOrEqual(l1);
    }
  });
  test('the difference has the law of his vector rounded at random', () => {
    // Mean and variance over many dithers, for one patient: each coordinate g has mean g and variance f(1 - f).
    const patient = unit(7, 50, true);
    const others = uniform(8, 50, -3, 3);
    const runs = 4000;
    const [mean, square] = [new Float64Array(50), new Float64Array(50)];
    for (let i = 0; i < runs; i++) {
      const drawn = drawShareNoise(50, 0, publicBytes(`law ${i}`));
      const base = noiseShare(sumOf(others), lattice, copy(drawn)).values;
      const moved = noiseShare(sumOf(others.map((x, k) => x + patient[k])), lattice, drawn).values;
      moved.forEach((x, k) => {
        const step = x - base[k];
        mean[k] += step / runs;
        square[k] += (step - patient[k] * 256) ** 2 / runs;
      });
    }
    patient.forEach((g, k) => {
      const fraction = g * 256 - Math.floor(g * 256);
      const variance = fraction * (1 - fraction);
      expect(Math.abs(mean[k] - g * 256)).toBeLessThan(5.5 * Math.sqrt(variance / runs) + 1e-3);
      expect(Math.abs(square[k] - variance)).toBeLessThan(0.06);
    });
  });
  test('positive control: with the step a hundred times coarser and rounding left out of the bound, it is exceeded', () => {
    const coarse = { ...lattice, stepsPerClip: 16 };
    let beyond = 0;
    for (let i = 0; i < 20; i++) {
      const patient = unit(i, d, true);
      const drawn = drawShareNoise(d, 0, publicBytes(`coarse ${i}`));
      const base = noiseShare(sumOf(new Float64Array(d)), coarse, copy(drawn)).values;
      const moved = noiseShare(sumOf(patient), coarse, drawn).values.map((x, k) => x - base[k]);
      if (norm2(moved) > 16 * (1 + FLOAT_SLACK)) beyond++;
      expect(norm2(moved)).toBeLessThanOrEqual(
        latticeSensitivity({ stepsPerClip: 16, coordinates: d, noiseMultiplier: 1 }).l2,
      );
    }
    expect(beyond).toBe(20);
  });
  test('the bound: √d worst case, a quarter of d in the mean, and never below the clip', () => {
    const at = (stepsPerClip: number, coordinates: number) =>
      latticeSensitivity({ stepsPerClip, coordinates, noiseMultiplier: 2 });
    expect(at(16, 1).l2).toBeCloseTo(16 * (1 + FLOAT_SLACK) + 1, 5);
    for (const [s, n] of [
      [2048, 138_000],
      [16, 2_000_000],
      [4096, 10],
    ]) {
      const { l2: two, l1: one, variance } = at(s, n);
      const c = s * (1 + FLOAT_SLACK) + Math.sqrt(n) / FINE;
      expect(two).toBeGreaterThan(c);
      expect(two).toBeLessThanOrEqual(c + Math.sqrt(n));
      expect(two ** 2).toBeLessThanOrEqual(
        c * c + n / 4 + Math.sqrt(2 * Math.log(1 / ROUNDING_BETA)) * (c + Math.sqrt(n) / 2) + 1e-6,
      );
      expect(one).toBeLessThanOrEqual(Math.sqrt(n) * two);
      expect(variance).toBeGreaterThanOrEqual((2 * two) ** 2);
      expect(Number.isSafeInteger(variance)).toBe(true);
    }
  });
});

describe('shares of the noise', () => {
  test('make up what is accounted when all that may go has gone', () => {
    const next = mulberry32(5);
    for (let i = 0; i < 200; i++) {
      const terms = {
        invited: 3 + Math.floor(next() * 40),
        maxDropouts: Math.floor(next() * 2),
        maxColluders: 1,
      };
      const variance = 1 + Math.floor(next() * 1e7);
      const left = terms.invited - terms.maxDropouts - terms.maxColluders;
      expect(shareVariance(variance, terms) * left).toBeGreaterThanOrEqual(variance);
      expect((shareVariance(variance, terms) - 1) * left).toBeLessThan(variance);
    }
    expect(() => shareVariance(10, { invited: 3, maxDropouts: 2, maxColluders: 1 })).toThrow(/PARAMETER_INVALID/);
  });

  test('a share is the rounded sum and the noise; nothing is clipped, and nothing is beyond the limit', () => {
    const share = 10_000;
    const long = Float64Array.from({ length: 40 }, (_, i) => (i - 20) * 10); // far longer than any one patient
    const limit = integerLimit(300, 256, share);
    const drawn = drawShareNoise(40, share, publicBytes('share'));
    const { noise, dither } = copy(drawn);
    const { values } = noiseShare(sumOf(long), { ...lattice, share, limit }, drawn);
    values.forEach((v, i) => expect(v).toBe(Math.floor((long[i] * 256 * FINE + dither[i]) / FINE) + noise[i]));
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(limit);
    // What was used once is gone.
    expect(drawn.noise.every((x) => x === 0)).toBe(true);
  });

  test('the largest honest sum with the largest noise is within the limit', () => {
    const [places, share] = [512, 4_000_000];
    const most = places * 2048 * (1 + FLOAT_SLACK) + 1;
    expect(integerLimit(places, 2048, share)).toBeGreaterThanOrEqual(most + skellamReach(share));
  });

  test('private values never throw; public ones do', () => {
    const drawn = () => drawShareNoise(4, 0, publicBytes('odd'));
    const { values } = noiseShare(sumOf([NaN, Infinity, -Infinity, 1e300]), lattice, drawn());
    expect([...values]).toEqual([0, 100_000, -100_000, 100_000]);
    expect(() => noiseShare(sumOf([1, 2, 3, 4], 2), lattice, drawn())).toThrow(/clipped at 2/);
    expect(() => noiseShare(sumOf([1, 2, 3]), lattice, drawn())).toThrow(/PARAMETER_INVALID/);
    expect(() => noiseShare(sumOf([1, 2, 3, 4]), { ...lattice, share: 9 }, drawn())).toThrow(/another share/);
  });
});

test('what rounding and sampler take of delta is far below any delta', () => {
  expect(pooledDelta(10_000, 1_000_000)).toBeLessThan(1e-6 * 1e-1);
  expect(pooledDelta(200, 150_000)).toBeLessThan(1e-8);
  expect(pooledDelta(200, 150_000)).toBeGreaterThan(0);
  expect(pooledDelta(NaN, 1)).toBe(1);
});

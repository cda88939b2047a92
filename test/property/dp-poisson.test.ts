import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  EMPTY_SLOT,
  microBatchCount,
  overflowDelta,
  padIntoMicroBatches,
  type PoissonParams,
  samplePatients,
  smallestMaxBatch,
} from '../../shared/dp/poisson.ts';
import { publicBytes } from '../../shared/public-random.ts';
import type { RandomBytes } from '../../shared/random.ts';

type Sampler = (patients: number, p: PoissonParams, random: RandomBytes) => Int32Array;

/** Counts over many draws: joint counts of two patients, and the variance of the batch. */
function statistics(sampler: Sampler, q: number, n = 40, rounds = 20_000) {
  const random = publicBytes('poisson');
  const each = new Float64Array(n);
  let both = 0;
  let [sum, squares] = [0, 0];
  for (let r = 0; r < rounds; r++) {
    const drawn = sampler(n, { sampleRate: q, maxBatch: n }, random);
    for (const i of drawn) each[i]++;
    if (drawn.includes(3) && drawn.includes(17)) both++;
    sum += drawn.length;
    squares += drawn.length ** 2;
  }
  const variance = squares / rounds - (sum / rounds) ** 2;
  return {
    worstPatient: Math.max(...each.map((c) => Math.abs(c - q * rounds))) / Math.sqrt(q * (1 - q) * rounds),
    pair: Math.abs(both - q * q * rounds) / Math.sqrt(q * q * (1 - q * q) * rounds),
    variance: variance / (n * q * (1 - q)),
  };
}
const isPoisson = ({ worstPatient, pair, variance }: ReturnType<typeof statistics>) =>
  worstPatient < 5 && pair < 5 && Math.abs(variance - 1) < 0.06;

describe('every patient joins alone, with probability q', () => {
  test.each([0.05, 0.3, 0.77])('q = %d', (q) => expect(isPoisson(statistics(samplePatients, q))).toBe(true));

  test('positive controls: a batch of fixed size, bytes in place of 53 bits, neighbours that join together', () => {
    const fixed: Sampler = (n, { sampleRate }, random) => {
      const words = new Uint32Array(n);
      random(new Uint8Array(words.buffer));
      return Int32Array.from(
        [...words.keys()].sort((a, b) => words[a] - words[b]).slice(0, Math.round(sampleRate * n)),
      );
    };
    const byByte: Sampler = (n, { sampleRate }, random) => {
      const bytes = new Uint8Array(n);
      random(bytes);
      return Int32Array.from([...bytes.keys()].filter((i) => bytes[i] % 16 < sampleRate * 16));
    };
    const together: Sampler = (n, p, random) => {
      const half = samplePatients(n / 2, p, random);
      return Int32Array.from([...half, ...half.map((i) => (i === 3 ? 17 : i + n / 2))]);
    };
    for (const broken of [fixed, byByte, together]) expect(isPoisson(statistics(broken, 0.3))).toBe(false);
  });

  test('all 53 bits are compared: one step apart decides', () => {
    const q = 0.3;
    const threshold = Math.floor(q * 2 ** 53);
    const constant =
      (value: number): RandomBytes =>
      (out) => {
        const words = new Uint32Array(out.buffer, out.byteOffset, out.length / 4);
        for (let i = 0; i < words.length; i += 2)
          words.set([Math.floor(value / 2 ** 26) * 32, (value % 2 ** 26) * 64], i);
      };
    expect(samplePatients(1, { sampleRate: q, maxBatch: 1 }, constant(threshold - 1))).toHaveLength(1);
    expect(samplePatients(1, { sampleRate: q, maxBatch: 1 }, constant(threshold))).toHaveLength(0);
  });

  test('q = 1 takes everybody, no patients give an empty step, parameters throw', () => {
    const random = publicBytes('edge');
    expect([...samplePatients(5, { sampleRate: 1, maxBatch: 5 }, random)]).toEqual([0, 1, 2, 3, 4]);
    expect(samplePatients(0, { sampleRate: 0.5, maxBatch: 5 }, random)).toHaveLength(0);
    for (const sampleRate of [0, -1, 1.5, NaN])
      expect(() => samplePatients(5, { sampleRate, maxBatch: 5 }, random)).toThrow(/PARAMETER_INVALID/);
    for (const maxBatch of [0, 1.5, NaN])
      expect(() => samplePatients(5, { sampleRate: 0.5, maxBatch }, random)).toThrow(/PARAMETER_INVALID/);
  });
});

describe('the cap', () => {
  /** How often each of ten patients stays when only three fit, in units of its standard error. */
  const bias = (sampler: Sampler): number => {
    const random = publicBytes('cap');
    const rounds = 20_000;
    const kept = new Float64Array(10);
    for (let r = 0; r < rounds; r++) for (const i of sampler(10, { sampleRate: 1, maxBatch: 3 }, random)) kept[i]++;
    return Math.max(...kept.map((c) => Math.abs(c - 0.3 * rounds))) / Math.sqrt(0.21 * rounds);
  };

  test('a random subset stays', () => expect(bias(samplePatients)).toBeLessThan(5));
  test('positive control: keeping the first is caught', () => {
    expect(
      bias((n, p, random) => samplePatients(n, { ...p, maxBatch: n }, random).slice(0, p.maxBatch)),
    ).toBeGreaterThan(5);
  });

  test('overflowDelta is the chance that the others fill every place', () => {
    const [patients, q, maxBatch, rounds] = [60, 0.2, 17, 40_000];
    const random = publicBytes('tail');
    let full = 0;
    for (let r = 0; r < rounds; r++)
      if (samplePatients(patients - 1, { sampleRate: q, maxBatch: patients }, random).length >= maxBatch) full++;
    const exact = overflowDelta({ patientsAtMost: patients, sampleRate: q, maxBatch, steps: 1 });
    expect(Math.abs(full - exact * rounds)).toBeLessThan(5 * Math.sqrt(exact * rounds));
    expect(overflowDelta({ patientsAtMost: patients, sampleRate: q, maxBatch, steps: 7 })).toBeCloseTo(7 * exact, 12);
  });

  test('costs nothing when everybody fits, everything when parameters make no sense', () => {
    expect(overflowDelta({ patientsAtMost: 50, sampleRate: 0.5, maxBatch: 50, steps: 1000 })).toBe(0);
    expect(overflowDelta({ patientsAtMost: 50, sampleRate: 1, maxBatch: 50, steps: 1000 })).toBe(0);
    expect(overflowDelta({ patientsAtMost: 50, sampleRate: 1, maxBatch: 49, steps: 1 })).toBe(1);
    expect(overflowDelta({ patientsAtMost: NaN, sampleRate: 0.5, maxBatch: 50, steps: 1 })).toBe(1);
    expect(overflowDelta({ patientsAtMost: 50, sampleRate: NaN, maxBatch: 50, steps: 1 })).toBe(1);
  });

  test('smallestMaxBatch is the smallest', () => {
    const p = { patientsAtMost: 1000, sampleRate: 0.064, steps: 100 };
    const maxBatch = smallestMaxBatch(p, 1e-7);
    expect(overflowDelta({ ...p, maxBatch })).toBeLessThanOrEqual(1e-7);
    expect(overflowDelta({ ...p, maxBatch: maxBatch - 1 })).toBeGreaterThan(1e-7);
  });
});

test('micro-batches: constant shape, every patient in one slot, the rest empty', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 20 }),
      fc.nat(60),
      (maxBatch, micro, wanted) => {
        const drawn = Int32Array.from({ length: Math.min(wanted, maxBatch) }, (_, i) => 3 * i);
        const batches = padIntoMicroBatches(drawn, maxBatch, micro);
        const filled = batches.flatMap((b) => [...b]).filter((slot) => slot !== EMPTY_SLOT);
        return (
          batches.length === microBatchCount(maxBatch, micro) &&
          batches.every((b) => b.length === micro) &&
          filled.join() === drawn.join()
        );
      },
    ),
  );
  expect(() => padIntoMicroBatches(new Int32Array(3), 2, 2)).toThrow(/PARAMETER_INVALID/);
});

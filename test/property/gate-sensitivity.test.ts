/** What a site says to the release gate: one patient moves the sums by at most 1, whatever the patient is. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { latticeGaussian } from '../../shared/dp/gaussian.ts';
import { dangerouslyTrustAsClippedSum } from '../../shared/dp/noised.ts';
import { questionWeights } from '../../shared/gate/error-rates.ts';
import type { PatientScore } from '../../shared/gate/scores.ts';
import { gateSum, gateWords } from '../../shared/gate/words.ts';
import { secureBytes } from '../../shared/random.ts';
import { testGate } from '../support/gate-rig.ts';

const score: fc.Arbitrary<PatientScore> = fc.record({
  copied: fc.boolean(),
  nearness: fc.oneof(fc.double({ min: -1, max: 1 }), fc.constantFrom(NaN, Infinity, -Infinity, 1e9, -1, 1)),
});
const gates = fc
  .record({
    holdOut: fc.double({ min: 0.001, max: 0.3, noNaN: true }),
    shareAtMost: fc.double({ min: 0.001, max: 0.999, noNaN: true }),
    advantageAtMost: fc.double({ min: 0.001, max: 0.499, noNaN: true }),
  })
  .map(({ holdOut, shareAtMost, advantageAtMost }) => ({
    ...testGate,
    holdOut,
    memorisation: { distance: 0.2, shareAtMost },
    membership: { advantageAtMost },
  }));
type Summer = (...args: Parameters<typeof gateSum>) => Float64Array;
const ours: Summer = (...args) => gateSum(...args).values;

const sensitivityIsBounded = (sum: Summer) => {
  const people = fc.array(score, { maxLength: 12 });
  return fc.property(gates, people, people, score, fc.boolean(), (gate, training, heldOut, one, held) => {
    const without = sum(gate, training, heldOut);
    const withOne = held ? sum(gate, training, [...heldOut, one]) : sum(gate, [...training, one], heldOut);
    return Math.hypot(...withOne.map((x, i) => x - without[i])) <= 1 + 1e-9;
  });
};

test('one patient more moves the three sums by at most 1', () => {
  fc.assert(sensitivityIsBounded(ours), { numRuns: 2000 });
});

test('positive control: copies counted by images, not by patients', () => {
  const byImages: Summer = (gate, training, heldOut) => {
    const sums = ours(gate, training, heldOut);
    // A patient with three images that have a copy each.
    for (const { copied } of training) if (copied) sums[0] += 2 * questionWeights(gate).copies;
    return sums;
  };
  expect(() => fc.assert(sensitivityIsBounded(byImages))).toThrow(/Property failed/);
});

test('positive control: a share of the patients that are there, not a sum', () => {
  const shares: Summer = (gate, training, heldOut) => {
    const sums = ours(gate, training, heldOut);
    // 1,000 patients are declared; divided by the true number, one patient moves everybody else's weight.
    return sums.map((x) => (1000 * x) / Math.max(1, training.length + heldOut.length));
  };
  expect(() => fc.assert(sensitivityIsBounded(shares))).toThrow(/Property failed/);
});

test('positive control: a score that is not brought into its range', () => {
  const loose: Summer = (gate, training, heldOut) => {
    const sums = ours(gate, training, heldOut);
    const w = questionWeights(gate);
    for (const { nearness } of heldOut) if (Number.isFinite(nearness)) sums[1] -= w.membership * nearness;
    return sums;
  };
  expect(() => fc.assert(sensitivityIsBounded(loose))).toThrow(/Property failed/);
});

const wordsOf = (
  gate: typeof testGate,
  sums: readonly number[],
  n: number,
  gaussian = latticeGaussian(secureBytes),
) => {
  const sum = dangerouslyTrustAsClippedSum(Float64Array.from(sums), 1);
  return Array.from({ length: n }, () => gateWords(gate, sum, gaussian));
};

test('on the bound the words are a fair coin: they are made after the noise', () => {
  const enough = 10 * testGate.leastPatients;
  const said = wordsOf(testGate, [0, 0, enough], 400);
  for (const bound of ['memorisation', 'membership'] as const) {
    const yes = said.filter((w) => w.kind === 'answered' && w[bound] === 'yes').length;
    expect(yes).toBeGreaterThan(140);
    expect(yes).toBeLessThan(260);
  }
  // Positive control: without noise the same sum gives the same word for ever.
  const still = wordsOf(testGate, [0, 0, enough], 50, (out) => out.fill(0));
  expect(new Set(still.map((w) => JSON.stringify(w))).size).toBe(1);
});

test('words follow the sums far from the bound, and a small site cannot tell', () => {
  const enough = 10 * testGate.leastPatients;
  expect(wordsOf(testGate, [50, -50, enough], 1)[0]).toEqual({
    kind: 'answered',
    memorisation: 'yes',
    membership: 'no',
  });
  expect(wordsOf(testGate, [-50, 50, enough], 1)[0]).toEqual({
    kind: 'answered',
    memorisation: 'no',
    membership: 'yes',
  });
  const unsure = { kind: 'answered', memorisation: 'cannot-tell', membership: 'cannot-tell' };
  expect(wordsOf(testGate, [50, 50, 0], 1)[0]).toEqual(unsure);
});

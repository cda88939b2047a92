/**
 * What every accountant must fulfil, as laws that take one and throw when it breaks them: run for ours, and for broken
 * ones, so that each law is known to catch something.
 */
import fc from 'fast-check';
import type { Accountant } from '../../shared/dp/accountant.ts';
import { gaussianEvent, poissonGaussianEvent, type PrivacyEvent, readEvent } from '../../shared/dp/event.ts';
import { gaussianDelta, gaussianEpsilon } from '../../shared/dp/exact-gaussian.ts';

export interface Subject {
  readonly accountant: Accountant;
  /** Relative error of its own that a comparison of two of its figures must allow for. */
  readonly own: number;
  /** How far above the exact epsilon it may be: a factor and a number. */
  readonly above: readonly [number, number];
  readonly runs: number;
}

const DELTA = 1e-5;
const rate = fc.integer({ min: 1, max: 60 }).map((percent) => percent / 100);
const noise = fc.integer({ min: 5, max: 60 }).map((tenths) => tenths / 10);
const steps = fc.integer({ min: 1, max: 400 });
const event = fc.oneof(
  fc.tuple(noise, fc.integer({ min: 1, max: 20 })).map(([sigma, n]) => gaussianEvent(sigma, n)),
  fc.tuple(rate, noise, steps).map(([q, sigma, n]) => poissonGaussianEvent(q, sigma, n)),
);
const events = fc.array(event, { minLength: 1, maxLength: 3 });

type Law = (s: Subject) => void;
const holds = <T>(s: Subject, over: fc.Arbitrary<T>, law: (value: T) => boolean): void =>
  fc.assert(fc.property(over, law), { numRuns: s.runs });
const epsilonBy =
  ({ accountant }: Subject, delta = DELTA) =>
  (...list: readonly PrivacyEvent[]): number =>
    accountant.epsilon(list, delta).epsilon;
/** a is at most b, as far as the accountant can tell. */
const atMost = (a: number, b: number, own: number): boolean => a <= b * (1 + own) + 1e-9;

/** Events that no accountant of ours knows, read from a ledger or handed over unread. */
const UNKNOWN: readonly PrivacyEvent[] = [
  readEvent({ kind: 'quantum', noiseMultiplier: 2, count: 1 }),
  { kind: 'quantum', noiseMultiplier: 2, count: 1 } as unknown as PrivacyEvent,
  { kind: 'gaussian', sensitivity: 0.5, noiseMultiplier: 5, count: 1 } as unknown as PrivacyEvent,
  { kind: 'gaussian', sensitivity: 1, noiseMultiplier: 0, count: 1 },
  { kind: 'gaussian', sensitivity: 1, noiseMultiplier: NaN, count: 1 },
  { kind: 'gaussian', sensitivity: 1, noiseMultiplier: 5, count: NaN },
  { kind: 'gaussian', sensitivity: 1, noiseMultiplier: 5, count: 0 },
  { kind: 'poisson-gaussian', sampleRate: NaN, noiseMultiplier: 5, count: 1 },
  { kind: 'poisson-gaussian', sampleRate: 1.1, noiseMultiplier: 5, count: 1 },
  { kind: 'poisson-gaussian', sampleRate: 0.1, noiseMultiplier: 5, count: 0.5 },
  { kind: 'not-private', count: 1 },
];

export const LAWS: Readonly<Record<string, Law>> = {
  'is never below the exact Gaussian, and not far above it': (s) =>
    holds(s, fc.tuple(noise, fc.integer({ min: 1, max: 50 })), ([sigma, n]) => {
      const exact = gaussianEpsilon(Math.sqrt(n) / sigma, DELTA);
      const [bound, [factor, more]] = [epsilonBy(s)(gaussianEvent(sigma, n)), s.above];
      return bound >= exact && bound <= factor * exact + more;
    }),

  // microsoft/prv_accountant@a844f72, tests/test_accountant.py: its cases, at its epsilons.
  'states no delta below the exact Gaussian': ({ accountant }) => {
    const cases: [PrivacyEvent[], number][] = [
      [[gaussianEvent(100, 9999)], Math.sqrt(9999) / 100],
      [[gaussianEvent(100, 10_000)], 1],
      [[gaussianEvent(10, 50), gaussianEvent(5, 50)], Math.sqrt(50 / 100 + 50 / 25)],
    ];
    for (const [list, mu] of cases)
      for (const epsilon of [0.1, 1, 10, 100]) {
        const [delta, exact] = [accountant.delta(list, epsilon), gaussianDelta(epsilon, mu)];
        if (!(delta >= exact)) throw new Error(`delta ${delta} below ${exact} at ${epsilon}`);
      }
  },

  'does not depend on order, or on how repetitions are written': (s) =>
    holds(s, fc.tuple(events, event), ([list, one]) => {
      const epsilon = epsilonBy(s);
      const apart = Array.from({ length: 3 }, () => one);
      const whole = epsilon(...list, { ...one, count: 3 * one.count });
      const [turned, split] = [epsilon(...apart, ...list.toReversed()), epsilon(...list, ...apart)];
      return [turned, split].every((e) => atMost(e, whole, 1e-6) && atMost(whole, e, 1e-6));
    }),

  'charges a whole at least what its parts cost': (s) =>
    holds(s, fc.tuple(events, event), ([list, one]) => {
      const epsilon = epsilonBy(s);
      const whole = epsilon(...list, one);
      return atMost(epsilon(...list), whole, s.own) && atMost(epsilon(one), whole, s.own);
    }),

  'falls with noise, grows with rate and steps': (s) =>
    holds(s, fc.tuple(rate, noise, steps, fc.integer({ min: 1, max: 40 })), ([q, sigma, n, more]) => {
      const epsilon = epsilonBy(s);
      const here = epsilon(poissonGaussianEvent(q, sigma, n));
      return (
        atMost(here, epsilon(poissonGaussianEvent(q, sigma / (1 + more / 10), n)), s.own) &&
        atMost(here, epsilon(poissonGaussianEvent(q + more / 100, sigma, n)), s.own) &&
        atMost(here, epsilon(poissonGaussianEvent(q, sigma, n + more)), s.own) &&
        // Not in name only: a hundred times the steps at the same noise are seen.
        epsilon(poissonGaussianEvent(q, sigma, 100 * n)) > here
      );
    }),

  'falls with delta, and the two ways of asking agree': (s) =>
    holds(s, fc.tuple(events, fc.integer({ min: 2, max: 7 })), ([list, digits]) => {
      const delta = 10 ** -digits;
      const [here, smaller] = [epsilonBy(s, delta)(...list), epsilonBy(s, delta / 10)(...list)];
      return atMost(here, smaller, 0) && s.accountant.delta(list, here) <= delta * (1 + 1e-6);
    }),

  'charges infinity for what it does not understand': ({ accountant }) => {
    for (const one of UNKNOWN) {
      const list = [gaussianEvent(5), one];
      if (accountant.epsilon(list, DELTA).epsilon !== Infinity) throw new Error(`bounded: ${JSON.stringify(one)}`);
      if (accountant.delta(list, 1) !== 1) throw new Error(`delta below 1: ${JSON.stringify(one)}`);
      if (accountant.epsilonForGroup(list, 2, DELTA).epsilon !== Infinity) throw new Error('bounded for a group');
    }
    for (const delta of [0, 1, -1, NaN, Infinity])
      if (accountant.epsilon([gaussianEvent(5)], delta).epsilon !== Infinity) throw new Error(`bounded at ${delta}`);
    for (const patients of [0, -1, 1.5, NaN, 65])
      if (accountant.epsilonForGroup([gaussianEvent(5)], patients, DELTA).epsilon !== Infinity)
        throw new Error(`a group of ${patients}`);
  },

  'charges nothing for nothing': ({ accountant }) => {
    if (accountant.epsilon([], DELTA).epsilon !== 0) throw new Error('no events cost something');
    if (accountant.delta([], 0) !== 0 || accountant.delta([], 1) !== 0) throw new Error('no events have a delta');
  },

  'charges a group more than one patient, and one patient as a group of one': (s) =>
    holds(s, fc.tuple(rate, noise), ([q, sigma]) => {
      const list = [poissonGaussianEvent(q, sigma, 20), gaussianEvent(sigma)];
      const group = (k: number) => s.accountant.epsilonForGroup(list, k, DELTA).epsilon;
      const [one, two, three] = [group(1), group(2), group(3)];
      return one === epsilonBy(s)(...list) && (one === 0 || (two > one && atMost(two, three, s.own)));
    }),

  'says between which data sets it holds': ({ accountant }) => {
    const { relation, accountant: name } = accountant.epsilon([gaussianEvent(2)], DELTA);
    if (relation !== 'add-or-remove-one-patient' || name !== accountant.name) throw new Error(relation);
    const group = accountant.epsilonForGroup([gaussianEvent(2)], 3, DELTA);
    if (group.relation !== 'add-or-remove-3-patients') throw new Error(group.relation);
  },

  'never answers with NaN or less than zero': (s) =>
    holds(
      s,
      fc.tuple(fc.double({ min: 0, max: 1.2 }), fc.double({ min: 1e-2, max: 1e12 }), fc.nat(20), fc.double()),
      ([q, sigma, n, delta]) => {
        const list: PrivacyEvent[] = [{ kind: 'poisson-gaussian', sampleRate: q, noiseMultiplier: sigma, count: n }];
        return s.accountant.epsilon(list, delta).epsilon >= 0 && s.accountant.delta(list, Math.abs(delta)) >= 0;
      },
    ),
};

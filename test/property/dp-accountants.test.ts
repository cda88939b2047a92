/** One suite for all accountants, and broken ones that it must catch. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Accountant, pldAccountant, pldBracket, rdpAccountant } from '../../shared/dp/accountant.ts';
import { gaussianEvent, poissonGaussianEvent, type PrivacyEvent } from '../../shared/dp/event.ts';
import { gaussianEpsilon } from '../../shared/dp/exact-gaussian.ts';
import { LAWS, type Subject } from '../support/accountant-laws.ts';

const rdp: Subject = { accountant: rdpAccountant, own: 1e-9, above: [1.35, 0.5], runs: 25 };
const pld: Subject = { accountant: pldAccountant, own: 4e-3, above: [1.001, 1e-6], runs: 12 };

describe.each([rdp, pld])('$accountant.name', (subject) => {
  test.each(Object.entries(LAWS))('%s', (_, law) => law(subject));
});

/** The tight accountant with its events changed behind its back. */
const through = (change: (events: PrivacyEvent[]) => PrivacyEvent[]): Accountant => ({
  ...pldAccountant,
  epsilon: (events, delta) => pldAccountant.epsilon(change([...events]), delta),
  delta: (events, epsilon) => pldAccountant.delta(change([...events]), epsilon),
  epsilonForGroup: (events, k, delta) => pldAccountant.epsilonForGroup(change([...events]), k, delta),
});
const known = (event: PrivacyEvent) => pldAccountant.epsilon([event], 0.5).epsilon < Infinity;

/** Each is broken in one way; the law named must catch it. */
const BROKEN: [string, keyof typeof LAWS, Accountant][] = [
  [
    'forgets one step in a hundred',
    'is never below the exact Gaussian, and not far above it',
    through((list) =>
      list.map((e) => (e.kind === 'gaussian' ? { ...e, noiseMultiplier: e.noiseMultiplier * 1.005 } : e)),
    ),
  ],
  [
    'forgets some delta',
    'states no delta below the exact Gaussian',
    { ...pldAccountant, delta: (events, epsilon) => 0.999 * pldAccountant.delta(events, epsilon) },
  ],
  [
    'drops what is written twice',
    'does not depend on order, or on how repetitions are written',
    through((list) => [...new Set(list)]),
  ],
  ['charges its last event alone', 'charges a whole at least what its parts cost', through((list) => list.slice(-1))],
  [
    'ignores the rate',
    'falls with noise, grows with rate and steps',
    through((list) => list.map((e) => (e.kind === 'poisson-gaussian' ? { ...e, sampleRate: 1 - e.sampleRate } : e))),
  ],
  [
    'ignores delta',
    'falls with delta, and the two ways of asking agree',
    { ...pldAccountant, epsilon: (events) => pldAccountant.epsilon(events, 1e-4) },
  ],
  [
    'skips what it does not know',
    'charges infinity for what it does not understand',
    through((list) => list.filter(known)),
  ],
  [
    'starts above zero',
    'charges nothing for nothing',
    { ...pldAccountant, epsilon: (events, delta) => ({ ...pldAccountant.epsilon(events, delta), epsilon: 0.1 }) },
  ],
  [
    'takes a group for one patient',
    'charges a group more than one patient, and one patient as a group of one',
    { ...pldAccountant, epsilonForGroup: (events, _, delta) => pldAccountant.epsilonForGroup(events, 1, delta) },
  ],
  [
    'says another relation',
    'says between which data sets it holds',
    {
      ...pldAccountant,
      epsilon: (events, delta) => ({ ...pldAccountant.epsilon(events, delta), relation: 'replace-one' }),
    },
  ],
  [
    'answers NaN for a delta it does not like',
    'never answers with NaN or less than zero',
    {
      ...pldAccountant,
      epsilon: (events, delta) => ({ ...pldAccountant.epsilon(events, delta), epsilon: Math.log(delta) }),
    },
  ],
];

test.each(BROKEN)('positive control: one that %s is caught', (_, name, accountant) => {
  expect(() => LAWS[name]({ ...pld, accountant, runs: 40 })).toThrow();
});

test('every law has its control', () => {
  expect(new Set(BROKEN.map(([, law]) => law))).toEqual(new Set(Object.keys(LAWS)));
});

describe('the tight accountant', () => {
  const rate = fc.integer({ min: 1, max: 80 }).map((percent) => percent / 100);
  const noise = fc.integer({ min: 5, max: 50 }).map((tenths) => tenths / 10);
  const steps = fc.integer({ min: 1, max: 2000 });

  test('brackets the exact Gaussian from both sides', () => {
    fc.assert(
      fc.property(noise, fc.integer({ min: 1, max: 200 }), fc.integer({ min: 2, max: 9 }), (sigma, n, digits) => {
        const exact = gaussianEpsilon(Math.sqrt(n) / sigma, 10 ** -digits);
        const { lower, upper } = pldBracket([gaussianEvent(sigma, n)], 10 ** -digits);
        return lower <= exact && exact <= upper && upper - lower <= 2e-3 * exact + 1e-5;
      }),
      { numRuns: 25 },
    );
  });

  // Widest, 0.0157, where half a patient's noise is paid for 2,000 times: an epsilon of 1,290.
  test('states its error, small; and is below RDP', () => {
    fc.assert(
      fc.property(rate, noise, steps, (q, sigma, n) => {
        const list = [poissonGaussianEvent(q, sigma, n), gaussianEvent(2 * sigma)];
        const { lower, upper } = pldBracket(list, 1e-5);
        const rdp = rdpAccountant.epsilon(list, 1e-5).epsilon;
        return lower <= upper && upper - lower <= 0.02 * upper + 1e-6 && lower <= rdp;
      }),
      { numRuns: 20 },
    );
  });

  test('takes both directions: adding a patient may cost more than removing one, and the other way round', () => {
    const wide = pldAccountant.delta([poissonGaussianEvent(0.9, 0.5, 1)], 1);
    // By quadrature of the definition: sup over both directions of the hockey-stick divergence.
    const byQuadrature = (q: number, sigma: number, epsilon: number): [number, number] => {
      let [remove, add] = [0, 0];
      const h = sigma / 2000;
      const density = (x: number, at: number) =>
        Math.exp(-((x - at) ** 2) / (2 * sigma * sigma)) / (sigma * Math.sqrt(2 * Math.PI));
      for (let x = -12 * sigma; x < 1 + 12 * sigma; x += h) {
        const [base, mixed] = [density(x, 0), (1 - q) * density(x, 0) + q * density(x, 1)];
        remove += h * Math.max(0, mixed - Math.exp(epsilon) * base);
        add += h * Math.max(0, base - Math.exp(epsilon) * mixed);
      }
      return [remove, add];
    };
    expect(wide).toBeGreaterThanOrEqual(Math.max(...byQuadrature(0.9, 0.5, 1)) - 1e-9);
    expect(wide).toBeLessThan(Math.max(...byQuadrature(0.9, 0.5, 1)) * 1.001);
    const small = pldAccountant.delta([poissonGaussianEvent(0.1, 1, 1)], 0.05);
    expect(Math.abs(small / Math.max(...byQuadrature(0.1, 1, 0.05)) - 1)).toBeLessThan(1e-3);
  });

  test('very many different mechanisms: those nearly alike are charged as the worst of them, never less', () => {
    const schedule = Array.from({ length: 600 }, (_, i) => poissonGaussianEvent(0.02, 1 + i / 600, 1));
    const few = schedule.filter((_, i) => i % 2 === 0).map((e) => ({ ...e, count: 2 }));
    const merged = pldAccountant.epsilon(schedule, 1e-5).epsilon;
    // The even half, twice, has less noise at every step: it dominates, and is computed without merging.
    expect(merged).toBeLessThan(pldAccountant.epsilon(few, 1e-5).epsilon * 1.01);
    const odd = schedule.filter((_, i) => i % 2 === 1).map((e) => ({ ...e, count: 2 }));
    expect(merged).toBeGreaterThanOrEqual(pldBracket(odd, 1e-5).lower);
  });
});

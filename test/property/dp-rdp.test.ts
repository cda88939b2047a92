import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { costOfEvents, deltaFromRdp, epsilonFromRdp } from '../../shared/dp/convert.ts';
import {
  composeEvents,
  gaussianEvent,
  poissonGaussianEvent,
  type PrivacyEvent,
  readEvent,
} from '../../shared/dp/event.ts';
import { gaussianDelta, gaussianEpsilon } from '../../shared/dp/exact-gaussian.ts';
import { RDP_ORDERS, RdpAccountant, rdpCurve, rdpOfEvents, rdpSampledGaussian } from '../../shared/dp/rdp.ts';

const DELTA = 1e-5;
const rate = fc.integer({ min: 1, max: 99 }).map((percent) => percent / 100);
const noise = fc.integer({ min: 5, max: 80 }).map((tenths) => tenths / 10);
const steps = fc.integer({ min: 1, max: 2000 });
const order = fc.constantFrom(...RDP_ORDERS);
type Rdp = (q: number, sigma: number, alpha: number) => number;

describe('monotone: more data, less noise, higher order never cost less', () => {
  // The fractional series carries a slack of 1e-12; differences below it say nothing.
  const monotone = (rdp: Rdp) =>
    fc.property(rate, noise, order, fc.integer({ min: 1, max: 50 }), (q, sigma, alpha, more) => {
      const here = rdp(q, sigma, alpha) * (1 - 1e-9) - 1e-11;
      return rdp(Math.min(1, q + more / 100), sigma, alpha) >= here && rdp(q, sigma / (1 + more / 10), alpha) >= here;
    });

  test('in q and sigma', () => {
    fc.assert(monotone(rdpSampledGaussian), { numRuns: 400 });
  });

  test('positive control: a bound that forgets the sign of the noise is caught', () => {
    const broken: Rdp = (q, sigma, alpha) => rdpSampledGaussian(q, 1 / sigma, alpha);
    expect(() => fc.assert(monotone(broken))).toThrow(/Property failed/);
  });

  test('epsilon in steps, strictly', () => {
    const run = (q: number, sigma: number, n: number) =>
      costOfEvents([poissonGaussianEvent(q, sigma, n)], DELTA).epsilon;
    fc.assert(
      fc.property(rate, noise, steps, steps, (q, sigma, n, more) => {
        const before = run(q, sigma, n);
        return before === 0 || run(q, sigma, n + more) > before;
      }),
      { numRuns: 60 },
    );
  });
});

test('rdp agrees with quadrature of the moment itself, at whole and fractional orders', () => {
  /** Trapezoids over A - 1 = E[(1+u)^α - 1 - αu], whose integrand is never negative. Independent of both series. */
  const byQuadrature: Rdp = (q, sigma, alpha) => {
    const h = sigma / 40;
    let sum = 0;
    for (let z = -14 * sigma; z <= alpha + 14 * sigma; z += h) {
      const u = q * Math.expm1((2 * z - 1) / (2 * sigma * sigma));
      const weight = Math.exp((-z * z) / (2 * sigma * sigma)) / (sigma * Math.sqrt(2 * Math.PI));
      sum += weight * h * (Math.expm1(alpha * Math.log1p(u)) - alpha * u);
    }
    return Math.log1p(sum) / (alpha - 1);
  };
  const low = fc.constantFrom(...RDP_ORDERS.filter((alpha) => alpha < 12));
  fc.assert(
    fc.property(
      rate,
      noise.filter((s) => s >= 0.8),
      low,
      (q, sigma, alpha) => {
        const [ours, truth] = [rdpSampledGaussian(q, sigma, alpha), byQuadrature(q, sigma, alpha)];
        return ours > truth * (1 - 1e-7) - 1e-11 && ours < truth * (1 + 1e-7) + 1e-11;
      },
    ),
    { numRuns: 300 },
  );
});

test('sampling everybody is the plain Gaussian, and q near 1 tends to it', () => {
  fc.assert(
    fc.property(noise, order, (sigma, alpha) => {
      const plain = alpha / (2 * sigma * sigma);
      return (
        rdpSampledGaussian(1, sigma, alpha) === plain &&
        Math.abs(rdpSampledGaussian(1 - 1e-12, sigma, alpha) / plain - 1) < 1e-6
      );
    }),
  );
});

describe('composition adds', () => {
  const event = fc.oneof(
    fc.tuple(noise, steps).map(([sigma, n]) => gaussianEvent(sigma, n)),
    fc.tuple(rate, noise, steps).map(([q, sigma, n]) => poissonGaussianEvent(q, sigma, n)),
  );

  test('the whole costs the sum of its parts at every order, in any order, merged or not', () => {
    fc.assert(
      fc.property(fc.array(event, { minLength: 1, maxLength: 4 }), fc.array(event, { maxLength: 4 }), (a, b) => {
        const [whole, first, second] = [rdpOfEvents(composeEvents(b, a, b)), rdpOfEvents(a), rdpOfEvents(b)];
        return whole.every((r, i) => Math.abs(r - (first[i] + 2 * second[i])) <= 1e-9 * (1 + r));
      }),
      { numRuns: 25 },
    );
  });

  test('ten thousand equal events cost one curve', () => {
    const one = poissonGaussianEvent(0.0123, 1.07);
    const accountant = new RdpAccountant();
    const start = performance.now();
    for (let i = 0; i < 10_000; i++) accountant.add(one);
    expect(performance.now() - start).toBeLessThan(1000);
    const merged = rdpOfEvents([poissonGaussianEvent(0.0123, 1.07, 10_000)]);
    accountant.rdp().forEach((r, i) => expect(Math.abs(r / merged[i] - 1)).toBeLessThan(1e-9));
  });
});

describe('fails closed', () => {
  const infinite = (event: PrivacyEvent) => costOfEvents([gaussianEvent(5), event], DELTA).epsilon === Infinity;

  test.each<[string, unknown]>([
    ['an unknown kind', { kind: 'skellam', noiseMultiplier: 2, count: 1 }],
    ['no kind', {}],
    ['null', null],
    ['a field too many', { kind: 'gaussian', sensitivity: 1, noiseMultiplier: 2, count: 1, note: 'x' }],
    ['another sensitivity', { kind: 'gaussian', sensitivity: 0.5, noiseMultiplier: 2, count: 1 }],
    ['no noise', { kind: 'gaussian', sensitivity: 1, noiseMultiplier: 0, count: 1 }],
    ['noise that is not a number', { kind: 'gaussian', sensitivity: 1, noiseMultiplier: NaN, count: 1 }],
    ['infinite noise', { kind: 'gaussian', sensitivity: 1, noiseMultiplier: Infinity, count: 1 }],
    ['no times', { kind: 'gaussian', sensitivity: 1, noiseMultiplier: 2, count: 0 }],
    ['minus one time', { kind: 'gaussian', sensitivity: 1, noiseMultiplier: 2, count: -1 }],
    ['a rate above one', { kind: 'poisson-gaussian', sampleRate: 1.1, noiseMultiplier: 2, count: 1 }],
    ['a negative rate', { kind: 'poisson-gaussian', sampleRate: -0.1, noiseMultiplier: 2, count: 1 }],
  ])('%s costs infinity, read from a ledger', (_, record) => {
    expect(infinite(readEvent(record))).toBe(true);
  });

  test('the same records given to the accountant unread', () => {
    const unread = (record: unknown) => infinite(record as PrivacyEvent);
    expect(unread({ kind: 'skellam', noiseMultiplier: 2, count: 1 })).toBe(true);
    expect(unread({ kind: 'gaussian', sensitivity: 0.5, noiseMultiplier: 5, count: 1 })).toBe(true);
    expect(unread({ kind: 'gaussian', sensitivity: 1, noiseMultiplier: 5, count: NaN })).toBe(true);
    expect(unread({ kind: 'gaussian', sensitivity: 1, noiseMultiplier: 5, count: -3 })).toBe(true);
    expect(unread({ kind: 'poisson-gaussian', sampleRate: NaN, noiseMultiplier: 5, count: 1 })).toBe(true);
  });

  test('conversion: NaN, negative divergences and bad deltas give infinity', () => {
    expect(epsilonFromRdp([2, 3], [NaN, NaN], DELTA).epsilon).toBe(Infinity);
    expect(epsilonFromRdp([2], [-1], DELTA).epsilon).toBe(Infinity);
    expect(epsilonFromRdp([], [], DELTA).epsilon).toBe(Infinity);
    for (const delta of [0, 1, -1, NaN]) expect(epsilonFromRdp([2], [0.1], delta).epsilon).toBe(Infinity);
    expect(deltaFromRdp([2], [NaN], 1)).toBe(1);
  });

  test('no parameters at all give a negative or NaN divergence', () => {
    fc.assert(
      fc.property(fc.double(), fc.double(), fc.oneof(order, fc.double()), (q, sigma, alpha) => {
        return rdpSampledGaussian(q, sigma, alpha) >= 0;
      }),
      { numRuns: 2000 },
    );
  });

  test('nothing that touches data costs exactly zero', () => {
    for (const q of [1e-9, 1e-12, 1e-300])
      for (const r of rdpCurve(poissonGaussianEvent(q, 50))) expect(r).toBeGreaterThan(0);
  });
});

/**
 * microsoft/prv_accountant@a844f72, tests/test_accountant.py: the exact Gaussian trade-off lies below every sound bound.
 * Its cases: σ = 100, 9,999 and 10,000 times; 50 × σ = 10 with 50 × σ = 5; epsilon in .1, 1, 10, 100.
 */
describe('the exact Gaussian is a lower bound', () => {
  const cases: [string, PrivacyEvent[], number][] = [
    ['σ = 100, 9,999 times', [gaussianEvent(100, 9999)], Math.sqrt(9999) / 100],
    ['σ = 100, 10,000 times', [gaussianEvent(100, 10_000)], 1],
    ['50 × σ = 10 and 50 × σ = 5', [gaussianEvent(10, 50), gaussianEvent(5, 50)], Math.sqrt(50 / 100 + 50 / 25)],
  ];

  test.each(cases)('%s', (_, events, mu) => {
    for (const epsilon of [0.1, 1, 10, 100]) {
      const delta = deltaFromRdp(RDP_ORDERS, rdpOfEvents(events), epsilon);
      expect(delta).toBeGreaterThanOrEqual(gaussianDelta(epsilon, mu));
    }
  });

  const bracket = (epsilonOf: (sigma: number, n: number) => number) =>
    fc.property(noise, fc.integer({ min: 1, max: 50 }), (sigma, n) => {
      const exact = gaussianEpsilon(Math.sqrt(n) / sigma, DELTA);
      const bound = epsilonOf(sigma, n);
      return bound >= exact && bound <= 1.35 * exact + 0.5;
    });
  const ours = (sigma: number, n: number) => costOfEvents([gaussianEvent(sigma, n)], DELTA).epsilon;

  test('and RDP is not far above it', () => {
    fc.assert(bracket(ours));
  });

  test('positive control: an accountant that forgets one step in three is caught', () => {
    expect(() => fc.assert(bracket((sigma, n) => ours(sigma, Math.ceil((2 * n) / 3))))).toThrow(/Property failed/);
  });
});

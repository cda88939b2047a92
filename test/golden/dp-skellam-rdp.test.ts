/** The bound on pooled releases against sums over the exact densities in one dimension: never below, and near. */
import { describe, expect, test } from 'vitest';
import { epsilonFromRdp } from '../../shared/dp/convert.ts';
import { poissonGaussianEvent, poissonSkellamEvent } from '../../shared/dp/event.ts';
import { RDP_ORDERS, RdpAccountant, rdpCurve } from '../../shared/dp/rdp.ts';
import { rdpSampledSkellam, rdpSkellam } from '../../shared/dp/skellam-rdp.ts';
import { logAdd } from '../../shared/dp/special.ts';
import { skellamLogMass } from '../support/skellam.ts';

/** D_α of mixture against noise, or of noise against mixture, by direct summation. */
function exact(variance: number, shift: number, q: number, alpha: number): number {
  const reach = Math.ceil(45 * Math.sqrt(variance) + 300);
  const mass = skellamLogMass(variance, reach + shift);
  let [there, back] = [-Infinity, -Infinity];
  for (let x = -reach; x <= reach; x++) {
    const [p, moved] = [mass(x), mass(x - shift)];
    const mixture = logAdd(Math.log1p(-q) + p, Math.log(q) + moved);
    there = logAdd(there, alpha * mixture + (1 - alpha) * p);
    back = logAdd(back, alpha * p + (1 - alpha) * mixture);
  }
  return Math.max(there, back) / (alpha - 1);
}
const CASES = [
  { variance: 4, shift: 1 },
  { variance: 100, shift: 5 },
  { variance: 400, shift: 10 },
  { variance: 2500, shift: 50 },
];

describe('upper bound at every order and rate, whole orders and others', () => {
  for (const { variance, shift } of CASES)
    test(`variance ${variance}, shift ${shift}`, () => {
      for (const q of [1, 0.1, 0.02])
        for (const alpha of [1.5, 2, 2.7, 3, 5, 16]) {
          const bound = rdpSampledSkellam(q, { l2: shift, l1: shift, variance }, alpha);
          expect(bound).toBeGreaterThanOrEqual(exact(variance, shift, q, alpha) * (1 - 1e-9));
        }
    });
  test('near, where the lattice is fine: within 2 % at the orders that matter', () => {
    for (const q of [1, 0.1, 0.02])
      for (const alpha of [2, 3, 5])
        expect(rdpSampledSkellam(q, { l2: 50, l1: 50, variance: 2500 }, alpha)).toBeLessThan(
          exact(2500, 50, q, alpha) * 1.02,
        );
  });
  test('positive control: half the sensitivity is not an upper bound', () => {
    const release = { l2: 25, l1: 25, variance: 2500 };
    expect(rdpSampledSkellam(0.1, release, 3)).toBeLessThan(exact(2500, 50, 0.1, 3));
  });
});

/** Epsilon of `steps` steps from the exact privacy loss, composed by convolution over a grid: the truth, near enough. */
function exactEpsilon(p: { variance: number; shift: number; q: number; steps: number; delta: number }): number {
  const { variance, shift, q, steps, delta } = p;
  const reach = Math.ceil(12 * Math.sqrt(variance)) + shift;
  const mass = skellamLogMass(variance, 2 * reach);
  const grid = 1e-3;
  const worst = (there: boolean): number => {
    const cells = new Map<number, number>();
    for (let x = -reach; x <= reach; x++) {
      const noise = mass(x);
      const mixture = logAdd(Math.log1p(-q) + noise, Math.log(q) + mass(x - shift));
      const [upper, lower] = there ? [mixture, noise] : [noise, mixture];
      // Losses are rounded down: the result is not above the truth.
      const cell = Math.floor((upper - lower) / grid);
      cells.set(cell, (cells.get(cell) ?? 0) + Math.exp(upper));
    }
    let law = cells;
    for (let step = 1; step < steps; step++) {
      const next = new Map<number, number>();
      for (const [a, m] of law)
        for (const [b, n] of cells) if (m * n > 1e-18) next.set(a + b, (next.get(a + b) ?? 0) + m * n);
      law = next;
    }
    const deltaAt = (epsilon: number) => {
      let sum = 0;
      for (const [cell, m] of law) if (cell * grid > epsilon) sum += m * -Math.expm1(epsilon - cell * grid);
      return sum;
    };
    let [low, high] = [0, 50];
    for (let i = 0; i < 60; i++) {
      const middle = (low + high) / 2;
      if (deltaAt(middle) > delta) low = middle;
      else high = middle;
    }
    return low;
  };
  return Math.max(worst(true), worst(false));
}

test('epsilon of steps: above the numerical integration, and within a third of it', () => {
  const [q, delta] = [0.1, 1e-5];
  for (const steps of [1, 6]) {
    const truth = exactEpsilon({ variance: 400, shift: 20, q, steps, delta });
    const event = poissonSkellamEvent(q, { l2: 20, l1: 20, variance: 400 }, steps);
    const { epsilon } = epsilonFromRdp(RDP_ORDERS, new RdpAccountant().add(event).rdp(), delta);
    expect(epsilon).toBeGreaterThan(truth);
    expect(epsilon).toBeLessThan(truth * 1.34);
  }
});

test('on a fine lattice it costs what the Gaussian of the same ratio costs, plus a few hundredths', () => {
  const [q, sigma, steps, l2] = [0.064, 0.95, 200, 2064];
  const release = { l2, l1: Math.sqrt(150_000) * l2, variance: Math.ceil((sigma * l2) ** 2) };
  const cost = (curve: Float64Array) =>
    epsilonFromRdp(
      RDP_ORDERS,
      curve.map((r) => steps * r),
      1e-5,
    ).epsilon;
  const pooled = cost(rdpCurve(poissonSkellamEvent(q, release)));
  const central = cost(rdpCurve(poissonGaussianEvent(q, sigma)));
  expect(pooled).toBeGreaterThan(central);
  expect(pooled).toBeLessThan(central * 1.03);
});

test('fails closed', () => {
  const release = { l2: 1, l1: 1, variance: 1 };
  expect(rdpSkellam({ ...release, variance: 0 }, 2)).toBe(Infinity);
  expect(rdpSkellam({ ...release, l2: NaN }, 2)).toBe(Infinity);
  expect(rdpSkellam(release, 1.5)).toBe(Infinity);
  expect(rdpSampledSkellam(0, release, 2)).toBe(Infinity);
  expect(rdpSampledSkellam(1.1, release, 2)).toBe(Infinity);
  expect(rdpSampledSkellam(0.1, release, 1)).toBe(Infinity);
  expect(rdpSampledSkellam(0.1, release, 1e6)).toBe(Infinity);
  // An event without noise is read, and costs infinity; one that does not parse costs infinity too.
  expect(rdpCurve(poissonSkellamEvent(0.1, { ...release, variance: 0 }), [2])[0]).toBe(Infinity);
  expect(rdpCurve(poissonSkellamEvent(0.1, { ...release, variance: NaN }), [2])[0]).toBe(Infinity);
});

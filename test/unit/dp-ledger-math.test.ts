import { describe, expect, test } from 'vitest';
import { costOfEvents, epsilonAtOrder } from '../../shared/dp/convert.ts';
import { gaussianEvent, poissonGaussianEvent, readEvent } from '../../shared/dp/event.ts';
import { LIFETIME_ORDERS, lifetimeCost } from '../../shared/dp/ledger-math.ts';
import { rdpOfEvents } from '../../shared/dp/rdp.ts';

const run = [gaussianEvent(5, 2), poissonGaussianEvent(0.064, 1.54, 1020)];

describe('the cost of a lifetime', () => {
  test('is a filter at every order with its share of delta', () => {
    const rdp = rdpOfEvents(run, LIFETIME_ORDERS);
    const share = 1e-5 / LIFETIME_ORDERS.length;
    const best = Math.min(...LIFETIME_ORDERS.map((alpha, i) => epsilonAtOrder(alpha, rdp[i], share)));
    expect(lifetimeCost(run, 1e-5)).toMatchObject({ epsilon: best, delta: 1e-5 });
  });

  test('is above that of one run, and by less than a fifth', () => {
    const [lifetime, once] = [lifetimeCost(run, 1e-5).epsilon, costOfEvents(run, 1e-5).epsilon];
    expect(lifetime).toBeGreaterThan(once);
    expect(lifetime).toBeLessThan(1.2 * once);
  });

  test('positive control: the same orders with all of delta each would claim less', () => {
    const rdp = rdpOfEvents(run, LIFETIME_ORDERS);
    const unpaid = Math.min(...LIFETIME_ORDERS.map((alpha, i) => epsilonAtOrder(alpha, rdp[i], 1e-5)));
    expect(unpaid).toBeLessThan(lifetimeCost(run, 1e-5).epsilon);
  });

  test('never falls when a charge is added, and an unknown one costs infinity', () => {
    let before = 0;
    for (let runs = 1; runs <= 5; runs++) {
      const { epsilon } = lifetimeCost(Array.from({ length: runs }, () => run).flat(), 1e-5);
      expect(epsilon).toBeGreaterThan(before);
      before = epsilon;
    }
    expect(lifetimeCost([...run, readEvent({ kind: 'later' })], 1e-5).epsilon).toBe(Infinity);
    expect(lifetimeCost(run, 0).epsilon).toBe(Infinity);
    expect(lifetimeCost(run, NaN).epsilon).toBe(Infinity);
  });

  test('the orders are what ledgers were promised', () => {
    expect(LIFETIME_ORDERS).toEqual([1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128]);
    expect(Object.isFrozen(LIFETIME_ORDERS)).toBe(true);
  });
});

import { describe, expect, test } from 'vitest';
import { noiseMultiplierFor, stepsFor } from '../../shared/dp/calibrate.ts';
import { costOfEvents, epsilonFromRdp } from '../../shared/dp/convert.ts';
import { rdpOfEvents } from '../../shared/dp/rdp.ts';
import { gaussianEvent, poissonGaussianEvent } from '../../shared/dp/event.ts';

describe('noise for a budget', () => {
  // OPA opacus/tests/accountants_test.py. Its search stops when epsilon is within 0.01 below the target, so its sigma
  // lies between ours and the one that spends 0.01 less.
  test.each([
    ['row 2: 90 epochs at q = 0.04', 2250, 1.416],
    ['row 3', 2000, 1.3562],
  ])('%s', (_, steps, published) => {
    const sigma = noiseMultiplierFor({ epsilon: 8, delta: 1e-5, sampleRate: 0.04, steps });
    const loosest = noiseMultiplierFor({ epsilon: 7.99, delta: 1e-5, sampleRate: 0.04, steps });
    expect(published).toBeGreaterThanOrEqual(sigma - 5e-5);
    expect(published).toBeLessThanOrEqual(loosest + 5e-5);
    expect(costOfEvents([poissonGaussianEvent(0.04, sigma, steps)], 1e-5).epsilon).toBeLessThanOrEqual(8);
  });

  test('other events are paid first', () => {
    const target = { epsilon: 8, delta: 1e-5, sampleRate: 0.04, steps: 2000 };
    const others = [gaussianEvent(4)];
    const sigma = noiseMultiplierFor({ ...target, others });
    expect(sigma).toBeGreaterThan(noiseMultiplierFor(target));
    const spent = costOfEvents([...others, poissonGaussianEvent(0.04, sigma, 2000)], 1e-5).epsilon;
    expect(spent).toBeLessThanOrEqual(8);
    expect(spent).toBeGreaterThan(7.999);
    expect(() => noiseMultiplierFor({ ...target, others: [gaussianEvent(0.1)] })).toThrow(/BUDGET_EXHAUSTED/);
  });
});

describe('steps for a budget', () => {
  test('a worked example: on whole orders alone 4,000 steps spend 7.52 and 5,000 spend 8.62; tenths find less', () => {
    const whole = Array.from({ length: 62 }, (_, i) => i + 2);
    const event = (steps: number) => [poissonGaussianEvent(0.02, 1.1, steps)];
    const coarse = (steps: number) => epsilonFromRdp(whole, rdpOfEvents(event(steps), whole), 1e-5).epsilon;
    expect(coarse(4000)).toBeCloseTo(7.52, 2);
    expect(coarse(5000)).toBeCloseTo(8.62, 2);
    const spent = (steps: number) => costOfEvents(event(steps), 1e-5).epsilon;
    expect(spent(4000)).toBeLessThan(coarse(4000));
    const steps = stepsFor({ epsilon: 8, delta: 1e-5, sampleRate: 0.02, noiseMultiplier: 1.1 });
    expect(spent(steps)).toBeLessThanOrEqual(8);
    expect(spent(steps + 1)).toBeGreaterThan(8);
  });

  test('none when not even one fits', () => {
    expect(stepsFor({ epsilon: 0.1, delta: 1e-5, sampleRate: 1, noiseMultiplier: 0.5 })).toBe(0);
  });
});

import { describe, expect, test } from 'vitest';
import {
  composeEvents,
  eventKey,
  gaussianEvent,
  poissonGaussianEvent,
  PrivacyEvent,
  readEvent,
  withCount,
} from '../../shared/dp/event.ts';

describe('events', () => {
  test('are frozen and survive a ledger', () => {
    for (const event of [
      gaussianEvent(2.5, 3),
      poissonGaussianEvent(0.1, 1.1, 7),
      readEvent({ kind: 'not-private', count: 2 }),
    ]) {
      expect(Object.isFrozen(event)).toBe(true);
      expect(readEvent(JSON.parse(JSON.stringify(event)))).toEqual(event);
    }
  });

  test('what is not understood is kept as a use without privacy', () => {
    for (const record of [{ kind: 'skellam', count: 1 }, { kind: 'gaussian' }, 'gaussian', undefined])
      expect(readEvent(record)).toEqual({ kind: 'not-private', count: 1 });
    // The makers hand nothing on that the schema would refuse.
    expect(gaussianEvent(NaN).kind).toBe('not-private');
    expect(poissonGaussianEvent(0, 1).kind).toBe('not-private');
    expect(withCount(gaussianEvent(1), 0).kind).toBe('not-private');
  });

  test('compose run-length, in order of first appearance', () => {
    const step = poissonGaussianEvent(0.1, 1.1);
    const composed = composeEvents([gaussianEvent(4), step], [step, step], [gaussianEvent(4), gaussianEvent(3)]);
    expect(composed).toEqual([gaussianEvent(4, 2), poissonGaussianEvent(0.1, 1.1, 3), gaussianEvent(3)]);
    expect(composeEvents()).toEqual([]);
  });

  test('equal keys mean equal mechanisms, to the last bit of a number', () => {
    expect(eventKey(gaussianEvent(0.1 + 0.2))).not.toBe(eventKey(gaussianEvent(0.3)));
    expect(eventKey(poissonGaussianEvent(0.1, 1))).not.toBe(eventKey(poissonGaussianEvent(0.1, 1.0000000000000002)));
    expect(eventKey(gaussianEvent(2, 5))).toBe(eventKey(gaussianEvent(2, 6)));
  });

  test('the schema takes nothing that the kinds do not have', () => {
    expect(PrivacyEvent.safeParse({ kind: 'not-private', count: 1, epsilon: 0 }).success).toBe(false);
    expect(
      PrivacyEvent.safeParse({ kind: 'poisson-gaussian', sampleRate: 2, noiseMultiplier: 1, count: 1 }).success,
    ).toBe(false);
  });
});

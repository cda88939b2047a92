import { expect, test } from 'vitest';
import {
  type AdaptiveConfig,
  adaptiveInit,
  adaptiveSteps,
  adaptiveUpdate,
  PUBLISHED_LADDER,
} from '../../shared/dp/adaptive-schedule.ts';

const config: AdaptiveConfig = { ladder: PUBLISHED_LADDER, accuracyAtMost: 0.6, emaBeta: 0.99, graceRounds: 200 };
const run = (accuracies: number[], c = config) => accuracies.reduce((s, a) => adaptiveUpdate(s, a, c), adaptiveInit());
const rounds = (n: number, accuracy: number) => new Array<number>(n).fill(accuracy);

test('stays while the discriminators tell fakes apart', () => {
  expect(adaptiveSteps(run(rounds(1000, 0.9)), config)).toBe(1);
});

test('climbs when they no longer do, but not before the grace is over', () => {
  expect(adaptiveSteps(run(rounds(199, 0.5)), config)).toBe(1);
  expect(adaptiveSteps(run(rounds(200, 0.5)), config)).toBe(2);
  expect(adaptiveSteps(run(rounds(399, 0.5)), config)).toBe(2);
  expect(adaptiveSteps(run(rounds(400, 0.5)), config)).toBe(5);
});

test('the threshold itself counts, and the average decides, not the last round', () => {
  expect(adaptiveSteps(run(rounds(200, 0.6)), { ...config, accuracyAtMost: 0.6 })).toBe(2);
  expect(adaptiveSteps(run([...rounds(200, 0.9), 0]), config)).toBe(1);
});

test('stays on the last rung', () => {
  const short = { ...config, ladder: [1, 2], graceRounds: 1 };
  expect(adaptiveSteps(run(rounds(10, 0.1), short), short)).toBe(2);
});

test('the first accuracy starts the average; later ones weigh 1 in 100', () => {
  const state = run([0.8, 0.7]);
  expect(state.ema).toBeCloseTo(0.99 * 0.8 + 0.01 * 0.7, 12);
  expect(state.rounds).toBe(2);
});

test('a round without a usable accuracy counts, and moves nothing', () => {
  for (const nonsense of [NaN, -1, 2, Infinity]) {
    const state = run([0.8, nonsense]);
    expect(state).toEqual({ rung: 0, ema: 0.8, rounds: 2 });
  }
  expect(run([NaN]).ema).toBeNull();
});

test('does not change its argument, and refuses a rung that is not there', () => {
  const state = Object.freeze(adaptiveInit());
  adaptiveUpdate(state, 0.1, config);
  expect(() => adaptiveSteps({ rung: 99, ema: null, rounds: 0 }, config)).toThrow(/PARAMETER_INVALID/);
});

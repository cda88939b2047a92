/**
 * How many discriminator steps a round takes, when the policy lets that number climb: a discriminator that no longer
 * tells fakes from data teaches nothing, so it gets more steps before the generator moves again.
 *
 * It follows the accuracy on fakes alone, of discriminators that are noised: post-processing, no epsilon. The coordinator
 * runs it and writes one number for all sites into the next plan. The steps it asks for are charged like any others, and
 * the run ends at the policy's `maxSteps` whatever the ladder says. Off unless the policy has `adaptiveSteps`.
 *
 * @see Bie, Kamath and Zhang 2023, https://arxiv.org/abs/2302.02936, and `dpgan/sched.py` of their code; ours counts
 *   rounds where they count generator steps, which is the same thing here.
 */
import { FedError } from '../errors.ts';

/** `[1, 2, 5, 10, …]`, as published. */
export const PUBLISHED_LADDER: readonly number[] = Object.freeze([
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000,
]);

export interface AdaptiveConfig {
  /** Steps a round, ascending. */
  readonly ladder: readonly number[];
  /** Climb when the average accuracy falls to this; published: 0.6 at epsilon 10, 0.7 at epsilon 1. */
  readonly accuracyAtMost: number;
  /** Published: 0.99. */
  readonly emaBeta: number;
  /** Rounds between two climbs, at least; published: 200. */
  readonly graceRounds: number;
}

/** Plain data: it is stored with the round. */
export interface AdaptiveState {
  /** Place on the ladder. */
  readonly rung: number;
  /** Moving average of the accuracy; null before the first round. */
  readonly ema: number | null;
  /** Since the last climb. */
  readonly rounds: number;
}

/** The state before the first round. @param rung - where to start, 0 unless a run is continued elsewhere. */
export const adaptiveInit = (rung = 0): AdaptiveState => ({ rung, ema: null, rounds: 0 });

/** Steps of the next round, for all sites. */
export function adaptiveSteps(state: AdaptiveState, { ladder }: AdaptiveConfig): number {
  const steps = ladder[state.rung];
  if (steps === undefined) throw new FedError('PARAMETER_INVALID', `rung ${state.rung} of ${ladder.length}`);
  return steps;
}

/**
 * The state after a round.
 *
 * @param fakeAccuracy - share of fakes called fake, in [0, 1], one mean over the sites that answered. Anything else
 *   (no site answered, a site that reports nonsense) leaves the average where it was: the round still counts.
 */
export function adaptiveUpdate(state: AdaptiveState, fakeAccuracy: number, config: AdaptiveConfig): AdaptiveState {
  const { emaBeta, accuracyAtMost, graceRounds, ladder } = config;
  const usable = fakeAccuracy >= 0 && fakeAccuracy <= 1;
  const ema = !usable
    ? state.ema
    : state.ema === null
      ? fakeAccuracy
      : emaBeta * state.ema + (1 - emaBeta) * fakeAccuracy;
  const rounds = state.rounds + 1;
  if (rounds >= graceRounds && ema !== null && ema <= accuracyAtMost)
    return { rung: Math.min(ladder.length - 1, state.rung + 1), ema, rounds: 0 };
  return { rung: state.rung, ema, rounds };
}

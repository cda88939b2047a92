/**
 * How many discriminator steps the next round takes where the policy lets the number climb: one for all sites, from what
 * they report of their fakes alone. Pure; the state is kept in the run's record and commits with the round.
 *
 * A site that reports nonsense is left out of the mean; one that lies can move the number within the policy's ladder and
 * no further, and its neighbours' budgets hold whatever it says.
 */
import { z } from 'zod';
import { adaptiveInit, adaptiveSteps, adaptiveUpdate } from '../../shared/dp/adaptive-schedule.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import type { FakesReport } from '../../shared/protocol/round-messages.ts';
import { scheduledSteps } from '../../shared/protocol/terms.ts';
import type { RoundTerms } from '../../shared/protocol/terms.ts';

/** What the schedule remembers between rounds. */
export const StepState = z.strictObject({
  rung: z.int().min(0),
  ema: z.number().min(0).max(1).nullable(),
  /** Since the last climb. */
  rounds: z.int().min(0),
  /** Steps of all rounds that are closed. */
  planned: z.int().min(0),
});
export type StepState = z.infer<typeof StepState>;

/** Before the first round. */
export const FIRST_STEPS: StepState = { ...adaptiveInit(), planned: 0 };

/**
 * Steps of a round that is opened for the first time.
 *
 * Guarantee: with a policy that passed its checks, the steps of all rounds together stay within `maxSteps`, and every
 * later round keeps at least the ordinary number: the ladder may only climb on what those leave. Interrupted steps that
 * sites have paid for twice count against it.
 *
 * @param entries - the most ledger entries that any site has stated for this run.
 */
export function nextSteps(terms: RoundTerms, round: number, state: StepState, entries: number): number {
  const scheduled = scheduledSteps(terms, round);
  const { adaptiveSteps: config, discriminatorSteps, maxSteps } = terms;
  if (config === null || scheduled === 0) return scheduled;
  const climbed = scheduled - discriminatorSteps + adaptiveSteps(state, config);
  const spent = Math.max(state.planned, entries - terms.momentRounds);
  const later = (terms.rounds - round - 1) * discriminatorSteps;
  return Math.max(scheduled, Math.min(climbed, maxSteps - spent - later));
}

/** The state after a round's sum was applied; undefined where the policy has no adaptive steps. */
export function stepsAfter(
  terms: RoundTerms,
  plan: Pick<RoundPlan, 'kind' | 'discriminatorSteps'>,
  state: StepState | undefined,
  fakes: FakesReport | null,
): StepState | undefined {
  if (terms.adaptiveSteps === null || plan.kind === 'moments') return state;
  const { planned, ...before } = state ?? FIRST_STEPS;
  const after = adaptiveUpdate(before, fakes?.fakeAccuracy ?? NaN, terms.adaptiveSteps);
  return { ...after, planned: planned + plan.discriminatorSteps };
}

/** One mean over sites, each counting once; null where no report is usable. */
export function meanOfFakes(reports: readonly (FakesReport | null)[]): FakesReport | null {
  const usable = reports.filter((r) => r !== null && r.fakeAccuracy >= 0 && r.fakeAccuracy <= 1) as FakesReport[];
  if (usable.length === 0) return null;
  const mean = (key: keyof FakesReport) => usable.reduce((sum, r) => sum + r[key], 0) / usable.length;
  return { fakeLoss: mean('fakeLoss'), fakeAccuracy: mean('fakeAccuracy') };
}

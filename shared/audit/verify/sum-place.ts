/** Where in its attempt a sum stands: right after the phase that opens it, and of nobody but those whose update is in. */
import { PHASE } from '../../aggregation/bfv/phases.ts';
import { numberOf, stepsOf } from '../../aggregation/secagg/phases.ts';
import type { RoundPlan } from '../../protocol/plan.ts';

export interface SumPlace {
  /** The phase that was sealed last. */
  readonly sealed: number;
  /** The phase in which its updates were sent. */
  readonly uploads: number;
}

/** By scheme: the place of the sum of a step, from 0. A round of anything but pooled steps has one. */
const PLACES: Readonly<Record<string, (step: number) => SumPlace>> = {
  clear: (step) => ({ sealed: step, uploads: step }),
  secagg: (step) => ({ sealed: numberOf('reveal', step), uploads: numberOf('upload', step) }),
  bfv: () => ({ sealed: PHASE.open, uploads: PHASE.upload }),
};

/** Whether this auditor knows where sums of a scheme stand. */
export const knowsSumsOf = (scheme: string): boolean => Object.hasOwn(PLACES, scheme);

/**
 * @param sums - how many the attempt has had.
 * @returns the place of the next; null where the plan has none left.
 */
export const sumPlace = (plan: RoundPlan, sums: number): SumPlace | null =>
  sums < stepsOf(plan) ? PLACES[plan.scheme](sums) : null;

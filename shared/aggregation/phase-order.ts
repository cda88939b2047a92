/** Which phases of an attempt may come after which. Whoever meets an order that its scheme does not have refuses it. */
import type { RoundPlan } from '../protocol/plan.ts';

/**
 * A scheme's order: pure, the same at coordinator, site and auditor.
 * @returns the phases, ascending, right after which this one may come; none for the first.
 */
export type PhaseOrder = (plan: RoundPlan, phase: number) => readonly number[];

/** Every phase, one after the other. */
export const inOrder: PhaseOrder = (_plan, phase) => (phase === 0 ? [] : [phase - 1]);

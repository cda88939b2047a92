/**
 * The phases of an attempt. Keys and shares once; then, for every step, an upload, an agreement on who is in, and the
 * opening of the masks. A round of a generator gradient or of moments has one step; a pooled round has one for each
 * discriminator step. Where everybody masks with everybody and nobody's upload is missing, a step has no agreement: its
 * number is passed over.
 */
import { FedError } from '../../errors.ts';
import type { CheckedPolicy } from '../../policy/load.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import type { PhaseOrder } from '../phase-order.ts';

type StepKind = 'upload' | 'agree' | 'reveal';
export type Phase = { readonly kind: 'keys' | 'shares' } | { readonly kind: StepKind; readonly step: number };

const STEP_KINDS: readonly StepKind[] = ['upload', 'agree', 'reveal'];
const SET_UP = 2;

export const stepsOf = (plan: RoundPlan): number => (plan.kind === 'discriminator' ? plan.discriminatorSteps : 1);

/** @throws {FedError} MESSAGE_INVALID when the plan has no such phase. */
export function phaseOf(plan: RoundPlan, phase: number): Phase {
  if (phase === 0) return { kind: 'keys' };
  if (phase === 1) return { kind: 'shares' };
  const step = Math.floor((phase - SET_UP) / STEP_KINDS.length);
  if (!(step >= 0 && step < stepsOf(plan))) throw new FedError('MESSAGE_INVALID', `secagg has no phase ${phase} here`);
  return { kind: STEP_KINDS[(phase - SET_UP) % STEP_KINDS.length], step };
}

/** The number of a step's phase. */
export const numberOf = (kind: StepKind, step: number): number =>
  SET_UP + STEP_KINDS.length * step + STEP_KINDS.indexOf(kind);

/** The phase whose answers say who masks in a step. */
export const beforeStep = (step: number): number => (step === 0 ? 1 : numberOf('reveal', step - 1));

/** Whether there are so many sites that each masks with some of the others only. */
export const isSparse = (policy: CheckedPolicy, plan: RoundPlan): boolean =>
  plan.invited.length > (policy.aggregation.graphAboveSites ?? 0);

/** One phase after the other; but on the complete graph masks may be opened right after the uploads. */
export function secaggOrder(policy: CheckedPolicy): PhaseOrder {
  return (plan, phase) => {
    const at = phaseOf(plan, phase);
    if (at.kind === 'keys') return [];
    if (at.kind !== 'reveal' || isSparse(policy, plan)) return [phase - 1];
    return [numberOf('upload', at.step), numberOf('agree', at.step)];
  };
}

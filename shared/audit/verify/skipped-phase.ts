/** Phases that a log says were passed over: whether the scheme allows it, and whether it was so. */
import { beforeStep, phaseOf, secaggOrder } from '../../aggregation/secagg/phases.ts';
import { FedError } from '../../errors.ts';
import type { CheckedPolicy } from '../../policy/load.ts';
import type { RoundPlan } from '../../protocol/plan.ts';

/**
 * What is wrong with passing over a phase; null where nothing is.
 * @param policy - null where the auditor does not have it: whether all mask with all is not checked then.
 * @param sealed - the phase before, who is in it known.
 * @param answered - who has answered, by phase.
 */
export function wrongWithSkip(
  policy: CheckedPolicy | null,
  plan: RoundPlan,
  sealed: number,
  phase: number,
  answered: ReadonlyMap<number, ReadonlySet<string>>,
): string | null {
  const step = stepOfSkip(plan, sealed, phase);
  if (step === null) return 'which no scheme passes over here';
  if (policy !== null && !secaggOrder(policy)(plan, phase + 1).includes(sealed))
    return 'which is not passed over among so many sites';
  const asked = answered.get(beforeStep(step)) ?? new Set<string>();
  const uploads = answered.get(sealed) ?? new Set();
  if (asked.size === 0) return 'though nobody was asked for an upload';
  const missing = [...asked].filter((siteId) => !uploads.has(siteId));
  return missing.length === 0 ? null : `though ${missing.sort().join(', ')} had sent nothing`;
}

/** The step whose agreement this phase is, right after its uploads; null where it is anything else. */
function stepOfSkip(plan: RoundPlan, sealed: number, phase: number): number | null {
  if (plan.scheme !== 'secagg' || phase !== sealed + 1) return null;
  try {
    const at = phaseOf(plan, phase);
    return at.kind === 'agree' ? at.step : null;
  } catch (error) {
    if (error instanceof FedError) return null;
    throw error;
  }
}

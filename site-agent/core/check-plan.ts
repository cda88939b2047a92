import type { LogHead } from '../../shared/audit/log.ts';
import { checkNotBack } from '../../shared/audit/witness.ts';
import { FedError } from '../../shared/errors.ts';
import { requireNotRewound } from '../../shared/identity/roster.ts';
import type { RosterSeen } from '../../shared/identity/roster.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { planDifferences, siteDifferences } from '../../shared/protocol/plan-differences.ts';
import type { RoundTerms } from '../../shared/protocol/terms.ts';

/** What a site remembers of a run. */
export interface Memory {
  /** The latest attempt it was shown. */
  readonly latest: { readonly round: number; readonly attempt: number } | null;
  /** SHA-256 of the plan it was shown first under this very attempt. */
  readonly shownPlan: string | null;
  /** The last head of the round log it has checked. */
  readonly logHead: LogHead | null;
  /** The last roster it has seen. */
  readonly roster: RosterSeen | null;
}

/**
 * Checks a plan, whose signature was verified, against the policy and against what this site has seen. A site can only
 * decline: nothing in a plan is corrected or merged.
 * @param p.mostSteps - the most discriminator steps an ordinary round may ask for under the policy.
 * @throws {FedError} POLICY_MISMATCH with what differs; ROUND_NOT_OPEN for a round gone by; PLAN_CHANGED for a second
 *   plan under one name; ROSTER_STALE when its roster went back; LOG_REWOUND, LOG_FORKED.
 */
export function checkPlan(p: {
  plan: RoundPlan;
  planSha256: string;
  siteId: string;
  terms: RoundTerms;
  mostSteps: number;
  memory: Memory;
}): void {
  const { plan, terms, memory } = p;
  const differences = [...planDifferences(plan, terms, p.mostSteps), ...siteDifferences(plan, p.siteId, terms)];
  if (differences.length > 0) throw new FedError('POLICY_MISMATCH', differences.join('\n'));

  const { latest, shownPlan, logHead } = memory;
  const back =
    latest !== null && (plan.round < latest.round || (plan.round === latest.round && plan.attempt < latest.attempt));
  if (back)
    throw new FedError(
      'ROUND_NOT_OPEN',
      `round ${plan.round}.${plan.attempt} after round ${latest.round}.${latest.attempt}`,
    );
  if (shownPlan !== null && shownPlan !== p.planSha256)
    throw new FedError('PLAN_CHANGED', `round ${plan.round}.${plan.attempt}: ${p.planSha256}, first ${shownPlan}`);

  requireNotRewound(plan.roster, memory.roster);
  // A plan that was shown before carries the checkpoint of then; the log has been checked beyond it since.
  if (shownPlan !== null || logHead === null) return;
  checkNotBack(logHead, plan.checkpoint);
}

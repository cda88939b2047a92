import type { LogHead } from '../../shared/audit/log.ts';
import { checkNotBack } from '../../shared/audit/witness.ts';
import { FedError } from '../../shared/errors.ts';
import { requireNotRewound } from '../../shared/identity/roster.ts';
import type { RosterSeen } from '../../shared/identity/roster.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { declaredBy, firstGeneratorRound, kindOfRound, needsCritic, publicSeedOf } from '../../shared/protocol/terms.ts';
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
  const differences = differencesOf(p.plan, p.siteId, terms, p.mostSteps);
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

/** What in a plan is not as the policy has it, one sentence each. */
function differencesOf(plan: RoundPlan, siteId: string, terms: RoundTerms, mostSteps: number): string[] {
  const found: string[] = [];
  const same = (what: string, is: string | number, wanted: string | number) => {
    if (is !== wanted) found.push(`${what} is ${is}; the policy has ${wanted}.`);
  };
  same('policySha256', plan.policySha256, terms.policySha256);
  same('scheme', plan.scheme, terms.scheme);
  same('kind', plan.kind, kindOfRound(terms, plan.round));
  same('publicSeed', plan.publicSeed, publicSeedOf(plan.runId, plan.round, terms.policySha256));
  same('the number of classes', plan.declarers.length, terms.classes);
  if (plan.round >= terms.rounds) found.push(`round is ${plan.round}; the policy has ${terms.rounds} rounds.`);
  const most = mostSteps + (plan.round === firstGeneratorRound(terms) ? terms.warmUpSteps : 0);
  const steps = plan.discriminatorSteps;
  if (steps > (plan.kind === 'moments' ? 0 : most))
    found.push(`discriminatorSteps is ${steps}; the policy has at most ${most}.`);
  if ((plan.generatorSha256 === null) !== (plan.kind === 'moments'))
    found.push('a generator round starts from a generator, a moment round from none.');
  if ((plan.criticSha256 !== null) !== needsCritic(terms, plan.round))
    found.push('a critic belongs to the moment rounds after the first, and to no other round.');
  if (!plan.invited.includes(siteId)) found.push(`${siteId} is not invited.`);
  if (new Set(plan.invited).size !== plan.invited.length) found.push('a site is invited twice.');
  if (plan.invited.length < terms.minSites)
    found.push(`${plan.invited.length} sites are invited; the policy asks for at least ${terms.minSites}.`);
  if (plan.invited.length > (terms.maxSites ?? Infinity))
    found.push(`${plan.invited.length} sites are invited; the policy allows at most ${terms.maxSites}.`);
  if (declaredBy(terms, siteId).some((k) => !(plan.declarers[k] >= 1)))
    found.push(`declarers leaves out a class that ${siteId} declares.`);
  return found;
}

import type { LogHead } from '../../shared/audit/log.ts';
import type { RosterSeen } from '../../shared/identity/roster.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { countDeclarers, kindOfRound, needsCritic, publicSeedOf, scheduledSteps } from '../../shared/protocol/terms.ts';
import type { RoundTerms } from '../../shared/protocol/terms.ts';

/** Steps for a generator round, from public numbers alone. */
export type StepSchedule = (round: number) => number;

/**
 * Writes the plan of one attempt. Pure: the same arguments, the same plan.
 *
 * A round that was void is opened again with the same steps, seed and generator, and with the same number of declarers
 * for every class somebody was asked for before: an update that a site has stored fits every attempt at its round, and
 * no site ever has a reason to make a second one.
 */
export function makePlan(p: {
  terms: RoundTerms;
  runId: string;
  round: number;
  invited: readonly string[];
  generatorSha256: string;
  /** Of the critic that was made for this round, where one was. */
  criticSha256?: string | null;
  checkpoint: LogHead;
  /** The cosigned checkpoint it rests on. */
  witnessed: string | null;
  /** The roster as it stands: an attempt keeps the one it was opened with. */
  roster: RosterSeen;
  /** The plan of the attempt before, if this round was opened already. */
  before: RoundPlan | null;
  /** Steps the next attempt has to take, where the last one took some that stay: under `pooled`. */
  stepsLeft?: number | undefined;
  schedule?: StepSchedule | undefined;
}): RoundPlan {
  const { terms, runId, round, before } = p;
  const kind = kindOfRound(terms, round);
  const steps = p.stepsLeft ?? before?.discriminatorSteps ?? p.schedule?.(round) ?? scheduledSteps(terms, round);
  const declarers = countDeclarers(terms, p.invited);
  return {
    type: 'round.plan',
    runId,
    round,
    attempt: before === null ? 0 : before.attempt + 1,
    kind,
    policySha256: terms.policySha256,
    generatorSha256: kind === 'moments' ? null : p.generatorSha256,
    criticSha256: needsCritic(terms, round) ? (p.criticSha256 ?? null) : null,
    discriminatorSteps: kind === 'moments' ? 0 : steps,
    invited: [...p.invited].sort(),
    declarers: declarers.map((count, k) => (before !== null && before.declarers[k] > 0 ? before.declarers[k] : count)),
    publicSeed: publicSeedOf(runId, round, terms.policySha256),
    scheme: terms.scheme,
    deadlineMs: terms.deadlineMs,
    roster: p.roster,
    checkpoint: p.checkpoint,
    witnessed: p.witnessed,
  };
}

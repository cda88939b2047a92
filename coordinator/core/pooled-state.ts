/** Rounds of pooled steps, as decisions: pure, beside `round-state.ts`. */
import type { LogDraft } from '../../shared/audit/entry.ts';
import { FedError } from '../../shared/errors.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import type { PooledTerms } from '../../shared/protocol/terms.ts';
import type { DiscriminatorRecord, RoundRecord } from '../store/store.ts';
import type { Decision } from './round-state.ts';

/** How many of this attempt's steps are in the discriminator. */
export const stepsTaken = (d: DiscriminatorRecord | undefined, plan: Pick<RoundPlan, 'round' | 'attempt'>): number =>
  d?.round === plan.round && d.attempt === plan.attempt ? d.steps : 0;

/**
 * Steps that are left of a round when an attempt at it fell void: what was summed is in the discriminator, and was paid
 * for. Never 0: an attempt that took all its steps was not void.
 */
export const stepsLeft = (before: RoundPlan, d: DiscriminatorRecord | undefined): number =>
  before.discriminatorSteps - stepsTaken(d, before);

/**
 * Whom a pooled round invites: a sum may lack `maxDropouts` sites and no more, so no more are invited whom nobody waits
 * for. Those in good standing come first; the others take what places are left, by name.
 */
export function inviteForSums(
  opening: { readonly invited: readonly string[]; readonly awaited: readonly string[] },
  { maxDropouts }: PooledTerms,
): readonly string[] {
  const extra = opening.invited.filter((s) => !opening.awaited.includes(s)).slice(0, maxDropouts);
  return [...opening.awaited, ...extra].sort();
}

/** What the log says of one applied step. */
export function stepApplied(
  plan: RoundPlan,
  p: {
    readonly step: number;
    readonly contributors: readonly string[];
    readonly length: number;
    readonly sumSha256: string;
    readonly discriminatorSha256: string;
  },
): LogDraft[] {
  const { round, attempt, scheme } = plan;
  const contributors = [...p.contributors].sort();
  const { length, sumSha256, step, discriminatorSha256 } = p;
  const sum = { round, attempt, scheme, contributors, length, clipNorm: null, sumSha256: [sumSha256] };
  return [
    { kind: 'aggregated', body: sum },
    { kind: 'discriminator-updated', body: { round, attempt, step, discriminatorSha256 } },
  ];
}

/** All steps are in and the generator was stepped: final. */
export function closePooledRound(
  record: RoundRecord,
  p: { readonly generatorSha256: string; readonly contributors: readonly string[] },
): Decision {
  if (record.status !== 'sealed') throw new FedError('STORE_CORRUPT', `close of a round that is ${record.status}`);
  const { round, attempt } = record.plan;
  const contributors = [...p.contributors].sort();
  const body = { round, attempt, generatorSha256: p.generatorSha256, contributors };
  return { next: { ...record, status: 'closed' }, log: [{ kind: 'generator-updated', body }] };
}

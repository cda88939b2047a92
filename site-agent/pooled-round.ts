/**
 * THE SITE'S PATH where the discriminator is pooled: steps 1 to 3 and 5 of the data's path, a phase at a time. In a phase
 * that carries a discriminator step the site pays for the step, takes its gradients at the discriminator it is shown, and
 * gives its share to the scheme; what the scheme makes of it is durable before it is sent. Steps 4 and 7 are the
 * coordinator's: the discriminator is made of opened sums and hides nothing any more.
 *
 * A share is never used in two attempts. Under a masking scheme a coordinator could otherwise open the same share in two
 * sums and learn from their difference; a new share has new patients, new noise, and an entry of its own. So entries
 * exceed steps by the kills and by the attempts that fell void after a share was made. A discriminator that never comes, or
 * is refused, costs none.
 *
 * Under a scheme that masks, a share itself is never on the disk. It stays in memory until its answer is in the outbox: a scheme that fails, or a
 * coordinator that sends it nonsense, gets the same share again and costs no second entry. Killed in between, the site
 * makes and pays for another; of the first, nothing has left.
 */
import type { SiteUpdate } from '../shared/aggregation/aggregation.ts';
import type { PrivacyEvent } from '../shared/dp/event.ts';
import { FedError } from '../shared/errors.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';
import type { TensorRef } from '../shared/protocol/round-messages.ts';
import type { SiteParts, Work } from './round.ts';
import type { StoredAnswer } from './shell/outbox.ts';

/** What `round.ts` lends: charging, sealing and sending are the same for every kind of round. */
export interface SiteTools {
  readonly charge: (p: SiteParts, plan: RoundPlan, step: number, event: PrivacyEvent) => void;
  /** Refuses a phase out of turn, before anything is charged for it. @throws {FedError} PHASE_OUT_OF_TURN */
  readonly turnOf: (p: SiteParts, plan: RoundPlan, phase: number) => number | null;
  /** A float32 tensor by its hash; what was kept before goes. */
  readonly fetchTensor: (p: SiteParts, ref: TensorRef) => Promise<Float32Array>;
  readonly sealAnswer: (p: SiteParts, plan: RoundPlan, work: Work, a: ToSeal) => Promise<StoredAnswer>;
  readonly send: (p: SiteParts, plan: RoundPlan, phase: number, stored: StoredAnswer | null) => Promise<boolean>;
}

/** The share of the step that is being answered, as it was first made. */
export class FreshShare {
  #at: { readonly name: string; readonly share: Int32Array } | null = null;

  of(plan: RoundPlan, step: number): Int32Array | null {
    return this.#at?.name === nameOf(plan, step) ? this.#at.share : null;
  }
  /** The one before goes. */
  keep(plan: RoundPlan, step: number, share: Int32Array): void {
    this.#at = { name: nameOf(plan, step), share };
  }
}
const nameOf = ({ runId, round, attempt }: RoundPlan, step: number): string => [runId, round, attempt, step].join(' ');

/** What an answer is made of. */
export interface ToSeal {
  readonly take: number;
  readonly update: SiteUpdate | null;
  readonly withFakes: boolean;
  readonly withEpsilon: boolean;
}

/** Answers one phase of a plan that was accepted. @returns false when there was nothing to send. */
export async function takePooledPhase(p: SiteParts, plan: RoundPlan, work: Work, tools: SiteTools): Promise<boolean> {
  const { outbox, scheme } = p;
  const { phase } = work;
  const { answered, refused } = outbox.standingOf(plan, phase);
  if (refused) return false;
  let made: StoredAnswer | null = null;
  if (!answered) {
    tools.turnOf(p, plan, phase);
    const step = scheme.updateStep(plan, phase);
    const update = step === null ? null : await shareOf(p, plan, work, step, tools);
    // What the ledger holds is stated once a round, with the last share.
    const withEpsilon = step === plan.discriminatorSteps - 1;
    made = await tools.sealAnswer(p, plan, work, { take: plan.attempt, update, withFakes: false, withEpsilon });
  }
  const sent = await tools.send(p, plan, phase, made);
  // The agent asks first what there is to do next.
  if (sent && made !== null) setImmediate(prepare, p, plan, phase, made);
  return sent;
}

/** Whatever goes wrong here is met again, and heard of, in the phase that needs it. */
function prepare({ scheme }: SiteParts, plan: RoundPlan, phase: number, { secret }: StoredAnswer): void {
  try {
    scheme.waiting?.({ phase, plan, secret });
  } catch {
    // As said.
  }
}

/** Steps 1 to 3 of 9: the share of one step, as it was first made in this attempt, or made now and paid for first. */
async function shareOf(p: SiteParts, plan: RoundPlan, work: Work, step: number, tools: SiteTools): Promise<SiteUpdate> {
  const { fresh, computation } = p;
  const kept = fresh.of(plan, step);
  if (kept !== null) return kept;
  const { pooled } = computation;
  if (pooled === undefined) throw new FedError('POLICY_MISMATCH', 'this site computes no pooled steps');
  if (!(step >= 0 && step < plan.discriminatorSteps))
    throw new FedError('POLICY_MISMATCH', `step ${step} of ${plan.discriminatorSteps}`);
  if (work.discriminator === null) throw new FedError('POLICY_MISMATCH', 'no discriminator to step on');
  const weights = await tools.fetchTensor(p, work.discriminator);
  pooled.checkDiscriminator(weights);
  tools.charge(p, plan, step, computation.discriminatorEvent());
  const share = await pooled.share(weights, plan);
  fresh.keep(plan, step, share);
  p.emit({ kind: 'share', round: plan.round, step: step + 1, of: plan.discriminatorSteps });
  return share;
}

/**
 * THE SITE'S PATH: steps 1 to 5 of the data's path, in order, in `takeRound`. What leaves the building is what `send`
 * sends: the answer's body, and its tensor, a clipped update made from the noised discriminator. Every result is durable
 * before the next thing happens, so the whole may be killed at any instruction and called again.
 */
import type { SiteScheme } from '../shared/aggregation/aggregation.ts';
import { packFloat32, unpackFloat32 } from '../shared/aggregation/clear.ts';
import { sha256Hex } from '../shared/audit/canonical.ts';
import { verifyChain } from '../shared/audit/log.ts';
import { EMPTY_LOG } from '../shared/audit/log.ts';
import { Stopped } from '../shared/bell.ts';
import type { Clock } from '../shared/clock.ts';
import type { PrivacyEvent } from '../shared/dp/event.ts';
import { FedError } from '../shared/errors.ts';
import type { PublicSigningKey } from '../shared/identity/jwk.ts';
import type { SiteKeys } from '../shared/identity/keys.ts';
import { CONSORTIUM, signJson, verifyJson } from '../shared/identity/signed.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import type { CoordinatorLink } from '../shared/protocol/link.ts';
import { parseMessage } from '../shared/protocol/messages.ts';
import { RoundPlan } from '../shared/protocol/plan.ts';
import type { EpsilonStatement, NextReply } from '../shared/protocol/round-messages.ts';
import {
  ANSWER_TYP,
  EPSILON_TYP,
  FakesReport,
  LogPage,
  PLAN_TYP,
  statementOf,
} from '../shared/protocol/round-messages.ts';
import { downloadTensor, uploadTensor } from '../shared/protocol/tensor-transfer.ts';
import type { RoundTerms } from '../shared/protocol/terms.ts';
import type { LifetimeBudget, RunBudget } from './core/budget.ts';
import { checkPlan } from './core/check-plan.ts';
import type { SiteComputation } from './core/computation.ts';
import { decideMove, takeFor } from './core/session.ts';
import type { SiteEvent } from './events.ts';
import type { Ledger } from './shell/ledger.ts';
import type { Outbox } from './shell/outbox.ts';
import type { RosterKeeper } from './shell/roster-keeper.ts';

export interface SiteParts {
  readonly siteId: string;
  readonly keys: SiteKeys;
  /** Pinned when the site joined. */
  readonly coordinatorKey: PublicSigningKey;
  readonly link: CoordinatorLink;
  readonly terms: RoundTerms;
  readonly mostSteps: number;
  readonly budget: RunBudget;
  readonly lifetime: LifetimeBudget | null;
  /** Refuses, once and for every plan, a policy outside this site's bounds. @throws {FedError} BOUNDS_EXCEEDED */
  readonly requireBounds: () => void;
  readonly scheme: SiteScheme;
  readonly computation: SiteComputation;
  readonly ledger: Ledger;
  readonly outbox: Outbox;
  readonly roster: RosterKeeper;
  readonly blobs: BlobStore;
  readonly maxGeneratorBytes: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly emit: (event: SiteEvent) => void;
}

export type Work = Extract<NextReply, { kind: 'work' }>;

/**
 * Answers one phase of one attempt at a round.
 * @returns false when there was nothing to send: the same request need not be asked for again before something changes.
 * @throws {FedError} a code to decline with; or LINK_LOST and ROUND_NOT_OPEN, after which the agent just asks again.
 */
export async function takeRound(p: SiteParts, work: Work): Promise<boolean> {
  const plan = await acceptPlan(p, work);
  const next = decideMove(plan.attempt, work.phase, p.outbox.answersOf(plan));
  if (next.move === 'wait') return false;
  if (next.move === 'give-up') throw new FedError('UPDATE_TOO_LARGE', `this update was refused before: ${next.code}`);
  if (next.move === 'make') {
    if (p.outbox.update(plan, next.take) === null) {
      if (plan.kind === 'moments') await sumMoments(p, plan, next.take);
      else {
        const generator = await fetchGenerator(p, plan, work);
        const discriminator = await trainDiscriminator(p, plan, next.take, generator);
        await differentiateGenerator(p, plan, next.take, generator, discriminator);
      }
    }
    await sealAnswer(p, plan, work, next.take);
  }
  return send(p, plan, work.phase);
}

/** Signature, policy, bounds, order of rounds, the log's past, the budget: everything a site can say no to. */
async function acceptPlan(p: SiteParts, work: Work): Promise<RoundPlan> {
  const { outbox, ledger, computation, budget, lifetime } = p;
  const o = { typ: PLAN_TYP, audience: CONSORTIUM, schema: RoundPlan };
  const { body: plan } = await verifyJson(work.plan, p.coordinatorKey, o);
  const planSha256 = sha256Hex(work.plan);
  const { runId } = plan;
  const shownPlan = outbox.plan(plan);
  const { roster } = p;
  const memory = { latest: outbox.latestPlan(runId), shownPlan, logHead: outbox.logHead(runId), roster: roster.seen() };
  checkPlan({ ...p, plan, planSha256, memory });
  p.requireBounds();
  if (shownPlan !== null) return plan;

  await followLog(p, plan);
  const [event, count] = chargesOf(plan, computation, outbox);
  ledger.assertAffordable({ runId, event, count, budget, lifetime });
  roster.see(plan.roster);
  outbox.addPlan(plan, planSha256);
  outbox.forgetBefore(runId, plan.round);
  p.emit({ kind: 'round-joined', round: plan.round, attempt: plan.attempt, steps: plan.discriminatorSteps });
  return plan;
}

/** What this plan will still be charged: steps that are done, for this attempt or an earlier one, are paid for. */
function chargesOf(plan: RoundPlan, computation: SiteComputation, outbox: Outbox): [PrivacyEvent, number] {
  const { runId, round, kind, discriminatorSteps } = plan;
  const take = takeFor(plan.attempt, outbox.answersOf(plan));
  const made = outbox.update(plan, take) !== null;
  if (kind === 'moments') return [computation.momentEvent(), made ? 0 : 1];
  const kept = outbox.discriminator(runId);
  const done = kept?.round === round && kept.take === take ? kept.steps : 0;
  return [computation.discriminatorEvent(), made ? 0 : discriminatorSteps - done];
}

/**
 * Reads what was logged since this site last looked, and checks that it continues the log it knows and leads to the
 * head the plan names. A log that was rewritten below that head is refused here.
 */
async function followLog(p: SiteParts, plan: RoundPlan): Promise<void> {
  const { runId, checkpoint } = plan;
  let head = p.outbox.logHead(runId) ?? EMPTY_LOG;
  while (head.size < checkpoint.size) {
    const page = parseMessage(LogPage, await p.link.call('log.read', { runId, from: head.size }));
    const upTo = page.entries.filter((e) => e.index < checkpoint.size);
    if (upTo.length === 0) throw new FedError('LOG_INVALID', `the log ends at ${head.size} of ${checkpoint.size}`);
    head = verifyChain(upTo, head);
  }
  if (head.root !== checkpoint.root)
    throw new FedError('LOG_INVALID', `entry ${head.size} is ${head.root}; the plan has ${checkpoint.root}`);
  p.outbox.putLogHead(runId, head);
}

async function fetchGenerator(p: SiteParts, plan: RoundPlan, work: Work): Promise<Float32Array> {
  const sha256 = plan.generatorSha256;
  if (sha256 === null || work.generator?.sha256 !== sha256)
    throw new FedError('POLICY_MISMATCH', 'the generator offered is not the one of the plan');
  const bytes = await downloadTensor(p.link, sha256, { maxBytes: p.maxGeneratorBytes, store: p.blobs });
  for (const old of await p.blobs.list('')) if (old.name !== sha256) await p.blobs.delete(old.name);
  const generator = unpackFloat32(bytes);
  p.computation.checkGenerator(generator);
  return generator;
}

/** Puts an entry into the ledger; only then may the step it pays for begin. */
function charge(p: SiteParts, plan: RoundPlan, step: number, event: PrivacyEvent): void {
  const { terms, budget, lifetime, clock } = p;
  const { runId, round } = plan;
  const { policySha256 } = terms;
  p.ledger.charge({ runId, policySha256, round, step, event, budget, lifetime, timeMs: clock.now() });
}

/**
 * Steps 1 to 3 of 9: the discriminator's private steps, each paid for before it is computed and durable before the next.
 *
 * Guarantee: killed between the ledger and the outbox, the step is taken anew, with fresh sampling and fresh noise, and
 * paid for again. So entries ≥ steps, and entries - steps ≤ kills.
 */
async function trainDiscriminator(
  p: SiteParts,
  plan: RoundPlan,
  take: number,
  generator: Float32Array,
): Promise<Uint8Array> {
  const { outbox, computation } = p;
  const { runId, round, discriminatorSteps } = plan;
  const kept = outbox.discriminator(runId);
  let { state, total } = kept ?? { state: await computation.initialState(plan), total: 0 };
  let steps = kept?.round === round && kept.take === take ? kept.steps : 0;
  while (steps < discriminatorSteps) {
    if (p.signal.aborted) throw new Stopped();
    charge(p, plan, steps, computation.discriminatorEvent());
    const done = await computation.discriminatorStep(state, plan, generator);
    state = done.state;
    steps += 1;
    total += 1;
    outbox.putDiscriminator(runId, { round, take, steps, total, state });
    p.emit({ kind: 'step', round, step: steps, of: discriminatorSteps, fakes: done.fakes });
  }
  return state;
}

/** Round zero's steps 1 to 3 of 9: the noised sum of embeddings, paid for first. */
async function sumMoments(p: SiteParts, plan: RoundPlan, take: number): Promise<void> {
  charge(p, plan, 0, p.computation.momentEvent());
  const update = await p.computation.noisedMoments(plan);
  p.outbox.addUpdate(plan, take, packFloat32(update));
  p.emit({ kind: 'update', round: plan.round, fakes: null });
}

/** Step 4 of 9: the generator's gradient, from the noised discriminator and fakes alone: post-processing, no entry. */
async function differentiateGenerator(
  p: SiteParts,
  plan: RoundPlan,
  take: number,
  generator: Float32Array,
  discriminator: Uint8Array,
): Promise<void> {
  const { update, fakes } = await p.computation.generatorGradient(discriminator, plan, generator);
  // JSON has no word for a loss that overflowed: such numbers stay here.
  const { data: report } = FakesReport.safeParse(fakes);
  p.outbox.addUpdate(plan, take, packFloat32(update), report ?? null);
  p.emit({ kind: 'update', round: plan.round, fakes });
}

/** Step 5 of 9: what the scheme makes of the update, signed; durable, with the scheme's secret, before it is sent. */
async function sealAnswer(p: SiteParts, plan: RoundPlan, work: Work, take: number): Promise<void> {
  const { siteId, outbox, scheme, keys, clock } = p;
  const { phase, downlink } = work;
  const bytes = outbox.update(plan, take);
  if (bytes === null) throw new FedError('STORE_CORRUPT', `no update of round ${plan.round}`);
  const secret = phase === 0 ? null : (outbox.answer(plan, phase - 1)?.secret ?? null);
  const update = unpackFloat32(bytes);
  const blob = work.blob && (await downloadTensor(p.link, work.blob.sha256, { maxBytes: p.maxGeneratorBytes }));
  const made = await scheme.answer({ phase, siteId, plan, downlink, secret, update, blob });
  const { tensor } = made.uplink;
  // As the other side will see it: what JSON drops must not be signed.
  const body = JSON.parse(JSON.stringify(made.uplink.body ?? null)) as AnswerBody;
  const tensorSha256 = tensor === null ? null : sha256Hex(tensor);
  const { runId, round, attempt } = plan;
  const fakes = phase === 0 ? outbox.fakesOf(plan, take) : null;
  const answer = { runId, round, attempt, phase, body, tensorSha256, fakes };
  const statement = statementOf(siteId, sha256Hex(work.plan), answer);
  const nowMs = clock.now();
  const signature = await signJson(keys, statement, { typ: ANSWER_TYP, audience: CONSORTIUM, nowMs });
  const epsilon = phase === 0 ? await stateEpsilon(p, plan) : null;
  outbox.addAnswer(plan, { phase, take, body, tensor, tensorSha256, secret: made.secret, fakes, signature, epsilon });
}
type AnswerBody = Parameters<typeof statementOf>[2]['body'];

/** What the ledger holds for this run, signed. */
async function stateEpsilon(p: SiteParts, plan: RoundPlan): Promise<string> {
  const { siteId, ledger, budget, keys, clock } = p;
  const { epsilon, entries } = ledger.spent(plan.runId, budget);
  const statement: EpsilonStatement = {
    siteId,
    runId: plan.runId,
    policySha256: plan.policySha256,
    epsilon: Number.isFinite(epsilon) ? epsilon : null,
    delta: budget.delta,
    entries,
    ledger: ledger.head(),
  };
  p.emit({ kind: 'epsilon', statement, atMost: budget.epsilon });
  return signJson(keys, statement, { typ: EPSILON_TYP, audience: CONSORTIUM, nowMs: clock.now() });
}

/** Sends the stored answer: the tensor first, then the message that names it. May be called any number of times. */
async function send(p: SiteParts, plan: RoundPlan, phase: number): Promise<boolean> {
  const { outbox, link } = p;
  const { runId, round, attempt } = plan;
  const answer = outbox.answer(plan, phase);
  if (answer === null) throw new FedError('STORE_CORRUPT', `no answer to round ${round}.${attempt} phase ${phase}`);
  const { body, tensor, tensorSha256, fakes, signature, epsilon } = answer;
  try {
    if (tensor !== null) await uploadTensor(link, tensor, { purpose: `round ${round}.${attempt} phase ${phase}` });
    const message = { runId, round, attempt, phase, body, tensorSha256, fakes, signature, epsilon };
    await link.call('round.answer', message);
  } catch (error) {
    if (!(error instanceof FedError) || !FOR_GOOD.includes(error.code)) throw error;
    outbox.markRefused(plan, phase, error.code);
    p.emit({ kind: 'refused', round, code: error.code, detail: error.message });
    return false;
  }
  p.emit({ kind: 'answered', round, attempt, phase });
  return true;
}

/** Refusals that the same bytes will only meet again. */
const FOR_GOOD: readonly string[] = [
  'UPDATE_NOT_FINITE',
  'UPDATE_TOO_LARGE',
  'UPDATE_SHAPE',
  'UPDATE_CHANGED',
  'TENSOR_TOO_LARGE',
  'MESSAGE_INVALID',
  'SIGNATURE_INVALID',
];

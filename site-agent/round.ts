/**
 * THE SITE'S PATH: steps 1 to 5 of the data's path, in order, in `takeRound`. What leaves the building is what `send`
 * sends: the answer's body, and its tensor, a clipped update made from the noised discriminator. Every result is durable
 * before the next thing happens, so the whole may be killed at any instruction and called again.
 */
import type { SiteScheme } from '../shared/aggregation/aggregation.ts';
import { packFloat32, packUpdate, unpackFloat32, unpackUpdate } from '../shared/aggregation/clear.ts';
import { sha256Hex } from '../shared/audit/canonical.ts';
import type { Chain } from '../shared/audit/chain.ts';
import { requireWitnesses } from '../shared/audit/witness.ts';
import { Stopped } from '../shared/bell.ts';
import type { Clock } from '../shared/clock.ts';
import type { PrivacyEvent } from '../shared/dp/event.ts';
import { FedError } from '../shared/errors.ts';
import type { PublicSigningKey } from '../shared/identity/jwk.ts';
import type { SiteKeys } from '../shared/identity/keys.ts';
import { CONSORTIUM, signJson } from '../shared/identity/signed.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import type { CoordinatorLink } from '../shared/protocol/link.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';
import type { AdoptionStatement, EpsilonStatement, NextReply, TensorRef } from '../shared/protocol/round-messages.ts';
import { ADOPTION_TYP, ANSWER_TYP, EPSILON_TYP, FakesReport, statementOf } from '../shared/protocol/round-messages.ts';
import { downloadTensor, uploadThen } from '../shared/protocol/tensor-transfer.ts';
import type { RoundTerms } from '../shared/protocol/terms.ts';
import { SOFTWARE } from '../shared/software.ts';
import { requireWholeRun } from './core/budget.ts';
import type { LifetimeBudget, RunBudget } from './core/budget.ts';
import { checkPlan } from './core/check-plan.ts';
import type { SiteComputation } from './core/computation.ts';
import { decideMove, requireTurn, takeFor } from './core/session.ts';
import type { SiteEvent } from './events.ts';
import { heedStatements, OwnStatements, requireLedgerWhole } from './ledger-watch.ts';
import { requireLeftOutWhole, stateLeftOut } from './left-out.ts';
import type { ReadPlan } from './plan-reader.ts';
import { type FreshShare, takePooledPhase, type ToSeal } from './pooled-round.ts';
import type { Ledger } from './shell/ledger.ts';
import type { Outbox, StoredAnswer } from './shell/outbox.ts';
import { cosign, followLog } from './witness.ts';
import type { RosterKeeper } from './shell/roster-keeper.ts';

export interface SiteParts {
  readonly siteId: string;
  readonly keys: SiteKeys;
  /** Pinned when the site joined. */
  readonly coordinatorKey: PublicSigningKey;
  readonly readPlan: ReadPlan;
  /** Thumbprints of this site's keys before its own of now. */
  readonly formerKeys: readonly string[];
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
  /** This site's list of patients who are left out, as it is now. Private: statements carry a commitment to it. */
  readonly leftOut: () => Chain;
  readonly roster: RosterKeeper;
  /** Of pooled steps. */
  readonly fresh: FreshShare;
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
  if (plan.kind === 'discriminator')
    return takePooledPhase(p, plan, work, { charge, turnOf, fetchTensor, sealAnswer, send });
  let made: StoredAnswer | null = null;
  const next = decideMove(plan.attempt, work.phase, p.outbox.answersOf(plan), isHidden(plan));
  if (next.move === 'wait') return false;
  if (next.move === 'give-up') throw new FedError('UPDATE_TOO_LARGE', `this update was refused before: ${next.code}`);
  if (next.move === 'make') {
    turnOf(p, plan, work.phase);
    if (p.outbox.update(plan, next.take) === null) {
      if (plan.kind === 'moments') await sumMoments(p, plan, next.take, await fetchCritic(p, plan, work));
      else {
        const generator = await fetchGenerator(p, plan, work);
        const discriminator = await trainDiscriminator(p, plan, next.take, generator);
        await differentiateGenerator(p, plan, next.take, generator, discriminator);
      }
    }
    const bytes = p.outbox.update(plan, next.take);
    if (bytes === null) throw new FedError('STORE_CORRUPT', `no update of round ${plan.round}`);
    const update = unpackUpdate(bytes, p.terms.pooled !== null);
    const first = work.phase === 0;
    made = await sealAnswer(p, plan, work, { take: next.take, update, withFakes: first, withEpsilon: first });
  }
  return send(p, plan, work.phase, made);
}

const isHidden = (plan: RoundPlan): boolean => plan.scheme !== 'clear';

/** Signature, policy, bounds, order of rounds, the log's past, the budget: everything a site can say no to. */
async function acceptPlan(p: SiteParts, work: Work): Promise<RoundPlan> {
  const { outbox, ledger, computation, budget, lifetime } = p;
  const plan = await p.readPlan(work.plan);
  const planSha256 = sha256Hex(work.plan);
  const { runId } = plan;
  const shownPlan = outbox.plan(plan);
  const { roster } = p;
  const memory = {
    latest: outbox.latestPlan(runId),
    shownPlan,
    logHead: outbox.witness(runId)?.head ?? null,
    roster: roster.seen(),
  };
  checkPlan({ ...p, plan, planSha256, memory });
  p.requireBounds();
  requireLedgerWhole(p, runId);
  requireLeftOutWhole(p);
  if (shownPlan !== null) return plan;

  await witnessPlan(p, plan);
  // A run that cannot be paid for to its end is not begun.
  if (ledger.entriesOf(runId) === 0) requireWholeRun(ledger.wholeRun({ runId, budget, lifetime }));
  const [event, count] = chargesOf(plan, computation, outbox);
  ledger.assertAffordable({ runId, event, count, budget, lifetime });
  await adoptPolicy(p, plan);
  roster.see(plan.roster);
  outbox.addPlan(plan, planSha256);
  outbox.forgetBefore(runId, plan.round);
  p.emit({ kind: 'round-joined', round: plan.round, attempt: plan.attempt, steps: plan.discriminatorSteps });
  return plan;
}

/** What this plan will still be charged: steps that are done, for this attempt or an earlier one, are paid for. */
function chargesOf(plan: RoundPlan, computation: SiteComputation, outbox: Outbox): [PrivacyEvent, number] {
  const { runId, round, kind, discriminatorSteps } = plan;
  // A share of one attempt is never used in another.
  if (kind === 'discriminator') return [computation.discriminatorEvent(), discriminatorSteps];
  const take = takeFor(plan.attempt, outbox.answersOf(plan), isHidden(plan));
  const made = outbox.update(plan, take) !== null;
  if (kind === 'moments') return [computation.momentEvent(), made ? 0 : 1];
  const kept = outbox.discriminator(runId);
  const done = kept?.round === round && kept.take === take ? kept.steps : 0;
  return [computation.discriminatorEvent(), made ? 0 : discriminatorSteps - done];
}

/**
 * Follows the log to the plan's checkpoint, sees that enough witnesses cosigned the one it rests on, and cosigns it too.
 * A log that was rewritten, or has two histories, is refused here.
 */
async function witnessPlan(p: SiteParts, plan: RoundPlan): Promise<void> {
  const { coordinatorKey: coordinator, terms } = p;
  const own = new OwnStatements(p.siteId);
  const memory = await followLog({ ...p, observe: own.observe }, plan.runId, plan.checkpoint);
  await heedStatements(p, own.take());
  requireWitnesses({ plan, coordinator, memory, quorum: terms.witnessQuorum });
  await cosign(p, plan.runId, memory);
}

/** Tells the coordinator, once per run and version of this software, under which policy this site takes part. */
async function adoptPolicy(p: SiteParts, { runId, policySha256 }: RoundPlan): Promise<void> {
  const { siteId, keys, outbox, link, clock } = p;
  if (outbox.adopted(runId) === SOFTWARE) return;
  const body: AdoptionStatement = { siteId, runId, policySha256, software: SOFTWARE };
  const o = { typ: ADOPTION_TYP, audience: CONSORTIUM, nowMs: clock.now() };
  await link.call('policy.adopt', { runId, statement: await signJson(keys, body, o) });
  outbox.putAdopted(runId, SOFTWARE);
}

async function fetchGenerator(p: SiteParts, plan: RoundPlan, work: Work): Promise<Float32Array> {
  const sha256 = plan.generatorSha256;
  if (sha256 === null || work.generator?.sha256 !== sha256)
    throw new FedError('POLICY_MISMATCH', 'the generator offered is not the one of the plan');
  const generator = await fetchTensor(p, work.generator);
  p.computation.checkGenerator(generator);
  return generator;
}

/** Downloads by hash what the plan names; anything older goes. */
export async function fetchTensor(p: SiteParts, { sha256, bytes: size }: TensorRef): Promise<Float32Array> {
  const bytes = await downloadTensor(p.link, sha256, { maxBytes: p.maxGeneratorBytes, bytes: size, store: p.blobs });
  for (const old of await p.blobs.list('')) if (old.name !== sha256) await p.blobs.delete(old.name);
  return unpackFloat32(bytes);
}

/** The network of a moment round after the first; null in the first. */
async function fetchCritic(p: SiteParts, plan: RoundPlan, work: Work): Promise<Float32Array | null> {
  const sha256 = plan.criticSha256;
  if (sha256 === null) return null;
  if (work.critic?.sha256 !== sha256)
    throw new FedError('POLICY_MISMATCH', 'the critic offered is not the one of the plan');
  const critic = await fetchTensor(p, work.critic);
  p.computation.checkCritic(critic);
  return critic;
}

/**
 * Puts an entry into the ledger; only then may the step it pays for begin. The step leaves out whom the list names now.
 * @throws {FedError} BUDGET_EXHAUSTED; STORE_CORRUPT when that list went back.
 */
export function charge(
  p: SiteParts,
  plan: Pick<RoundPlan, 'runId' | 'round'>,
  step: number,
  event: PrivacyEvent,
): void {
  const { terms, budget, lifetime, clock } = p;
  const { runId, round } = plan;
  const { policySha256 } = terms;
  requireLeftOutWhole(p);
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

/** A moment round's steps 1 to 3 of 9: the noised sum of embeddings, paid for first. */
async function sumMoments(p: SiteParts, plan: RoundPlan, take: number, critic: Float32Array | null): Promise<void> {
  charge(p, plan, 0, p.computation.momentEvent());
  const update = await p.computation.noisedMoments(plan, critic);
  p.outbox.addUpdate(plan, take, packUpdate(update));
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

/** The phase this site answered last, whose secret it keeps; null in the first. @throws {FedError} PHASE_OUT_OF_TURN */
export function turnOf({ outbox, scheme }: SiteParts, plan: RoundPlan, phase: number): number | null {
  const last = outbox.lastAnswerOf(plan);
  return requireTurn(plan.attempt, phase, last === null ? [] : [last], scheme.phasesBefore(plan, phase));
}

/**
 * Step 5 of 9: what the scheme makes of the update, signed; durable, with the scheme's secret, before it is sent.
 * @returns the answer, as it is in the outbox.
 */
async function sealAnswer(p: SiteParts, plan: RoundPlan, work: Work, a: ToSeal): Promise<StoredAnswer> {
  const { siteId, outbox, scheme, keys, clock } = p;
  const { phase, downlink } = work;
  const { take, update } = a;
  const last = turnOf(p, plan, phase);
  const secret = last === null ? null : outbox.secretOf(plan, last);
  const blob = work.blob && (await downloadTensor(p.link, work.blob.sha256, { maxBytes: p.maxGeneratorBytes }));
  const made = await scheme.answer({ phase, siteId, plan, downlink, secret, update, blob });
  const { tensor } = made.uplink;
  // As the other side will see it: what JSON drops must not be signed.
  const body = JSON.parse(JSON.stringify(made.uplink.body ?? null)) as AnswerBody;
  const tensorSha256 = tensor === null ? null : sha256Hex(tensor);
  const { runId, round, attempt } = plan;
  const fakes = a.withFakes ? outbox.fakesOf(plan, take) : null;
  const answer = { runId, round, attempt, phase, body, tensorSha256, fakes };
  const statement = statementOf(siteId, sha256Hex(work.plan), answer);
  const nowMs = clock.now();
  const signature = await signJson(keys, statement, { typ: ANSWER_TYP, audience: CONSORTIUM, nowMs });
  const epsilon = a.withEpsilon ? await stateEpsilon(p, plan) : null;
  const stored = { phase, take, body, tensor, tensorSha256, secret: made.secret, fakes, signature, epsilon };
  outbox.addAnswer(plan, stored);
  return stored;
}
type AnswerBody = Parameters<typeof statementOf>[2]['body'];

/** What the ledger holds for this run, signed. @throws {FedError} STORE_CORRUPT when the list of who is left out went back. */
export async function stateEpsilon(p: SiteParts, plan: Pick<RoundPlan, 'runId' | 'policySha256'>): Promise<string> {
  const { siteId, ledger, budget, keys, clock } = p;
  const { epsilon, entries } = ledger.spent(plan.runId, budget);
  const { events } = ledger.spending(plan.runId);
  const { runId } = plan;
  const head = ledger.head();
  const statement: EpsilonStatement = {
    siteId,
    runId,
    policySha256: plan.policySha256,
    epsilon: Number.isFinite(epsilon) ? epsilon : null,
    delta: budget.delta,
    events: events.map((event) => ({ ...event })),
    entries,
    ledger: head,
    leftOut: stateLeftOut(p.outbox, { siteId, runId, ledger: head }, p.leftOut()),
  };
  p.outbox.putStated(statement.ledger);
  p.emit({ kind: 'epsilon', statement, atMost: budget.epsilon });
  return signJson(keys, statement, { typ: EPSILON_TYP, audience: CONSORTIUM, nowMs: clock.now() });
}

/**
 * Sends the stored answer: the tensor first, then the message that names it. May be called any number of times.
 * @param stored - the answer, where it was put into the outbox a moment ago; otherwise it is read from there.
 */
async function send(p: SiteParts, plan: RoundPlan, phase: number, stored: StoredAnswer | null = null) {
  const { outbox, link } = p;
  const { runId, round, attempt } = plan;
  const answer = stored ?? outbox.answer(plan, phase);
  if (answer === null) throw new FedError('STORE_CORRUPT', `no answer to round ${round}.${attempt} phase ${phase}`);
  const { body, tensor, tensorSha256, fakes, signature, epsilon } = answer;
  const message = { runId, round, attempt, phase, body, tensorSha256, fakes, signature, epsilon };
  try {
    const sendAnswer = () => link.call('round.answer', message);
    if (tensor === null || tensorSha256 === null) await sendAnswer();
    else
      await uploadThen(
        link,
        tensor,
        { purpose: `round ${round}.${attempt} phase ${phase}`, sha256: tensorSha256, fresh: stored !== null },
        sendAnswer,
      );
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

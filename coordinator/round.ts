/**
 * THE COORDINATOR'S PATH: steps 6 to 9 of the data's path, in order, in `coordinateRound`. Every function below finds
 * in the store how far it had come and goes on from there, so the whole may be killed at any instruction and called
 * again: same plan bytes, same downlinks, and the sum applied once.
 */
import type { CoordinatorScheme, NextPhase, PhaseAnswer } from '../shared/aggregation/aggregation.ts';
import { sha256Hex, sumDigest } from '../shared/audit/canonical.ts';
import type { Clock } from '../shared/clock.ts';
import { FedError } from '../shared/errors.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { SigningKeys } from '../shared/identity/keys.ts';
import type { Roster } from '../shared/identity/roster.ts';
import { CONSORTIUM, signJson } from '../shared/identity/signed.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import { PLAN_TYP } from '../shared/protocol/round-messages.ts';
import type { TensorReceiver } from '../shared/protocol/tensor-receiver.ts';
import { leastContributors } from '../shared/protocol/terms.ts';
import type { RoundTerms } from '../shared/protocol/terms.ts';
import type { Bell } from '../shared/bell.ts';
import type { GeneratorTrainer } from './core/generator-trainer.ts';
import { makePlan } from './core/make-plan.ts';
import { inviteForSums, stepsLeft } from './core/pooled-state.ts';
import type { StepSchedule } from './core/make-plan.ts';
import { FIRST_STEPS, meanOfFakes, nextSteps, stepsAfter } from './core/step-schedule.ts';
import type { Presence } from './core/presence.ts';
import type { Served } from './core/served.ts';
import { closeRound, enterPhase, openRound, settle, voidRound } from './core/round-state.ts';
import { publishRoster } from './roster-blob.ts';
import { decideOpening } from './core/standing.ts';
import type { CoordinatorEvent } from './events.ts';
import { forgetPhaseBlobs, storePhaseBlob } from './phase-blobs.ts';
import { forgetGenerator, loadGeneratorState, storeGenerator } from './generators.ts';
import type { GeneratorRecord, PhaseKey, RoundRecord, Store, Tx } from './store/store.ts';
import { commit, enrolled, keepStandings, withoutChanged } from './run-sites.ts';
import { beginDiscriminator, takePooledRound } from './pooled-round.ts';
import { keepSum } from './kept-sums.ts';
import { footingOf, publishCheckpoint } from './witnesses.ts';

export interface RoundParts {
  readonly runId: string;
  readonly terms: RoundTerms;
  readonly store: Store;
  readonly blobs: BlobStore;
  readonly receiver: TensorReceiver;
  readonly served: Served;
  readonly scheme: CoordinatorScheme;
  readonly trainer: GeneratorTrainer;
  readonly keys: SigningKeys;
  readonly roster: () => Roster;
  readonly clock: Clock;
  readonly presence: Presence;
  /** How long a site that left is waited for, where the scheme can go on without it. */
  readonly absentMs: number;
  /** How large the whole numbers of an update may be; null where updates are floats. */
  readonly integerLimit: (plan: RoundRecord['plan']) => number | null;
  readonly bell: Bell;
  readonly signal: AbortSignal;
  readonly schedule?: StepSchedule | undefined;
  /** Whether sums are kept for auditors. */
  readonly keepSums: boolean;
  /** Tells the sites to ask again. */
  readonly wake: () => void;
  readonly emit: (event: CoordinatorEvent) => void;
  /** Step 9 of 9, where somebody has put a release there: called with every generator that was logged. */
  readonly release?: ((generator: GeneratorRecord) => Promise<void>) | undefined;
}

interface Sum {
  readonly values: Float64Array;
  readonly contributors: readonly string[];
}

/**
 * One attempt at the run's next round, or the rest of one that was interrupted.
 * @returns false when it was void: nothing of it counted, and the round is to be opened again.
 * @throws {Stopped} when the signal is aborted; the next call goes on.
 */
export async function coordinateRound(p: RoundParts): Promise<boolean> {
  await beginDiscriminator(p);
  const opened = await openOrResume(p);
  if (opened.plan.kind === 'discriminator') {
    const pooled = await takePooledRound(p, opened, { collect, closePhase, enterNext, commit });
    if (pooled === null) return false;
    await release(p, pooled);
    return true;
  }
  const sum = await sumUpdates(p, opened);
  if (sum === null) return false;
  const generator = await stepGenerator(p, opened.plan, sum);
  await logAndPublish(p, opened.plan, sum, generator);
  await release(p, generator);
  return true;
}

/** Decides who is invited, then makes the plan and its first downlinks durable before anyone is shown them. */
async function openOrResume(p: RoundParts): Promise<RoundRecord> {
  const { store, clock, terms } = p;
  const began = clock.now();
  let told = '';
  for (;;) {
    const rings = p.bell.rings;
    const now = clock.now();
    const state = await store.transaction(async (tx) => ({
      run: await tx.run(p.runId),
      latest: await tx.latestRound(p.runId),
      sites: await enrolled(p, tx),
      generator: await currentGenerator(p, tx),
      checkpoint: await tx.logHead(p.runId),
    }));
    const { run, latest } = state;
    if (run === null) throw new FedError('STORE_CORRUPT', `run ${p.runId} is not in the store`);
    const again = latest !== null && latest.plan.round === run.round;
    if (again && (latest.status === 'collecting' || latest.status === 'sealed')) return latest;

    const sites = state.sites.map((s) => ({ ...s, present: p.presence.has(s.siteId, now) }));
    const waitedMs = now - began;
    const gatherMs = terms.deadlineMs;
    const opening = decideOpening({
      sites,
      minSites: Math.max(terms.minSites, terms.quorum),
      maxSites: terms.maxSites,
      waitedMs,
      gatherMs,
    });
    const why = opening.open ? '' : opening.why;
    if (why !== told && why !== '') p.emit({ kind: 'waiting', round: run.round, why });
    told = why;
    if (!opening.open) {
      await p.bell.wait(rings, opening.againInMs === null ? null : now + opening.againInMs, clock, p.signal);
      continue;
    }
    const footing = await footingNow(p, latest);
    if (!footing.firm) {
      // Idle sites are offered the checkpoint when they ask; a site that was away comes again.
      if (footing.why !== told) p.emit({ kind: 'waiting', round: run.round, why: (told = footing.why) });
      p.wake();
      await p.bell.wait(rings, null, clock, p.signal);
      continue;
    }
    const { witnessed } = footing;
    const { checkpoint, generator } = state;
    const before = again ? latest.plan : null;
    const { awaited } = opening;
    const invited = terms.pooled === null ? opening.invited : inviteForSums(opening, terms.pooled);
    const generatorSha256 = generator.weights.sha256;
    const criticSha256 = generator.critic?.sha256 ?? null;
    const entries = sites.reduce((most, s) => Math.max(most, s.epsilon?.entries ?? 0), 0);
    const schedule = p.schedule ?? ((round: number) => nextSteps(terms, round, run.steps ?? FIRST_STEPS, entries));
    const roster = await publishRoster(p.blobs, p.roster());
    await forgetPhaseBlobs(p.blobs);
    const plan = makePlan({
      ...p,
      round: run.round,
      invited,
      generatorSha256,
      criticSha256,
      checkpoint,
      witnessed,
      roster,
      before,
      stepsLeft: before?.kind === 'discriminator' ? stepsLeft(before, run.discriminator) : undefined,
      schedule,
    });
    const jws = await signJson(p.keys, plan, { typ: PLAN_TYP, audience: CONSORTIUM, nowMs: now });
    const decision = openRound(plan, jws, sha256Hex(jws), awaited, p.scheme.firstQuorum?.(plan));
    await store.transaction(async (tx) => {
      for (const site of sites)
        if (site.standing === 'good' && !site.present)
          await tx.putSite(p.runId, { ...withoutPresence(site), standing: 'missed' });
      await publishCheckpoint(tx, p.runId, checkpoint, p.keys);
      await tx.putDownlinks(keyOf(decision.next), p.scheme.open(plan));
      await commit(p, tx, decision);
    });
    p.emit({ kind: 'round-opened', plan, awaited });
    p.wake();
    return decision.next;
  }
}

/**
 * Step 6 of 9: the sum of the updates, without opening any one of them: phase after phase, as the scheme wants it.
 * @returns null when the attempt is void.
 */
async function sumUpdates(p: RoundParts, opened: RoundRecord): Promise<Sum | null> {
  for (let record = opened; ;) {
    record = await collect(p, record);
    if (record.status === 'void') return null;
    const result = await closePhase(p, record);
    if (result === null) return null;
    if ('sum' in result) return { values: result.sum, contributors: result.contributors };
    if ('step' in result) throw new FedError('STORE_CORRUPT', 'a step of a round that is not pooled');
    record = await enterNext(p, record, result.next);
  }
}

/** A sealed phase leads into the next. @param also - commits with it or not at all. */
async function enterNext(
  p: RoundParts,
  record: RoundRecord,
  next: NextPhase,
  also?: (tx: Tx) => Promise<void>,
): Promise<RoundRecord> {
  const { phase, downlinks, quorum } = next;
  const blob = await storePhaseBlob(p.blobs, next);
  const before = p.scheme.phasesBefore(record.plan, phase);
  const decision = enterPhase(record, phase, [...downlinks.keys()], { before, blob, quorum });
  await p.store.transaction(async (tx) => {
    await also?.(tx);
    await tx.putDownlinks(keyOf(decision.next), downlinks);
    await commit(p, tx, decision);
  });
  p.emit({ kind: 'phase-opened', round: record.plan.round, attempt: record.plan.attempt, phase });
  p.wake();
  return decision.next;
}

/**
 * Waits until the phase is sealed or void. After a restart the sites have the whole deadline again: they could not
 * answer while nobody was there to listen.
 */
async function collect(p: RoundParts, record: RoundRecord): Promise<RoundRecord> {
  const { runId, round, attempt } = record.plan;
  const deadline = p.clock.now() + record.plan.deadlineMs;
  for (;;) {
    const rings = p.bell.rings;
    const now = p.clock.now();
    const deadlinePassed = now >= deadline;
    const left =
      p.scheme.goesOnWithoutAbsent === true
        ? p.presence.leftUntil(record.participants, p.absentMs)
        : new Map<string, number>();
    const absent = [...left].filter(([, until]) => now >= until).map(([siteId]) => siteId);
    const settled = await p.store.transaction(async (tx) => {
      const current = await tx.round(runId, round, attempt);
      if (current === null) throw new FedError('STORE_CORRUPT', `round ${round}.${attempt} is gone`);
      return settleNow(p, tx, current, { deadlinePassed, absent });
    });
    if (settled.status === 'void') await afterVoid(p, settled, 'ROUND_VOID', deadlinePassed);
    if (settled.status !== 'collecting') return settled;
    const soonest = Math.min(deadline, ...[...left.values()].filter((until) => until > now));
    await p.bell.wait(rings, soonest, p.clock, p.signal);
  }
}

/** Decides over an open phase as its answers stand, in the caller's transaction. @returns the attempt after it. */
export async function settleNow(
  p: RoundParts,
  tx: Tx,
  current: RoundRecord,
  o: { readonly deadlinePassed: boolean; readonly absent: readonly string[] },
): Promise<RoundRecord> {
  if (current.status !== 'collecting') return current;
  const quorum = current.quorum ?? leastContributors(p.terms, current.plan);
  const barred = await withoutChanged(p, tx, current);
  const decision = settle(barred, { quorum, ...o });
  if (decision.next !== current) {
    await commit(p, tx, decision);
    await keepStandings(p, tx, decision.next);
  }
  return decision.next;
}

async function closePhase(p: RoundParts, record: RoundRecord) {
  const answers = await countedAnswers(p, keyOf(record));
  const earlier = (before: number) => countedAnswers(p, { ...keyOf(record), phase: before });
  const { plan, phase } = record;
  try {
    const integers = p.integerLimit(plan) !== null;
    return await p.scheme.close({ plan, phase, length: p.trainer.updateLength(plan), integers, answers, earlier });
  } catch (error) {
    // The scheme found that these answers give no sum: another attempt may. Anything else is a fault of our own.
    if (!(error instanceof FedError) || error.code === 'STORE_CORRUPT') throw error;
    const decision = voidRound(record, error.code);
    await p.store.transaction(async (tx) => {
      await commit(p, tx, decision);
    });
    await afterVoid(p, decision.next, error.code, false);
    return null;
  }
}

/** The answers of a phase that is sealed. All that were accepted count: none is accepted after the seal. */
export async function countedAnswers(p: RoundParts, key: PhaseKey): Promise<ReadonlyMap<string, PhaseAnswer>> {
  const answers = new Map<string, PhaseAnswer>();
  for (const { siteId, body, tensor } of await p.store.transaction((tx) => tx.answers(key))) {
    const upload = tensor === null ? null : await p.receiver.received(siteId, tensor.sha256);
    if (tensor !== null && upload === null) throw new FedError('STORE_CORRUPT', `upload of ${siteId} is gone`);
    answers.set(siteId, { body, tensor: upload });
  }
  return answers;
}

/** Step 7 of 9: one step of the generator, or its fit to the moments; durable before anything refers to it. */
async function stepGenerator(p: RoundParts, plan: RoundRecord['plan'], sum: Sum): Promise<GeneratorRecord> {
  const { trainer, blobs, runId } = p;
  const before = await p.store.transaction((tx) => currentGenerator(p, tx));
  const state = await loadGeneratorState(blobs, runId, before);
  if (p.keepSums) await keepSum(blobs, plan, sum.values, state);
  const progress = (share: number) => p.emit({ kind: 'fitting', round: plan.round, share });
  const after =
    plan.kind === 'moments'
      ? await trainer.fitMoments(state, plan, sum.values, progress)
      : await trainer.applyGradients(state, plan, sum.values, sum.contributors);
  return storeGenerator(blobs, runId, plan.round + 1, after, trainer);
}

/**
 * Step 8 of 9: the round's end, its log entry and the new generator in one transaction.
 *
 * Guarantee: a sum is applied once. Killed before the commit, the round is worked out again from the same answers;
 * killed after it, the round is closed.
 */
async function logAndPublish(p: RoundParts, plan: RoundRecord['plan'], sum: Sum, generator: GeneratorRecord) {
  const { runId } = p;
  const { round, attempt } = plan;
  const clipNorm = plan.kind === 'moments' ? null : p.terms.updateClipNorm;
  const aggregation = { length: sum.values.length, clipNorm, sumSha256: [sumDigest(sum.values)] };
  const fakes = await p.store.transaction(async (tx) => {
    const run = await tx.run(runId);
    const record = await tx.round(runId, round, attempt);
    if (run === null || record === null || run.round !== round)
      throw new FedError('STORE_CORRUPT', `round ${round}.${attempt} is closed already`);
    const generatorSha256 = generator.weights.sha256;
    await commit(p, tx, closeRound(record, { generatorSha256, contributors: sum.contributors, ...aggregation }));
    await tx.putGenerator(runId, generator);
    // Reports come with the first phase; those of sites that are in the sum count.
    const answers = await tx.answers({ runId, round, attempt, phase: 0 });
    const mean = meanOfFakes(answers.filter((a) => sum.contributors.includes(a.siteId)).map((a) => a.fakes));
    const steps = stepsAfter(p.terms, plan, run.steps, mean);
    await tx.putRun({ ...run, round: round + 1, ...(steps && { steps }) });
    return mean;
  });
  await p.receiver.forgetAll();
  if (round > 0) await forgetGenerator(p.blobs, runId, round - 1);
  const missing = plan.invited.filter((s) => !sum.contributors.includes(s));
  const { contributors } = sum;
  const generatorSha256 = generator.weights.sha256;
  p.emit({ kind: 'round-closed', round, attempt, contributors, missing, fakes, generatorSha256 });
  p.wake();
}

/** Step 9 of 9: hands the generator to the release, which decides for itself whether an image leaves. */
async function release(p: RoundParts, generator: GeneratorRecord): Promise<void> {
  await p.release?.(generator);
}

/** What an interrupted close left of its round's uploads, when the coordinator starts again: the next may be open. */
export async function forgetUploads(p: RoundParts, round: number): Promise<void> {
  const uploads = await p.store.transaction((tx) => tx.uploadsOf(p.runId, round));
  for (const { siteId, sha256 } of uploads) await p.receiver.forget(siteId, sha256);
}

/** A void that no deadline has slowed down is followed by a pause, longer after every attempt. */
async function afterVoid(p: RoundParts, record: RoundRecord, code: ErrorCode, deadlinePassed: boolean): Promise<void> {
  const { round, attempt, deadlineMs } = record.plan;
  p.emit({ kind: 'round-void', round, attempt, code });
  p.wake();
  if (deadlinePassed) return;
  const until = p.clock.now() + Math.min(deadlineMs, 1000 * 2 ** Math.min(attempt, 20));
  while (p.clock.now() < until) await p.bell.wait(p.bell.rings, until, p.clock, p.signal);
}

/** Whether the last plan's checkpoint has been cosigned by enough sites for another plan to rest on it. */
async function footingNow({ store, runId, terms, roster }: RoundParts, latest: RoundRecord | null) {
  const lastPlan = latest?.plan.checkpoint.size ?? null;
  const quorum = terms.witnessQuorum;
  return store.transaction((tx) => footingOf(tx, { runId, lastPlan, roster: roster(), quorum }));
}

async function currentGenerator(p: RoundParts, tx: Tx): Promise<GeneratorRecord> {
  const run = await tx.run(p.runId);
  const generator = run === null ? null : await tx.generator(p.runId, run.round);
  if (generator === null) throw new FedError('STORE_CORRUPT', `run ${p.runId} has no generator`);
  return generator;
}

const keyOf = ({ plan, phase }: RoundRecord): PhaseKey => ({
  runId: plan.runId,
  round: plan.round,
  attempt: plan.attempt,
  phase,
});

const withoutPresence = <T extends { present: boolean }>({ present: _, ...site }: T) => site;

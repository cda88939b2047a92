/**
 * THE COORDINATOR'S PATH where the discriminator is pooled: a sum a step, each applied to the one discriminator and
 * durable before the next phase shows it; then the generator's steps, and the round's end. As in `round.ts`, every
 * function finds in the store how far it had come: the whole may be killed at any instruction and called again, and no
 * sum is applied twice.
 */
import type { PhaseResult, StepSum } from '../shared/aggregation/aggregation.ts';
import { sumDigest } from '../shared/audit/canonical.ts';
import { FedError } from '../shared/errors.ts';
import { kindOfRound } from '../shared/protocol/terms.ts';
import { closePooledRound, stepApplied, stepsTaken } from './core/pooled-state.ts';
import { type FakesStep, pooledTrainerOf } from './core/pooled-trainer.ts';
import type { Decision } from './core/round-state.ts';
import { stepsAfter } from './core/step-schedule.ts';
import { forgetDiscriminator, loadDiscriminator, storeDiscriminator } from './discriminators.ts';
import { forgetGenerator, loadGeneratorState, storeGenerator } from './generators.ts';
import { PooledAhead } from './pooled-ahead.ts';
import type { RoundParts } from './round.ts';
import type { DiscriminatorRecord, GeneratorRecord, RoundRecord, RunRecord, Tx } from './store/store.ts';

/** What `round.ts` lends: how a phase is waited for, closed and entered is the same for every kind of round. */
export interface PhaseTools {
  readonly collect: (p: RoundParts, record: RoundRecord) => Promise<RoundRecord>;
  readonly closePhase: (p: RoundParts, record: RoundRecord) => Promise<PhaseResult | null>;
  /** Opens the next phase; `also` commits in the same transaction. */
  readonly enterNext: (
    p: RoundParts,
    record: RoundRecord,
    next: NonNullable<Extract<PhaseResult, { step: unknown }>['next']>,
    also?: (tx: Tx) => Promise<void>,
  ) => Promise<RoundRecord>;
  readonly commit: (p: RoundParts, tx: Tx, decision: Decision) => Promise<void>;
}

/** Makes the discriminator of a run that has none yet, before its first pooled round is planned; else nothing. */
export async function beginDiscriminator(p: RoundParts): Promise<void> {
  const run = await runOf(p);
  if (kindOfRound(p.terms, run.round) !== 'discriminator' || run.discriminator !== undefined) return;
  const trainer = pooledTrainerOf(p.trainer);
  const first = { round: run.round, attempt: 0, steps: 0, total: 0 };
  const discriminator = await storeDiscriminator(p, trainer, await trainer.initialDiscriminator(), first);
  await p.store.transaction(async (tx) => {
    const now = await tx.run(p.runId);
    if (now !== null) await tx.putRun({ ...now, discriminator });
  });
}

/**
 * Steps 3 and 6 to 8 of 9 for one attempt at a round of pooled steps.
 * @returns the generator after it; null when the attempt is void. Steps it took stay in the discriminator.
 */
export async function takePooledRound(
  p: RoundParts,
  opened: RoundRecord,
  tools: PhaseTools,
): Promise<GeneratorRecord | null> {
  const summed = await sumSteps(p, opened, tools);
  if (summed === null) return null;
  return stepAndPublish(p, summed.record, summed.contributors, tools);
}

interface Summed {
  readonly record: RoundRecord;
  /** Of the last step. */
  readonly contributors: readonly string[];
}

/** Phase after phase until the last step's sum is in the discriminator. */
async function sumSteps(p: RoundParts, opened: RoundRecord, tools: PhaseTools): Promise<Summed | null> {
  const work = new PooledAhead(p, opened);
  let kept = 0;
  for (let record = opened; ;) {
    // The fakes' part is worked out while the sites work out theirs.
    await work.beginWith(record.participants);
    record = await tools.collect(p, record);
    const result = record.status === 'void' ? null : await tools.closePhase(p, record);
    if (result === null) {
      await work.finish();
      return null;
    }
    if ('sum' in result) throw new FedError('STORE_CORRUPT', 'one sum in a round of pooled steps');
    if (!('step' in result)) {
      record = await tools.enterNext(p, record, result.next);
      continue;
    }
    const { step, next } = result;
    const after = await applyStep(p, record, step, work);
    const also = after && (async (tx: Tx) => noteStep(p, tx, record, step, after));
    if (next === null) {
      await p.store.transaction(async (tx) => also?.(tx));
      if (after) tellStep(p, record, step, after.fakes);
      return { record, contributors: step.contributors };
    }
    const entered = await tools.enterNext(p, record, next, also ?? undefined);
    if (after) tellStep(p, record, step, after.fakes);
    const [over, since] = [record, kept];
    work.beforeNext(() => forgetSummed(p, over, since));
    kept = entered.phase;
    record = entered;
  }
}

/** One optimiser step on an opened sum; durable, and nothing refers to it yet. Null when it was applied before. */
async function applyStep(
  p: RoundParts,
  { plan }: RoundRecord,
  { index, sum, contributors }: StepSum,
  work: PooledAhead,
) {
  const run = await runOf(p);
  const now = run.discriminator;
  if (now === undefined) throw new FedError('STORE_CORRUPT', `run ${p.runId} has no discriminator`);
  if (stepsTaken(now, plan) > index) return null;
  if (stepsTaken(now, plan) !== index || index >= plan.discriminatorSteps)
    throw new FedError('STORE_CORRUPT', `step ${index} of round ${plan.round}.${plan.attempt} out of order`);
  const { record, state, fakes } = await work.on(now);
  const trainer = pooledTrainerOf(p.trainer);
  const after = await trainer.stepDiscriminator(state, plan, sum, contributors, fakes);
  const at = { round: plan.round, attempt: plan.attempt, steps: index + 1, total: record.total + 1 };
  const storing = storeDiscriminator(p, trainer, after, at);
  storing.catch(() => undefined);
  // While the disk is waited for.
  const sumSha256 = sumDigest(sum);
  const discriminator = await storing;
  work.moved(discriminator, after);
  return { discriminator, fakes, sumSha256 };
}

async function noteStep(
  p: RoundParts,
  tx: Tx,
  { plan }: RoundRecord,
  step: StepSum,
  { discriminator, sumSha256 }: { readonly discriminator: DiscriminatorRecord; readonly sumSha256: string },
) {
  const run = await tx.run(p.runId);
  if (run === null) throw new FedError('STORE_CORRUPT', `run ${p.runId} is not in the store`);
  await tx.putRun({ ...run, discriminator });
  const said = stepApplied(plan, {
    step: step.index,
    contributors: step.contributors,
    length: step.sum.length,
    sumSha256,
    discriminatorSha256: discriminator.weights.sha256,
  });
  for (const draft of said) await tx.appendLog(p.runId, draft, p.clock.now());
}

function tellStep(p: RoundParts, { plan }: RoundRecord, { index, contributors }: StepSum, { fakes }: FakesStep): void {
  const { round, discriminatorSteps: of } = plan;
  p.emit({ kind: 'discriminator-step', round, step: index + 1, of, contributors, fakes });
}

/**
 * Uploads and discriminators of steps that are in: nobody can ask for them any more.
 * @param since - phases before this one were seen to already.
 */
async function forgetSummed(p: RoundParts, { plan, phase }: RoundRecord, since: number): Promise<void> {
  const { runId, round, attempt } = plan;
  const { answers, run } = await p.store.transaction(async (tx) => ({
    answers: await Promise.all(
      Array.from({ length: phase + 1 - since }, (_, i) => tx.answers({ runId, round, attempt, phase: since + i })),
    ),
    run: await tx.run(runId),
  }));
  for (const { siteId, tensor } of answers.flat()) if (tensor !== null) await p.receiver.forget(siteId, tensor.sha256);
  const total = run?.discriminator?.total ?? 0;
  for (const old of [total - 1, total - 2]) await forgetDiscriminator(p, old);
}

/** Step 7 and 8 of 9: the generator's steps against the discriminator as it now is, and the round's end. */
async function stepAndPublish(
  p: RoundParts,
  record: RoundRecord,
  contributors: readonly string[],
  tools: PhaseTools,
): Promise<GeneratorRecord> {
  const { runId, blobs, store } = p;
  const { plan } = record;
  const { round, attempt } = plan;
  const trainer = pooledTrainerOf(p.trainer);
  const run = await runOf(p);
  const before = await store.transaction((tx) => tx.generator(runId, run.round));
  if (before === null || run.discriminator === undefined || run.round !== round)
    throw new FedError('STORE_CORRUPT', `round ${round}.${attempt} is closed already`);
  const from = await loadGeneratorState(blobs, runId, before);
  const judge = await loadDiscriminator(blobs, runId, run.discriminator);
  const { state, fakes } = await trainer.stepGenerator(from, judge, plan);
  const generator = await storeGenerator(blobs, runId, round + 1, state, trainer);
  const generatorSha256 = generator.weights.sha256;
  await store.transaction(async (tx) => {
    const now = await tx.run(runId);
    const current = await tx.round(runId, round, attempt);
    if (now === null || current === null || now.round !== round)
      throw new FedError('STORE_CORRUPT', `round ${round}.${attempt} is closed already`);
    await tools.commit(p, tx, closePooledRound(current, { generatorSha256, contributors }));
    await tx.putGenerator(runId, generator);
    const steps = stepsAfter(p.terms, plan, now.steps, fakes);
    await tx.putRun({ ...now, round: round + 1, ...(steps && { steps }) });
  });
  await p.receiver.forgetAll();
  for (const old of [1, 2]) await forgetDiscriminator(p, run.discriminator.total - old);
  if (round > 0) await forgetGenerator(blobs, runId, round - 1);
  const missing = plan.invited.filter((s) => !contributors.includes(s));
  p.emit({ kind: 'round-closed', round, attempt, contributors, missing, fakes, generatorSha256 });
  p.wake();
  return generator;
}

async function runOf({ store, runId }: RoundParts): Promise<RunRecord> {
  const run = await store.transaction((tx) => tx.run(runId));
  if (run === null) throw new FedError('STORE_CORRUPT', `run ${runId} is not in the store`);
  return run;
}

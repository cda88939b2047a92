import { randomUUID } from 'node:crypto';
import type { CoordinatorScheme } from '../shared/aggregation/aggregation.ts';
import { coordinatorScheme } from '../shared/aggregation/registry.ts';
import type { LogDraft } from '../shared/audit/entry.ts';
import { systemClock } from '../shared/clock.ts';
import type { Clock } from '../shared/clock.ts';
import { FedError } from '../shared/errors.ts';
import type { SigningKeys } from '../shared/identity/keys.ts';
import type { Roster } from '../shared/identity/roster.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { integerLimitOf } from '../shared/policy/pooled.ts';
import { roundTermsOf } from '../shared/policy/views.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import type { Reply, RequestHandler } from '../shared/protocol/link.ts';
import { refusal } from '../shared/protocol/messages.ts';
import { TensorReceiver } from '../shared/protocol/tensor-receiver.ts';
import type { RoundTerms } from '../shared/protocol/terms.ts';
import { Bell, Stopped } from '../shared/bell.ts';
import { SOFTWARE } from '../shared/software.ts';
import type { GeneratorTrainer } from './core/generator-trainer.ts';
import type { StepSchedule } from './core/make-plan.ts';
import { Presence } from './core/presence.ts';
import { Served } from './core/served.ts';
import type { CoordinatorEvent } from './events.ts';
import { passGate, type SimilarityOf } from './gate.ts';
import { forgetGenerator, generatorBlob, storeGenerator } from './generators.ts';
import { Desk } from './desk.ts';
import { coordinateRound, forgetUploads } from './round.ts';
import type { RoundParts } from './round.ts';
import type { GeneratorRecord, Store } from './store/store.ts';
import { publishCheckpoint } from './witnesses.ts';

export interface CoordinatorOptions {
  readonly policy: CheckedPolicy;
  /** The run to go on with, or to begin under this id; fixed by the caller so that a restart finds it again. */
  readonly runId: string;
  readonly store: Store;
  readonly blobs: BlobStore;
  readonly trainer: GeneratorTrainer;
  /** The coordinator's signing keys: sites have pinned the public one. */
  readonly identity: SigningKeys;
  /** The roster as it stands now; sites added to it are invited from the next round on. */
  readonly roster: () => Roster;
  readonly clock?: Clock;
  readonly scheme?: CoordinatorScheme;
  /** What a round takes from the policy; a test may shorten it. */
  readonly terms?: RoundTerms;
  readonly schedule?: StepSchedule;
  /** How long after its last word a site counts as present, in milliseconds. */
  readonly presenceMs?: number;
  /** How long a site that left is waited for in a scheme of short exchanges, in milliseconds. */
  readonly absentMs?: number;
  readonly onEvent?: (event: CoordinatorEvent) => void;
  /** Measures how alike the candidate's images are, where the policy has a release gate; without it none passes. */
  readonly similarity?: SimilarityOf;
  /** Keeps every generator round's sum, for auditors who take the steps again; see `kept-sums.ts`. */
  readonly keepSums?: boolean;
  /** Step 9 of 9: called with every generator that was logged. */
  readonly release?: (generator: GeneratorRecord) => Promise<void>;
}

/** Where a run stands, from the store: never ahead of what is durable. */
export interface RunStatus {
  readonly runId: string;
  readonly status: 'running' | 'finished';
  readonly outcome: 'completed' | 'stopped' | null;
  /** Rounds whose sum was applied, of how many. */
  readonly roundsDone: number;
  readonly rounds: number;
  readonly open: {
    readonly round: number;
    readonly attempt: number;
    readonly phase: number;
    readonly answered: readonly string[];
    readonly awaited: readonly string[];
  } | null;
  /** Why nothing goes on, in words; null while something does. */
  readonly waitingFor: string | null;
  readonly sites: readonly {
    readonly siteId: string;
    readonly present: boolean;
    readonly standing: string;
    readonly declined: string | null;
    readonly epsilon: number | null;
  }[];
}

/** A fresh id for a run. */
export const newRunId = (): string => randomUUID();

/**
 * One run, from its first round to its last. It answers the sites (`handle`) and drives the rounds (`run`); both work
 * on the store alone, so the process may be killed at any instruction and started again with the same arguments.
 */
export class Coordinator implements RequestHandler {
  readonly #parts: RoundParts;
  readonly #desk: Desk;
  readonly #policySha256: string;
  readonly #policy: CheckedPolicy;
  readonly #similarity: SimilarityOf | undefined;
  readonly #abort = new AbortController();
  readonly #listeners = new Set<(sites: readonly string[] | 'all') => void>();
  #running: Promise<unknown> = Promise.resolve();
  #waitingFor: string | null = null;

  constructor(o: CoordinatorOptions) {
    const terms = o.terms ?? roundTermsOf(o.policy);
    const clock = o.clock ?? systemClock;
    this.#policySha256 = terms.policySha256;
    this.#policy = o.policy;
    this.#similarity = o.similarity;
    const served = new Served();
    const receiver = new TensorReceiver({
      store: o.blobs,
      clock,
      allow: (siteId, offer) => this.#desk.allowUpload(siteId, offer),
      readable: (siteId, sha256) => this.#desk.readable(siteId, sha256),
      onServed: (siteId, sha256) => served.note(siteId, sha256),
    });
    this.#parts = {
      runId: o.runId,
      terms,
      store: o.store,
      blobs: o.blobs,
      receiver,
      served,
      scheme: o.scheme ?? coordinatorScheme(terms.scheme, { policy: o.policy, terms, roster: o.roster }),
      trainer: o.trainer,
      keys: o.identity,
      roster: o.roster,
      clock,
      presence: new Presence(o.presenceMs ?? Math.max(60_000, terms.deadlineMs)),
      absentMs: o.absentMs ?? 5_000,
      bell: new Bell(),
      integerLimit: (plan) => integerLimitOf(o.policy, plan),
      signal: this.#abort.signal,
      schedule: o.schedule,
      keepSums: o.keepSums ?? false,
      wake: () => this.#wake(),
      emit: (event) => {
        if (event.kind === 'waiting' || event.kind === 'gate-waiting') this.#waitingFor = event.why;
        if (event.kind === 'round-opened' || event.kind === 'gate-judged') this.#waitingFor = null;
        o.onEvent?.(event);
      },
      release: o.release,
    };
    this.#desk = new Desk(this.#parts);
  }

  /**
   * Begins the run, or goes on with it, and drives it to its end.
   * @returns `stopped` when `stop` was called or an operator ended the run.
   * @throws whatever is a fault and not a refusal: the store keeps the state, a restart goes on from it.
   */
  run(): Promise<'completed' | 'stopped'> {
    const running = this.#run();
    this.#running = running.catch(() => undefined);
    return running;
  }

  async #run(): Promise<'completed' | 'stopped'> {
    const p = this.#parts;
    try {
      const begun = await this.#begin();
      if (begun.outcome !== null) return begun.outcome;
      p.wake();
      while ((await this.#roundsDone()) < p.terms.rounds) await coordinateRound(p);
      await passGate(p, this.#policy, this.#similarity);
      await this.#finish('completed');
      return 'completed';
    } catch (error) {
      if (error instanceof Stopped) return 'stopped';
      throw error;
    } finally {
      await p.scheme.dispose?.();
    }
  }

  /** Stops driving rounds; an open round stays open in the store. Questions that wait are answered. Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  /** An operator ends the run for good: the open round is not closed, sites are told that the run is over. */
  async end(by: string): Promise<void> {
    await this.stop();
    await this.logOperatorAction('end-run', by);
    await this.#finish('stopped');
  }

  async handle(siteId: string, type: string, payload: unknown): Promise<Reply> {
    try {
      return { ok: true, body: await this.#desk.answer(siteId, type, payload) };
    } catch (error) {
      if (!(error instanceof FedError)) throw error;
      this.#parts.emit({ kind: 'refused', siteId, code: error.code, detail: error.message });
      return refusal(error);
    }
  }

  onWake(listener: (sites: readonly string[] | 'all') => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A site's connection closed: it counts as absent until it asks again. The shell calls this where it knows. */
  left(siteId: string): void {
    this.#parts.presence.left(siteId, this.#parts.clock.now());
    this.#desk.left(siteId);
    this.#parts.bell.ring();
  }

  /** The roster is another: whose keys were changed or revoked is not waited for in an open round. */
  rosterChanged(): void {
    this.#parts.bell.ring();
  }

  /** What an operator did, for the log. @param action - lower-case words with dashes. */
  async logOperatorAction(action: string, by: string): Promise<void> {
    await this.#log({ kind: 'operator-action', body: { action, by } });
  }

  async status(): Promise<RunStatus> {
    const { runId, store, terms, presence, clock } = this.#parts;
    const { run, latest, sites } = await store.transaction(async (tx) => ({
      run: await tx.run(runId),
      latest: await tx.latestRound(runId),
      sites: await tx.sites(runId),
    }));
    const open = latest !== null && (latest.status === 'collecting' || latest.status === 'sealed') ? latest : null;
    return {
      runId,
      status: run?.status ?? 'running',
      outcome: run?.outcome ?? null,
      roundsDone: run?.round ?? 0,
      rounds: terms.rounds,
      open: open && {
        round: open.plan.round,
        attempt: open.plan.attempt,
        phase: open.phase,
        answered: Object.keys(open.answers).sort(),
        awaited: open.awaited.filter((s) => open.answers[s] === undefined && open.out[s] === undefined),
      },
      waitingFor: run?.status === 'finished' ? null : this.#waitingFor,
      sites: sites.map(({ siteId, standing, declined, epsilon }) => ({
        siteId,
        standing,
        declined,
        present: presence.has(siteId, clock.now()),
        epsilon: epsilon?.epsilon ?? null,
      })),
    };
  }

  /** The generator as it was last logged: its record and the state's bytes. */
  async generator(): Promise<{ record: GeneratorRecord; state: Uint8Array }> {
    const { runId, store, blobs } = this.#parts;
    const record = await store.transaction(async (tx) => {
      const run = await tx.run(runId);
      return run === null ? null : tx.generator(runId, run.round);
    });
    if (record === null) throw new FedError('STORE_CORRUPT', `run ${runId} has no generator`);
    const state = await blobs.read(generatorBlob(runId, record.round, 'state'), 0, record.state.bytes);
    return { record, state };
  }

  /** Makes the run and its first generator, once; sweeps what an interrupted close left behind. */
  async #begin() {
    const p = this.#parts;
    const { runId, terms, store, blobs, trainer } = p;
    let run = await store.transaction((tx) => tx.run(runId));
    if (run === null) {
      const first = await storeGenerator(blobs, runId, 0, await trainer.initialState(), trainer);
      const policySha256 = this.#policySha256;
      run = { runId, policySha256, status: 'running', outcome: null, round: 0, software: SOFTWARE };
      const begun = run;
      await store.transaction(async (tx) => {
        await tx.putRun(begun);
        await tx.putGenerator(runId, first);
        const generatorSha256 = first.weights.sha256;
        const { scheme, rounds } = terms;
        const started = { runId, scheme, rounds, generatorSha256, software: SOFTWARE };
        await tx.appendLog(runId, { kind: 'run-started', body: started }, p.clock.now());
        await tx.appendLog(runId, { kind: 'policy-adopted', body: { policySha256 } }, p.clock.now());
      });
    }
    if (run.policySha256 !== this.#policySha256)
      throw new FedError('POLICY_MISMATCH', `run ${runId} began under policy ${run.policySha256}`);
    if (run.software !== SOFTWARE) {
      const resumed = { ...run, software: SOFTWARE };
      await store.transaction(async (tx) => {
        await tx.putRun(resumed);
        await tx.appendLog(runId, { kind: 'software-changed', body: { software: SOFTWARE } }, p.clock.now());
      });
    }
    if (run.round > 0) await forgetUploads(p, run.round - 1);
    if (run.round > 1) await forgetGenerator(blobs, runId, run.round - 2);
    p.emit({ kind: 'run-started', runId, rounds: terms.rounds, resumedAt: run.round });
    return run;
  }

  async #finish(outcome: 'completed' | 'stopped'): Promise<void> {
    const { runId, store, clock, keys, emit, wake } = this.#parts;
    const rounds = await store.transaction(async (tx) => {
      const run = await tx.run(runId);
      const generator = run === null ? null : await tx.generator(runId, run.round);
      if (run === null || generator === null) throw new FedError('STORE_CORRUPT', `run ${runId} is not in the store`);
      if (run.status === 'finished') return run.round;
      await tx.putRun({ ...run, status: 'finished', outcome });
      const body = { outcome, rounds: run.round, generatorSha256: generator.weights.sha256 };
      await tx.appendLog(runId, { kind: 'run-finished', body }, clock.now());
      await publishCheckpoint(tx, runId, await tx.logHead(runId), keys);
      return run.round;
    });
    emit({ kind: 'run-finished', outcome, rounds });
    wake();
  }

  async #roundsDone(): Promise<number> {
    const { runId, store } = this.#parts;
    return (await store.transaction((tx) => tx.run(runId)))?.round ?? 0;
  }

  async #log(draft: LogDraft): Promise<void> {
    const { runId, store, clock } = this.#parts;
    await store.transaction((tx) => tx.appendLog(runId, draft, clock.now()));
  }

  /** Questions that wait are answered; who has none here is told to ask. */
  #wake(): void {
    const answered = this.#desk.wake();
    const others = this.#parts.roster().sites.filter((s) => !answered.has(s.siteId));
    const sites = answered.size === 0 ? 'all' : others.map((s) => s.siteId);
    for (const listener of [...this.#listeners]) listener(sites);
  }
}

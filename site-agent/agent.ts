import { randomUUID } from 'node:crypto';
import type { SiteScheme } from '../shared/aggregation/aggregation.ts';
import { siteScheme } from '../shared/aggregation/registry.ts';
import { Bell, Stopped } from '../shared/bell.ts';
import { sha256Hex } from '../shared/audit/canonical.ts';
import type { Chain } from '../shared/audit/chain.ts';
import { systemClock } from '../shared/clock.ts';
import type { Clock } from '../shared/clock.ts';
import { FedError } from '../shared/errors.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { PublicSigningKey } from '../shared/identity/jwk.ts';
import type { SiteKeys } from '../shared/identity/keys.ts';
import { CONSORTIUM, signJson } from '../shared/identity/signed.ts';
import type { RosterSeen } from '../shared/identity/roster.ts';
import { requireWithinBounds } from '../shared/policy/bounds.ts';
import type { SiteBounds } from '../shared/policy/bounds.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { roundTermsOf } from '../shared/policy/views.ts';
import { MemoryBlobStore } from '../shared/protocol/blob-store.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import type { CoordinatorLink } from '../shared/protocol/link.ts';
import { parseMessage } from '../shared/protocol/messages.ts';
import { RoundPlan } from '../shared/protocol/plan.ts';
import { DECLINE_TYP, MAX_QUESTION_MS, NextReply } from '../shared/protocol/round-messages.ts';
import type { DeclineStatement } from '../shared/protocol/round-messages.ts';
import { keepPieces } from '../shared/protocol/tensor-transfer.ts';
import { mostStepsOf } from '../shared/protocol/terms.ts';
import type { RoundTerms } from '../shared/protocol/terms.ts';
import { runBudgetOf } from './core/budget.ts';
import type { RunBudget } from './core/budget.ts';
import type { SiteComputation } from './core/computation.ts';
import type { SiteEvent } from './events.ts';
import { heedStatements, OwnStatements } from './ledger-watch.ts';
import { answerGate } from './gate.ts';
import { planReader } from './plan-reader.ts';
import { FreshShare } from './pooled-round.ts';
import { takeRound } from './round.ts';
import type { SiteParts, Work } from './round.ts';
import type { Ledger } from './shell/ledger.ts';
import type { Outbox } from './shell/outbox.ts';
import { cosign, followLog } from './witness.ts';
import { RosterKeeper } from './shell/roster-keeper.ts';

export interface SiteAgentOptions {
  readonly siteId: string;
  readonly keys: SiteKeys;
  /** The coordinator's public signing key, pinned when the site joined. */
  readonly coordinatorKey: PublicSigningKey;
  readonly link: CoordinatorLink;
  readonly policy: CheckedPolicy;
  readonly bounds: SiteBounds;
  readonly ledger: Ledger;
  readonly outbox: Outbox;
  readonly computation: SiteComputation;
  readonly scheme?: SiteScheme;
  /** The roster this site was shown when it joined: no plan may go back behind it. */
  readonly joinedRoster?: RosterSeen;
  /** The list of patients who are left out, as it is now: `NO_ENTRIES` where a site can have none. */
  readonly leftOut: () => Chain;
  /** Thumbprints of signing keys this site had before: the log names them up to where they were changed. */
  readonly formerKeys?: readonly string[];
  /** A store of this site's own for downloads, nothing else in it: a file store lets them outlive a restart. */
  readonly blobs?: BlobStore;
  /** What a round takes from the policy, and what it may spend; a test may set them. */
  readonly terms?: RoundTerms;
  readonly budget?: RunBudget;
  readonly clock?: Clock;
  /** The most a generator may have, in bytes: a coordinator cannot fill a site's disk. */
  readonly maxGeneratorBytes?: number;
  /** How often to ask when nothing was heard, in milliseconds; it also tells the coordinator that the site is here. */
  readonly pollMs?: number;
  /** How long to wait after a lost link or a refusal, in milliseconds, unless woken before. */
  readonly retryMs?: number;
  readonly onEvent?: (event: SiteEvent) => void;
}

/** After these the agent asks again: the coordinator is away, or was quicker. Everything else is a reason to decline. */
const ASK_AGAIN: readonly ErrorCode[] = [
  'LINK_LOST',
  'ROUND_NOT_OPEN',
  'ROUND_VOID',
  'TENSOR_UNKNOWN',
  'TENSOR_CORRUPT',
  'NOT_AUTHENTICATED',
  'INTERNAL',
];

/**
 * A site's agent: asks what there is to do, does it, answers. A lost link is never an end; a restart goes on in the same
 * round from what the ledger and the outbox hold.
 */
export class SiteAgent {
  readonly #p: SiteParts;
  readonly #bell = new Bell();
  readonly #abort = new AbortController();
  readonly #session = randomUUID();
  readonly #pollMs: number;
  readonly #retryMs: number;
  #running: Promise<unknown> = Promise.resolve();

  constructor(o: SiteAgentOptions) {
    const terms = o.terms ?? roundTermsOf(o.policy);
    const { privacy } = o.policy;
    const agreedInsecure = privacy.mechanism === 'none-insecure' && o.bounds.allowInsecure;
    this.#pollMs = o.pollMs ?? 15_000;
    this.#retryMs = o.retryMs ?? 1_000;
    const clock = o.clock ?? systemClock;
    const roster = new RosterKeeper(o.link, o.outbox, o.joinedRoster ?? null);
    this.#p = {
      siteId: o.siteId,
      keys: o.keys,
      coordinatorKey: o.coordinatorKey,
      readPlan: planReader(o.coordinatorKey),
      formerKeys: o.formerKeys ?? [],
      link: o.link,
      terms,
      mostSteps: mostStepsOf(terms),
      budget: o.budget ?? runBudgetOf(o.policy, o.siteId),
      lifetime: agreedInsecure ? null : o.bounds.lifetime,
      requireBounds: once(() => requireWithinBounds(o.policy, o.bounds, o.siteId)),
      scheme:
        o.scheme ??
        siteScheme(terms.scheme, {
          siteId: o.siteId,
          keys: o.keys,
          policy: o.policy,
          terms,
          roster: (plan) => roster.of(plan),
          nowMs: () => clock.now(),
        }),
      computation: o.computation,
      ledger: o.ledger,
      outbox: o.outbox,
      leftOut: o.leftOut,
      roster,
      fresh: new FreshShare(),
      blobs: o.blobs ?? new MemoryBlobStore(),
      maxGeneratorBytes: o.maxGeneratorBytes ?? 256 * 1024 * 1024,
      clock,
      signal: this.#abort.signal,
      emit: (event) => o.onEvent?.(event),
    };
  }

  /**
   * Takes part until the run is over.
   * @returns how the run ended, or `stopped` when `stop` was called.
   * @throws what is a fault of this site (STORE_CORRUPT, LEDGER_REWOUND, a bug), after having declined the round.
   */
  run(): Promise<'completed' | 'stopped'> {
    const running = this.#run();
    this.#running = running.catch(() => undefined);
    return running;
  }

  /** Stops between two steps. What was made is kept; the next agent goes on in the same round. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  async #run(): Promise<'completed' | 'stopped'> {
    const stopListening = this.#p.link.onWake(() => this.#bell.ring());
    try {
      for (;;) {
        const rings = this.#bell.rings;
        const step = await this.#once();
        if (step.done) return step.outcome;
        if (step.waitMs > 0)
          await this.#bell.wait(rings, this.#p.clock.now() + step.waitMs, this.#p.clock, this.#abort.signal);
        else if (this.#abort.signal.aborted) throw new Stopped();
      }
    } catch (error) {
      if (error instanceof Stopped) return 'stopped';
      throw error;
    } finally {
      stopListening();
      await this.#p.scheme.dispose?.();
    }
  }

  /** Asks what there is to do; "nothing" may be long in coming. @throws {Stopped} */
  async #ask(): Promise<unknown> {
    const { link, signal, terms } = this.#p;
    if (signal.aborted) throw new Stopped();
    const stopped = Promise.withResolvers<never>();
    const stop = () => stopped.reject(new Stopped());
    signal.addEventListener('abort', stop);
    try {
      const waitMs = Math.min(this.#pollMs, MAX_QUESTION_MS);
      const question = { session: this.#session, waitMs, ...(terms.pooled !== null && { along: true }) };
      return await Promise.race([link.call('site.next', question), stopped.promise]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async #once(): Promise<{ done: true; outcome: 'completed' | 'stopped' } | { done: false; waitMs: number }> {
    const { emit } = this.#p;
    let work: Work | null = null;
    const askedAt = this.#p.clock.now();
    try {
      const reply = parseMessage(NextReply, await this.#ask());
      if (reply.kind === 'finished') {
        emit({ kind: 'finished', runId: reply.runId, outcome: reply.outcome });
        return { done: true, outcome: reply.outcome };
      }
      // The answer was held back for as long; if not, there was a reason, and to ask at once would be to ask without end.
      // A clock that was set back in between makes it no longer.
      if (reply.kind === 'idle')
        return { done: false, waitMs: Math.min(this.#pollMs, askedAt + this.#pollMs - this.#p.clock.now()) };
      if (reply.kind === 'witness') {
        const own = new OwnStatements(this.#p.siteId);
        const memory = await followLog({ ...this.#p, observe: own.observe }, reply.runId, reply.checkpoint);
        await heedStatements(this.#p, own.take());
        await cosign(this.#p, reply.runId, memory);
        return { done: false, waitMs: 0 };
      }
      if (reply.kind === 'gate') return { done: false, waitMs: (await answerGate(this.#p, reply)) ? 0 : this.#pollMs };
      const { along, ...rest } = reply;
      work = rest;
      const { blobs, maxGeneratorBytes } = this.#p;
      if (along !== undefined && work.discriminator !== null)
        await keepPieces(blobs, work.discriminator, along, maxGeneratorBytes);
      // After an answer the next question waits for what follows; without one it would be shown the same work again.
      return { done: false, waitMs: (await takeRound(this.#p, work)) ? 0 : this.#pollMs };
    } catch (error) {
      if (error instanceof Stopped) throw error;
      const code = error instanceof FedError ? error.code : 'INTERNAL';
      const detail = error instanceof Error ? error.message : 'unknown';
      if (error instanceof FedError && ASK_AGAIN.includes(code)) {
        if (code === 'LINK_LOST') emit({ kind: 'link-lost', detail });
        return { done: false, waitMs: this.#retryMs };
      }
      if (work !== null) await this.#decline(work, code, error instanceof FedError ? detail : 'the site failed');
      // A refused plan is the coordinator's to mend; a fault of our own is for whoever runs this site.
      if (!(error instanceof FedError) || code === 'STORE_CORRUPT' || code === 'LEDGER_REWOUND') throw error;
      if (work === null) emit({ kind: 'refused', round: -1, code, detail });
      return { done: false, waitMs: this.#pollMs };
    }
  }

  /** Says no. The plan may be one we could not verify, so its place is only repeated, not believed. */
  async #decline(work: Work, code: ErrorCode, detail: string): Promise<void> {
    const place = placeOf(work.plan);
    if (place === null) return;
    const { runId, round, attempt } = place;
    const { siteId, keys, clock, link, emit } = this.#p;
    emit({ kind: 'declined', round, code, detail });
    const statement: DeclineStatement = { siteId, runId, round, attempt, code, planSha256: sha256Hex(work.plan) };
    const o = { typ: DECLINE_TYP, audience: CONSORTIUM, nowMs: clock.now() };
    const signature = await signJson(keys, statement, o);
    // Which of its files a site cannot read says what files it has: that a list of withdrawals is among them, for one.
    const said = code === 'STORE_CORRUPT' ? 'the site failed' : detail;
    try {
      await link.call('round.decline', { runId, round, attempt, code, detail: said.slice(0, 2000), signature });
    } catch (error) {
      // Lost or too late: the same plan will be declined again, or there will be another.
      if (!(error instanceof FedError)) throw error;
    }
  }
}

function placeOf(jws: string): RoundPlan | null {
  try {
    const payload: unknown = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString('utf8'));
    const body = typeof payload === 'object' && payload !== null && 'body' in payload ? payload.body : null;
    return RoundPlan.safeParse(body).data ?? null;
  } catch {
    return null;
  }
}

/** Runs a check the first time and repeats its answer. */
function once(check: () => void): () => void {
  let known: { error: unknown } | 'passed' | null = null;
  return () => {
    if (known === null) {
      try {
        check();
        known = 'passed';
      } catch (error) {
        known = { error };
      }
    }
    if (known !== 'passed') throw known.error;
  };
}

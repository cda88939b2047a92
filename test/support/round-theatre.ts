/**
 * Coordinator and sites in one process, each of which may die at any operation and be started again on what it had
 * stored, over links that lose requests and replies. Nothing here sleeps: the clock is turned whenever all is quiet.
 */
import type { Coordinator } from '../../coordinator/coordinator.ts';
import { hashJson } from '../../shared/audit/canonical.ts';
import { bodyOf } from '../../shared/audit/jws-body.ts';
import type { GeneratorTrainer } from '../../coordinator/core/generator-trainer.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { Store } from '../../coordinator/store/store.ts';
import { FedError } from '../../shared/errors.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { GateReply, RoundAnswer } from '../../shared/protocol/round-messages.ts';
import type { SiteBounds } from '../../shared/policy/bounds.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { CrashPoint } from './crash-point.ts';
import { ManualClock } from './manual-clock.ts';
import { turned } from './quiet.ts';
import { RUN_ID, StubComputation, agentOf, coordinatorOf } from './round-rig.ts';
import type { Cast } from './round-rig.ts';

/** What a process dies of here; it is caught nowhere but in this file. */
class Crash extends Error {
  override readonly name = 'Crash';
}

export interface Script {
  /** Per role, at which operation each of its lives ends; the life after the last is undisturbed. */
  readonly deaths: Readonly<Record<string, readonly number[]>>;
  /** Whether the next message is lost: its request, its reply, or neither. */
  readonly lose?: (siteId: string, type: string) => 'request' | 'reply' | 'nothing';
  /** Whether transactions may die in their middle; otherwise between one another. */
  readonly insideTransactions?: boolean;
  /** Whether no two computations give the same result, as with real noise. */
  readonly fresh?: boolean;
  /** A broken site, for positive controls: it loses its outbox with every life. */
  readonly forgetful?: string;
  /** Other players than the ordinary stubs, and what sites agree to. */
  readonly players?: {
    readonly computation: (siteId: string, policy: CheckedPolicy, fresh?: boolean) => StubComputation;
    readonly trainer: () => GeneratorTrainer;
    readonly bounds: SiteBounds;
  };
}

export interface Ending {
  readonly store: Store;
  readonly generator: string;
  readonly ledgers: ReadonlyMap<string, Ledger>;
  readonly outboxes: ReadonlyMap<string, Outbox>;
  /** Steps that were computed, per site, over all its lives. */
  readonly steps: ReadonlyMap<string, number>;
  /** Answers to the release gate that were worked out, per site. */
  readonly gateCalls: ReadonlyMap<string, number>;
  readonly kills: ReadonlyMap<string, number>;
  /** Operations of each role's last life. */
  readonly passed: ReadonlyMap<string, number>;
  /** `site round attempt phase` to the digests of all answers that were sent for it. */
  readonly sent: ReadonlyMap<string, ReadonlySet<string>>;
}

export async function play(cast: Cast, policy: CheckedPolicy, script: Script): Promise<Ending> {
  const clock = new ManualClock();
  const disk = new MemoryStore();
  const blobs = new MemoryBlobStore();
  const ids = [...cast.sites.keys()];
  const ledgers = new Map(ids.map((id) => [id, new Ledger(':memory:')]));
  const outboxes = new Map(ids.map((id) => [id, new Outbox(':memory:')]));
  const played = script.players?.computation ?? ((...args) => new StubComputation(...args));
  const computations = new Map(ids.map((id) => [id, played(id, policy, script.fresh)]));
  const kills = new Map([...ids, 'coordinator'].map((role) => [role, 0]));
  const passed = new Map<string, number>();
  const sent = new Map<string, Set<string>>();
  const faults: unknown[] = [];
  let current: Coordinator | null = null;
  /** Rejects when the coordinator of now dies: its connections end with it, and whatever waited on them. */
  let ended: Promise<never> = new Promise(() => undefined);
  let wakes: (() => void)[] = [];
  let leave: () => void = () => undefined;
  const heardByAll = new Promise<void>((resolve) => (leave = resolve));

  /** Lives one life after the other until one comes to an end. */
  const live = async (
    role: string,
    life: (crash: CrashPoint, dead: Promise<never>) => Promise<void>,
  ): Promise<void> => {
    for (let lives = 0; ; lives++) {
      let die: (crash: Crash) => void = () => undefined;
      const dead = new Promise<never>((_, reject) => (die = reject));
      dead.catch(() => undefined);
      const crash = new CrashPoint(script.deaths[role]?.[lives] ?? null, (where) => {
        const end = new Crash(where);
        die(end);
        throw end;
      });
      try {
        await life(crash, dead);
        passed.set(role, crash.passed);
        return;
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        kills.set(role, kills.get(role)! + 1);
      }
    }
  };

  const coordinator = live('coordinator', async (crash, dead) => {
    const store = crash.around('store', {
      transaction: (body) =>
        disk.transaction((tx) => body(script.insideTransactions === true ? crash.around('tx', tx) : tx)),
      close: () => disk.close(),
    } satisfies Store);
    const trainer = script.players && { trainer: script.players.trainer() };
    const mine = coordinatorOf(cast, policy, { store, blobs: crash.around('blobs', blobs), clock, ...trainer });
    current = mine;
    const lost = Promise.withResolvers<never>();
    lost.promise.catch(() => undefined);
    ended = lost.promise;
    const stops = wakes.map((wake) => mine.onWake(wake));
    for (const wake of wakes) wake();
    try {
      // It stays until every site has heard how the run ended: it may die while it tells them.
      await Promise.race([mine.run().then(() => heardByAll), dead]);
    } finally {
      for (const stop of stops) stop();
      lost.reject(new FedError('LINK_LOST', 'the coordinator is gone'));
    }
  });

  const linkOf = (id: string): CoordinatorLink => ({
    async call(type, payload) {
      const loss = script.lose?.(id, type) ?? 'nothing';
      const at = current;
      if (type === 'gate.answer') {
        const { answer } = GateReply.parse(payload);
        sent.set(`${id} gate`, (sent.get(`${id} gate`) ?? new Set()).add(JSON.stringify(bodyOf(answer))));
      }
      // What has left the building counts as sent, whether it arrived or not.
      if (type === 'round.answer') {
        const { round, attempt, phase, tensorSha256, body } = RoundAnswer.parse(payload);
        const key = `${id} ${round} ${attempt} ${phase}`;
        sent.set(key, (sent.get(key) ?? new Set()).add(`${tensorSha256} ${hashJson(body)}`));
      }
      if (loss === 'request' || at === null) throw new FedError('LINK_LOST', 'request lost');
      const body = await Promise.race([directLink(at, id).call(type, payload), ended]);
      if (loss === 'reply' || at !== current) throw new FedError('LINK_LOST', 'reply lost');
      return body;
    },
    onWake(listener) {
      wakes.push(listener);
      const stop = current?.onWake(listener);
      return () => {
        wakes = wakes.filter((w) => w !== listener);
        stop?.();
      };
    },
    close: async () => undefined,
  });

  const sites = ids.map((id) =>
    live(id, async (crash, dead) => {
      if (id === script.forgetful) outboxes.set(id, new Outbox(':memory:'));
      const agent = agentOf(cast, policy, id, crash.around('link', linkOf(id)), {
        ledger: crash.around('ledger', ledgers.get(id)!),
        outbox: crash.around('outbox', outboxes.get(id)!),
        computation: computations.get(id)!,
        clock,
        ...(script.players && { bounds: script.players.bounds }),
      });
      await Promise.race([agent.run(), dead]);
    }),
  );

  let over = false;
  const all = Promise.all([coordinator, Promise.all(sites).then(leave)]).then(
    () => (over = true),
    (error: unknown) => {
      faults.push(error);
      over = true;
    },
  );
  // When nothing moves for a while, somebody waits for time to pass.
  for (let idle = 0; !over;) {
    if (!(await turned())) continue;
    idle += 1;
    if (idle % 40 === 0) clock.advance(1000);
    if (idle > 400_000) throw new Error('the play does not end');
  }
  await all;
  if (faults.length > 0) throw faults[0];

  const record = await disk.transaction(async (tx) => {
    const run = await tx.run(RUN_ID);
    return tx.generator(RUN_ID, run!.round);
  });
  const steps = new Map([...computations].map(([id, c]) => [id, c.steps]));
  const gateCalls = new Map([...computations].map(([id, c]) => [id, c.gateCalls]));
  return { store: disk, generator: record!.weights.sha256, ledgers, outboxes, steps, gateCalls, kills, passed, sent };
}

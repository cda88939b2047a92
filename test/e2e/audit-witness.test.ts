import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { cosigners, openCheckpoint } from '../../shared/audit/checkpoint.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import type { BlobStore } from '../../shared/protocol/blob-store.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { type Player, declinesOf, enter, refusalsOf, until } from '../support/audit-rig.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { RUN_ID, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { Tap } from '../support/round-hand.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-witness-'));
afterAll(() => rmSync(folder, { recursive: true }));

const witnessed = (
  note: string,
  coordinator: Parameters<typeof openCheckpoint>[2],
  keys: Parameters<typeof cosigners>[1],
) => cosigners(openCheckpoint(note, RUN_ID, coordinator).note, keys);

test('every plan but the first rests on a checkpoint with the quorum of cosignatures, and the end is cosigned by all', async () => {
  const policy = testPolicy({ witnessQuorum: 3 });
  const cast = castOf(3);
  const [store, clock, tap] = [new MemoryStore(), new ManualClock(), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { store, clock, onEvent: tap.hear });
  const players = [...cast.sites.keys()].map((id) => enter(cast, policy, id, coordinator, { clock }));
  let over = false;
  void Promise.all([coordinator.run(), ...players.map((p) => p.running)]).then(() => (over = true));
  await until(clock, () => over);

  const key = publicPart(cast.coordinator.signing);
  const keys = new Map([...cast.sites].map(([id, k]) => [id, publicPart(k.signing)]));
  const plans = tap.of('round-opened').map((e) => e.plan);
  expect(plans).toHaveLength(4);
  expect(plans[0].witnessed).toBeNull();
  for (const [i, plan] of plans.entries()) {
    if (i === 0) continue;
    expect(openCheckpoint(plan.witnessed!, RUN_ID, key).head).toEqual(plans[i - 1].checkpoint);
    expect(witnessed(plan.witnessed!, key, keys)).toEqual([...cast.sites.keys()]);
  }
  const { log, last } = await store.transaction(async (tx) => ({
    log: await tx.log(RUN_ID, 0, 10_000),
    last: (await tx.checkpoints(RUN_ID, 0)).at(-1)!,
  }));
  const note = last.note + last.cosignatures.map((c) => c.line).join('');
  expect(openCheckpoint(note, RUN_ID, key).head).toEqual(headOfEntries(log));
  expect(witnessed(note, key, keys)).toEqual([...cast.sites.keys()]);
  // Each site said once, signed, under which policy and software it takes part.
  expect(log.filter((e) => e.kind === 'site-adopted')).toHaveLength(3);
});

test('a witness that was away catches up, and the run goes on when the quorum is there again', async () => {
  // Three of four make up a round; its checkpoint needs all four.
  const policy = testPolicy({ witnessQuorum: 4, minSites: 3, quorum: 3, deadlineSeconds: 10 });
  const cast = castOf(4);
  const [clock, tap] = [new ManualClock(), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { clock, onEvent: tap.hear });
  const [late, ...others] = [...cast.sites.keys()];
  const players = others.map((id) => enter(cast, policy, id, coordinator, { clock }));
  let over = false;
  const run = coordinator.run().then(() => (over = true));
  await until(clock, () => tap.of('waiting').some((e) => e.why.includes('cosignatures')));
  expect(tap.of('waiting').at(-1)!.why).toBe(`the last checkpoint has 3 of 4 cosignatures, ${late} has not cosigned`);
  expect(tap.of('round-closed')).toHaveLength(1);
  players.push(enter(cast, policy, late, coordinator, { clock }));
  await until(clock, () => over);
  await run;
  expect(tap.of('round-closed')).toHaveLength(4);
  expect(players.flatMap(declinesOf)).toEqual([]);
});

/** A coordinator that asks for no cosignatures itself, so that it may cheat; its sites ask for four. */
interface Fork {
  readonly coordinator: Coordinator;
  readonly tap: Tap;
  players: Player[];
}

/** Five sites run together for a while; then the store is copied, and two histories go on from it. */
async function forked(clock: ManualClock) {
  const policy = testPolicy({ rounds: 8, witnessQuorum: 4, minSites: 3, quorum: 3, deadlineSeconds: 10 });
  const careless = { ...roundTermsOf(policy), witnessQuorum: 0 };
  const cast = castOf(5);
  const ids = [...cast.sites.keys()];
  const own = new Map(ids.map((id) => [id, { ledger: new Ledger(':memory:'), outbox: new Outbox(':memory:') }]));
  const n = performance.now();
  const path = (name: string) => join(folder, `${name}-${n}.sqlite`);
  const begin = (name: string, blobs: BlobStore): Fork => {
    const tap = new Tap();
    const store = new SqliteStore(path(name));
    const o = { store, blobs, clock, terms: careless, onEvent: tap.hear };
    return { coordinator: coordinatorOf(cast, policy, o), tap, players: [] };
  };
  const blobs = new MemoryBlobStore();
  const honest = begin('one', blobs);
  honest.players = ids.map((id) => enter(cast, policy, id, honest.coordinator, { clock, ...own.get(id) }));
  void honest.coordinator.run();
  await until(clock, () => honest.tap.of('round-closed').length >= 3);
  const rest = Promise.all([honest.coordinator.stop(), ...honest.players.map((p) => p.stop())]);
  let still = false;
  void rest.then(() => (still = true));
  await until(clock, () => still);
  expect(honest.players.flatMap(declinesOf)).toEqual([]);

  const twin = new MemoryBlobStore();
  for (const { name, bytes } of await blobs.list('')) await twin.put(name, await blobs.read(name, 0, bytes));
  copyFileSync(path('one'), path('two'));
  const wal = `${path('one')}-wal`;
  copyFileSync(wal, `${path('two')}-wal`);
  const [a, b] = [begin('one', blobs), begin('two', twin)];
  return { policy, cast, ids, own, a, b };
}

test.each([
  ['nobody', 0],
  ['one site of five', 1],
])('a coordinator with two histories is caught at the next round, colluding with %s', async (_, colluders) => {
  const clock = new ManualClock();
  const { policy, cast, ids, own, a, b } = await forked(clock);
  const split = colluders === 0 ? [ids.slice(0, 3), ids.slice(3)] : [ids.slice(0, 3), ids.slice(2)];
  const accomplice = colluders === 0 ? null : ids[2];
  // The accomplice lends its keys to both histories: another memory for each, and no question asked. Its ledger holds the
  // steps of both, or it would be caught by its own statements.
  const terms = { ...roundTermsOf(policy), witnessQuorum: 0 };
  for (const [fork, sites] of [
    [a, split[0]],
    [b, split[1]],
  ] as const) {
    fork.players = sites.map((id) => {
      const parts =
        id === accomplice ? { terms, ledger: own.get(id)!.ledger, outbox: new Outbox(':memory:') } : own.get(id);
      return enter(cast, policy, id, fork.coordinator, { clock, ...parts });
    });
    void fork.coordinator.run();
  }
  const honest = [...a.players, ...b.players].filter((p) => p.siteId !== accomplice);
  const forksWithRounds = [a, b].filter((f) => f.players.length >= 3);
  await until(clock, () => forksWithRounds.every((f) => f.players.some((p) => declinesOf(p).length > 0)));
  for (const fork of forksWithRounds) {
    // One round more than the shared history at most: the plan after it has no quorum to rest on.
    expect(fork.tap.of('round-closed').length).toBeLessThanOrEqual(2);
    for (const p of fork.players)
      if (p.siteId !== accomplice) expect(declinesOf(p)[0] ?? 'WITNESSES_MISSING').toBe('WITNESSES_MISSING');
  }
  expect(honest.flatMap(declinesOf).length).toBeGreaterThan(0);
  await Promise.all([a, b].flatMap((f) => [f.coordinator.stop(), ...f.players.map((p) => p.stop())]));
});

test('a site that is shown the other history refuses it by code, at once', async () => {
  const clock = new ManualClock();
  const { policy, cast, ids, own, a, b } = await forked(clock);
  a.players = ids.slice(0, 3).map((id) => enter(cast, policy, id, a.coordinator, { clock, ...own.get(id) }));
  b.players = ids.slice(2).map((id) => {
    const parts = id === ids[2] ? { ledger: new Ledger(':memory:'), outbox: new Outbox(':memory:') } : own.get(id);
    return enter(cast, policy, id, b.coordinator, { clock, ...parts });
  });
  void a.coordinator.run();
  void b.coordinator.run();
  await until(clock, () => [a, b].every((f) => f.players.some((p) => declinesOf(p).length > 0)));
  const moved = a.players[0];
  // It has checked, and cosigned, what only this history holds: this plan's checkpoint, or by now a later one.
  const onlyHere = a.tap.of('round-opened').at(-1)!.plan.checkpoint;
  await until(clock, () => own.get(moved.siteId)!.outbox.witness(RUN_ID)!.head.size >= onlyHere.size);
  await moved.stop();
  // The same site, its memory with it, now at the coordinator of the other history.
  const again = enter(cast, policy, moved.siteId, b.coordinator, { clock, ...own.get(moved.siteId) });
  await until(clock, () => [...declinesOf(again), ...refusalsOf(again)].length > 0);
  expect([...declinesOf(again), ...refusalsOf(again)][0]).toMatch(/^LOG_(FORKED|REWOUND)$/);
  await Promise.all([
    again.stop(),
    ...[a, b].flatMap((f) => [f.coordinator.stop(), ...f.players.map((p) => p.stop())]),
  ]);
});

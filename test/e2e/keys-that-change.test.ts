/** Sites that leave, keys that change, on either side, in the middle of a run: what goes on, and what an auditor sees. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { exportAudit } from '../../cli/audit/export-folder.ts';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import { type KeyChange, keyChangeOf } from '../../coordinator/key-change.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { draftOf } from '../../shared/audit/log.ts';
import { publicPart, thumbprint } from '../../shared/identity/jwk.ts';
import { createSigningKeys, createSiteKeys, publicKeys, type SigningKeys } from '../../shared/identity/keys.ts';
import { type Roster, signRoster, withoutSite, withSite } from '../../shared/identity/roster.ts';
import { signSuccession } from '../../shared/identity/succession.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { declinesOf, enter, until } from '../support/audit-rig.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { castOf, coordinatorOf, MASKED, RUN_ID, testPolicy } from '../support/round-rig.ts';
import { Hand, Tap } from '../support/round-hand.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-keys-'));
afterAll(() => rmSync(folder, { recursive: true }));

const logOf = (store: MemoryStore) =>
  store.transaction(async (tx) => (await tx.log(RUN_ID, 0, 10_000)).map((e) => ({ ...draftOf(e), index: e.index })));

test('a site that is revoked in an open round is not waited for; the run goes on while enough are left', async () => {
  const policy = testPolicy({ rounds: 3, minSites: 3, quorum: 3 });
  const cast = castOf(4);
  let roster: Roster = cast.roster;
  const [store, clock, tap] = [new MemoryStore(), new ManualClock(), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { store, clock, onEvent: tap.hear, roster: () => roster });
  const [gone, ...rest] = [...cast.sites.keys()];
  // It comes, and never answers.
  const silent = new Hand(coordinator, gone, cast.sites.get(gone)!);
  const run = coordinator.run();
  await tap.when('run-started');
  await silent.next();
  const players = rest.map((id) => enter(cast, policy, id, coordinator, { clock }));
  await tap.when('round-opened');
  expect(tap.of('round-opened')[0].awaited).toContain(gone);
  const began = clock.now();
  await tap.when('answered', 3);
  expect(tap.of('round-closed')).toHaveLength(0);
  roster = withoutSite(roster, gone);
  coordinator.rosterChanged();
  await tap.when('round-closed');
  expect(clock.now(), 'no deadline had to pass').toBe(began);
  await until(clock, () => tap.of('run-finished').length > 0);
  await Promise.all([run, ...players.map((p) => p.running)]);

  const log = await logOf(store);
  const refused = log.filter((e) => e.kind === 'refused');
  expect(refused.map((e) => [e.body.siteId, e.body.code])).toEqual([[gone, 'KEYS_CHANGED']]);
  const sealed = log.find((e) => e.kind === 'sealed')!;
  expect(sealed.body).toMatchObject({ missing: [gone], why: { [gone]: 'KEYS_CHANGED' } });
  expect(log.filter((e) => e.kind === 'site-revoked').map((e) => e.body.siteId)).toEqual([gone]);
  expect(
    tap
      .of('round-opened')
      .slice(1)
      .every((e) => !e.plan.invited.includes(gone)),
  ).toBe(true);
  expect(players.flatMap(declinesOf)).toEqual([]);
});

test('under masks a site that is revoked between two phases costs nobody a deadline either', async () => {
  const aggregation = { ...MASKED, maxSites: 5, maxDropouts: 1 };
  const policy = testPolicy({ rounds: 2, minSites: 4, quorum: 3, aggregation });
  const cast = castOf(5);
  let roster: Roster = cast.roster;
  const [store, clock, tap] = [new MemoryStore(), new ManualClock(), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { store, clock, onEvent: tap.hear, roster: () => roster });
  const ids = [...cast.sites.keys()];
  const players = ids.map((id) => enter(cast, policy, id, coordinator, { clock }));
  const run = coordinator.run();
  const [gone, ...rest] = players;
  await tap.when('phase-opened');
  // The process of the thief, or of the site that left, says nothing more; nobody told the coordinator that it has gone.
  const stopped = gone.stop();
  const began = clock.now();
  roster = withoutSite(roster, gone.siteId);
  coordinator.rosterChanged();
  await tap.when('round-closed');
  expect(clock.now() - began, 'no deadline had to pass').toBeLessThan(10_000);
  await until(clock, () => tap.of('run-finished').length > 0);
  await Promise.all([run, stopped, ...rest.map((p) => p.running)]);
  expect(rest.flatMap(declinesOf)).toEqual([]);
  expect(tap.of('round-closed').at(-1)!.contributors).toEqual(rest.map((p) => p.siteId));
});

test('with fewer than the policy asks for, the run waits and says so, until another site has joined', async () => {
  const policy = testPolicy({ rounds: 1, minSites: 3, quorum: 3 });
  const cast = castOf(3);
  let roster = withoutSite(cast.roster, 'site-c');
  const [store, clock, tap] = [new MemoryStore(), new ManualClock(), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { store, clock, onEvent: tap.hear, roster: () => roster });
  const players = ['site-a', 'site-b'].map((id) => enter(cast, policy, id, coordinator, { clock }));
  const run = coordinator.run();
  await until(clock, () => tap.of('waiting').some((e) => e.why === '2 of at least 3 sites are here'));
  const keys = createSiteKeys();
  roster = withSite(roster, 'site-d', publicKeys(keys));
  coordinator.rosterChanged();
  players.push(enter(cast, policy, 'site-d', coordinator, { clock, keys }));
  await until(clock, () => tap.of('run-finished').length > 0);
  await Promise.all([run, ...players.map((p) => p.running)]);
});

test('a site with new keys goes on with the same ledger in the next round; nobody else is issued anything', async () => {
  const policy = testPolicy({ rounds: 4, minSites: 4, quorum: 3, witnessQuorum: 4 });
  const cast = castOf(4);
  let roster: Roster = cast.roster;
  const [store, blobs, clock, tap] = [new MemoryStore(), new MemoryBlobStore(), new ManualClock(), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { store, blobs, clock, onEvent: tap.hear, roster: () => roster });
  const [rotating, ...rest] = [...cast.sites.keys()];
  const disk = { ledger: new Ledger(':memory:'), outbox: new Outbox(':memory:') };
  const before = enter(cast, policy, rotating, coordinator, { clock, ...disk });
  const players = rest.map((id) => enter(cast, policy, id, coordinator, { clock }));
  const run = coordinator.run();
  await until(clock, () => tap.of('round-closed').length >= 1);
  await before.stop();
  const spent = disk.ledger.entries().length;
  // The thief of the old key, and the site with its new one, may both be there from here on.
  const keys = createSiteKeys();
  const formerKeys = [cast.sites.get(rotating)!.kid];
  roster = withSite(roster, rotating, publicKeys(keys));
  coordinator.rosterChanged();
  const after = enter(cast, policy, rotating, coordinator, { clock, keys, formerKeys, ...disk });
  await until(clock, () => tap.of('run-finished').length > 0);
  await Promise.all([run, after.running, ...players.map((p) => p.running)]);

  expect([...players, after].flatMap(declinesOf)).toEqual([]);
  expect(tap.of('round-closed').at(-1)!.contributors).toContain(rotating);
  expect(disk.ledger.entries().length, 'what was spent stays, and is added to').toBeGreaterThan(spent);
  for (const id of rest)
    expect(roster.sites.find((s) => s.siteId === id)).toEqual(cast.roster.sites.find((s) => s.siteId === id));
  const log = await logOf(store);
  const [changed] = log.filter((e) => e.kind === 'site-keys-changed');
  expect(changed.body).toMatchObject({ siteId: rotating, signing: publicPart(keys.signing) });

  const out = join(folder, 'rotated-site');
  const rosterJws = await signRoster(cast.coordinator, roster, clock.now());
  const common = { runId: RUN_ID, store, keys: cast.coordinator, policy, policyText: JSON.stringify(policy), blobs };
  await exportAudit({ ...common, roster: rosterJws, out, manifests: new Map() });
  const report = await verifyFolder(out, { keys: null });
  expect(report.problems).toEqual([]);
  // Positive control: the old key is worth nothing any more, also with everything else in place.
  const thief = new Hand(coordinator, rotating, cast.sites.get(rotating)!);
  expect((await thief.next()).kind).toBe('finished');
});

/** A run whose coordinator changes its key after the second round; sites follow. */
async function runWithKeyChange(lost: boolean, name: string) {
  const policy = testPolicy({ rounds: 4, minSites: 3, quorum: 3, witnessQuorum: 3 });
  const cast = castOf(3);
  const [store, blobs, clock, tap] = [new MemoryStore(), new MemoryBlobStore(), new ManualClock(), new Tap()];
  const disks = new Map([...cast.sites.keys()].map((id) => [id, { ledger: new Ledger(':memory:'), outbox: new Outbox(':memory:') }])); // prettier-ignore
  const first = coordinatorOf(cast, policy, { store, blobs, clock, onEvent: tap.hear });
  let players = [...cast.sites.keys()].map((id) => enter(cast, policy, id, first, { clock, ...disks.get(id)! }));
  const running = first.run();
  await until(clock, () => tap.of('round-opened').length >= 3);
  await Promise.all([first.stop(), ...players.map((p) => p.stop())]);
  await running;

  const next = createSigningKeys();
  const to = publicPart(next.signing);
  const change: KeyChange = lost
    ? { from: null, to, statement: null }
    : {
        from: publicPart(cast.coordinator.signing),
        to,
        statement: await signSuccession(cast.coordinator, to, clock.now()),
      };
  expect(await keyChangeOf(store, RUN_ID, change, next, clock.now())).toBe(true);
  // Killed after this and called again, it changes nothing.
  const size = (await logOf(store)).length;
  await keyChangeOf(store, RUN_ID, change, next, clock.now());
  expect(await logOf(store)).toHaveLength(size);

  const renamed = { ...cast, coordinator: next };
  const second = coordinatorOf(renamed, policy, { store, blobs, clock, onEvent: tap.hear });
  players = [...cast.sites.keys()].map((id) => enter(renamed, policy, id, second, { clock, ...disks.get(id)! }));
  const all = second.run();
  await until(clock, () => tap.of('run-finished').length > 0);
  await Promise.all([all, ...players.map((p) => p.running)]);
  expect(players.flatMap(declinesOf)).toEqual([]);
  const out = join(folder, name);
  const roster = await signRoster(next, cast.roster, clock.now());
  const common = { runId: RUN_ID, store, keys: next, policy, policyText: JSON.stringify(policy), blobs };
  await exportAudit({ ...common, roster, out, manifests: new Map() });
  return { out, old: cast.coordinator, next, log: await logOf(store), disks };
}
const handed = (keys: SigningKeys) => ({ coordinator: { kid: keys.kid, key: publicPart(keys.signing) } });

test('the coordinator’s new key, signed by the old one: an auditor with either key verifies the whole log', async () => {
  const { out, old, next, log, disks } = await runWithKeyChange(false, 'rotated-coordinator');
  const at = log.findIndex((e) => e.kind === 'coordinator-key-changed');
  expect(log[at - 1]).toMatchObject({ kind: 'void', body: { code: 'KEYS_CHANGED' } });
  expect(log.filter((e) => e.kind === 'generator-updated')).toHaveLength(5);
  // What sites had computed for the void attempt was sent in the next: nothing was paid for twice.
  for (const { ledger } of disks.values()) {
    const steps = ledger.entries().filter((e) => 'step' in e).map((e) => JSON.stringify(['round' in e && e.round, 'step' in e && e.step])); // prettier-ignore
    expect(new Set(steps).size).toBe(steps.length);
  }
  for (const keys of [old, next]) {
    const report = await verifyFolder(out, { keys: handed(keys) });
    expect(report.problems).toEqual([]);
    expect(report.notes.join('\n')).toContain(thumbprint(next.signing));
  }
  // Positive controls: a key that is none of them; and a statement that the old key never made.
  expect((await verifyFolder(out, { keys: handed(createSigningKeys()) })).problems.length).toBeGreaterThan(0);
  const path = join(out, 'log.jsonl');
  const text = readFileSync(path, 'utf8');
  const forged = await signSuccession({ ...createSigningKeys(), kid: old.kid }, publicPart(next.signing), 0);
  const entry = log[at];
  if (entry.kind !== 'coordinator-key-changed') throw new Error('no change');
  writeFileSync(path, text.replace(entry.body.statement!, forged));
  expect((await verifyFolder(out, { keys: handed(old) })).problems.map((p) => p.entry)).toContain(at);
  writeFileSync(path, text);
});

test('a key that was lost: only who holds the new one can verify, and the report says what nobody can', async () => {
  const { out, old, next } = await runWithKeyChange(true, 'lost-key');
  const report = await verifyFolder(out, { keys: handed(next) });
  expect(report.problems).toEqual([]);
  expect(report.gaps.join('\n')).toMatch(/not known to be its own/);
  const former = await verifyFolder(out, { keys: handed(old) });
  expect(former.problems.map((p) => p.detail).join('\n')).toMatch(/none of this log|was lost/);
});

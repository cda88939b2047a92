/**
 * Keys that change while the sites are being asked about a release: the coordinator's, or a site's whose answer never
 * arrived. The question stays the same, every site's words stay the same, and an auditor finds nothing wrong.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { exportAudit } from '../../cli/audit/export-folder.ts';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import { type KeyChange, keyChangeOf } from '../../coordinator/key-change.ts';
import { auditOwnLog } from '../../coordinator/own-log.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { bodyOf } from '../../shared/audit/jws-body.ts';
import { FedError } from '../../shared/errors.ts';
import type { GateWords } from '../../shared/gate/outcome.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys, createSiteKeys, publicKeys } from '../../shared/identity/keys.ts';
import { signRoster, withoutSite, withSite } from '../../shared/identity/roster.ts';
import { claimedKid } from '../../shared/identity/signed.ts';
import { signSuccession } from '../../shared/identity/succession.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { declinesOf, enter, until } from '../support/audit-rig.ts';
import { testGate } from '../support/gate-rig.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { Tap } from '../support/round-hand.ts';
import { agentOf, castOf, coordinatorOf, RUN_ID, StubComputation, testPolicy } from '../support/round-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-gate-keys-'));
afterAll(() => rmSync(folder, { recursive: true }));

const gate = { ...testGate, noiseMultiplier: 12, leastPatients: 3000, signOff: { needed: 0, people: [] } };
const policy = testPolicy({ rounds: 1, minSites: 3, quorum: 3, witnessQuorum: 3, gate });
const alike = async () => policy.model.classes.map(() => 0.4);
const gateEntries = (ledger: Ledger) =>
  ledger.entries().filter((e) => 'event' in e && (e.event as { noiseMultiplier: number }).noiseMultiplier === 12);

/** A run up to its gate, where site-a cannot get its answer through: paid for, in its outbox, never received. */
async function upToTheGate() {
  const cast = castOf(3);
  const [store, blobs, clock, tap] = [new MemoryStore(), new MemoryBlobStore(), new ManualClock(), new Tap()];
  const disks = new Map([...cast.sites.keys()].map((id) => [id, { ledger: new Ledger(':memory:'), outbox: new Outbox(':memory:') }])); // prettier-ignore
  const o = { store, blobs, clock, onEvent: tap.hear, similarity: alike };
  const coordinator = coordinatorOf(cast, policy, o);
  // Its second answer would be another: whoever works it out anew is seen.
  const playing = { clock, computation: new StubComputation('site-a', policy, true) };
  const real = directLink(coordinator, 'site-a');
  const cut: CoordinatorLink = {
    ...real,
    onWake: real.onWake.bind(real),
    close: async () => undefined,
    call: (type, payload) =>
      type === 'gate.answer' ? Promise.reject(new FedError('LINK_LOST', 'cut')) : real.call(type, payload),
  };
  const first = agentOf(cast, policy, 'site-a', cut, { ...playing, ...disks.get('site-a')! });
  const others = ['site-b', 'site-c'].map((id) => enter(cast, policy, id, coordinator, { clock, ...disks.get(id)! }));
  const running = [coordinator.run(), first.run()];
  await until(
    clock,
    () => tap.of('gate-answered').length === 2 && disks.get('site-a')!.outbox.gate(RUN_ID)?.answer != null,
  );
  await Promise.all([coordinator.stop(), first.stop(), ...others.map((p) => p.stop())]);
  await Promise.all(running);
  const { answer } = disks.get('site-a')!.outbox.gate(RUN_ID)!;
  return { cast, store, blobs, clock, tap, disks, o, playing, words: (bodyOf(answer!) as { words: GateWords }).words };
}

type Stage = Awaited<ReturnType<typeof upToTheGate>>;

/** Everybody again, to the end; what an auditor with these keys finds. */
async function toTheEnd(
  { store, blobs, clock, tap, disks, o, playing, words }: Stage,
  cast: Stage['cast'],
  name: string,
  formerKeys: string[] = [],
) {
  // prettier-ignore
  const coordinator = coordinatorOf(cast, policy, o);
  const players = [...cast.sites.keys()].map((id) =>
    enter(cast, policy, id, coordinator, {
      ...{ clock, ...disks.get(id)! },
      ...(id === 'site-a' && { ...playing, keys: cast.sites.get(id)!, formerKeys }),
    }),
  );
  const running = [coordinator.run(), ...players.map((p) => p.running)];
  await until(clock, () => tap.of('run-finished').length > 0);
  await Promise.all(running);
  expect(players.flatMap(declinesOf)).toEqual([]);
  expect(tap.of('gate-judged').at(-1)).toMatchObject({ passed: true });
  const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  const answers = log.filter((e) => e.kind === 'gate-answered').map((e) => e.body as { siteId: string; words: object });
  expect(answers.map((a) => a.siteId).sort()).toEqual(['site-a', 'site-b', 'site-c']);
  // The words that were stored, though new ones would have been others; and paid for once.
  expect(answers.find((a) => a.siteId === 'site-a')!.words).toEqual(words);
  expect(playing.computation.gateCalls).toBe(1);
  for (const { ledger } of disks.values()) expect(gateEntries(ledger)).toHaveLength(1);

  const out = join(folder, name);
  const roster = await signRoster(cast.coordinator, cast.roster, clock.now());
  const common = { runId: RUN_ID, store, keys: cast.coordinator, policy, policyText: JSON.stringify(policy), blobs };
  await exportAudit({ ...common, roster, out, manifests: new Map() });
  return { log, out };
}

test.each([
  ['signed by the old one', false],
  ['after the old one was lost', true],
])('the coordinator’s new key, %s: the same candidate under a new signature', async (_, lost) => {
  const stage = await upToTheGate();
  const { store, clock } = stage;
  const next = createSigningKeys();
  const [from, to] = [publicPart(stage.cast.coordinator.signing), publicPart(next.signing)];
  const change: KeyChange = lost
    ? { from: null, to, statement: null }
    : { from, to, statement: await signSuccession(stage.cast.coordinator, to, clock.now()) };
  expect(await keyChangeOf(store, RUN_ID, change, next, clock.now())).toBe(true);

  const { log, out } = await toTheEnd(stage, { ...stage.cast, coordinator: next }, lost ? 'lost' : 'signed');
  const asked = log.filter((e) => e.kind === 'gate-asked').map((e) => e.body as { candidateSha256: string; question: string }); // prettier-ignore
  expect(asked.map((a) => claimedKid(a.question))).toEqual([stage.cast.coordinator.kid, next.kid]);
  expect(new Set(asked.map((a) => a.candidateSha256)).size).toBe(1);
  const handed = { coordinator: { kid: next.kid, key: to } };
  expect((await verifyFolder(out, { keys: handed })).problems).toEqual([]);
  // Positive control: a key that is neither.
  const stranger = createSigningKeys();
  const other = { coordinator: { kid: stranger.kid, key: publicPart(stranger.signing) } };
  expect((await verifyFolder(out, { keys: other })).problems.length).toBeGreaterThan(0);
});

test('a site’s new key: the words it had stored, under the new key', async () => {
  const stage = await upToTheGate();
  const keys = createSiteKeys();
  const former = stage.cast.sites.get('site-a')!.kid;
  const cast = {
    ...stage.cast,
    sites: new Map([...stage.cast.sites, ['site-a', keys]]),
    roster: withSite(stage.cast.roster, 'site-a', publicKeys(keys)),
  };
  const { log, out } = await toTheEnd(stage, cast, 'site', [former]);
  const own = log.filter((e) => e.kind === 'gate-answered').map((e) => e.body as { siteId: string; statement: string });
  expect(claimedKid(own.find((a) => a.siteId === 'site-a')!.statement)).toBe(keys.kid);
  expect((await verifyFolder(out, { keys: null })).problems).toEqual([]);
});

test('a site that leaves while the gate waits for it: the log says so, and the others’ words decide', async () => {
  const { cast, store, o, clock, tap } = await upToTheGate();
  let { roster } = cast;
  const coordinator = coordinatorOf(cast, policy, { ...o, roster: () => roster });
  const running = coordinator.run();
  const waits = tap.of('gate-waiting').length;
  await until(clock, () => tap.of('gate-waiting').length > waits);
  expect(tap.of('gate-waiting').at(-1)!.why).toBe('waiting for site-a');
  roster = withoutSite(roster, 'site-a');
  coordinator.rosterChanged();
  await until(clock, () => tap.of('run-finished').length > 0);
  await running;
  const { passed, findings } = tap.of('gate-judged').at(-1)!;
  expect([passed, findings.find((f) => f.bound === 'sites')!.say]).toEqual([true, '2 sites have judged the images; at least 2 must. site-a was revoked and has not answered.']); // prettier-ignore
  const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  expect(log.filter((e) => e.kind === 'site-revoked').map((e) => e.body)).toEqual([{ siteId: 'site-a' }]);
  const audit = await auditOwnLog({ store, runId: RUN_ID, policy, keys: cast.coordinator });
  expect(audit.findings.problems).toEqual([]);
});

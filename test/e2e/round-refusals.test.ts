/** What a coordinator refuses, by code; that nothing is lost by it; and what an absent site costs. */
import { expect, test } from 'vitest';
import type { Coordinator, CoordinatorOptions } from '../../coordinator/coordinator.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { packFloat32 } from '../../shared/aggregation/clear.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import { FedError } from '../../shared/errors.ts';
import { publicKeys, createSiteKeys } from '../../shared/identity/keys.ts';
import { withSite, withoutSite } from '../../shared/identity/roster.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { uploadTensor } from '../../shared/protocol/tensor-transfer.ts';
import { Hand, Tap, passTime, planOf } from '../support/round-hand.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { LENGTH, RUN_ID, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

const DEADLINE = 60_000;
const MOMENTS = [0.1, 0.1, 0.1, 0.1];
const GOOD = [0.1, 0, 0, 0, 0, 0];

interface Stage {
  readonly coordinator: Coordinator;
  readonly hands: Hand[];
  readonly tap: Tap;
  readonly clock: ManualClock;
  readonly store: MemoryStore;
  readonly done: Promise<unknown>;
}

/** A running coordinator with sites that have said that they are here; `quorum` of them make a round. */
async function stage(sites: number, quorum: number, rounds = 2, o: Partial<CoordinatorOptions> = {}): Promise<Stage> {
  const cast = castOf(sites);
  const policy = testPolicy({ rounds, steps: 1, minSites: quorum, quorum, deadlineSeconds: DEADLINE / 1000 });
  const [tap, clock, store] = [new Tap(), new ManualClock(), new MemoryStore()];
  const coordinator = coordinatorOf(cast, policy, { store, clock, onEvent: tap.hear, ...o });
  const hands = [...cast.sites].map(([id, keys]) => new Hand(coordinator, id, keys));
  const done = coordinator.run();
  await tap.when('run-started');
  for (const hand of hands) await hand.next();
  await tap.when('round-opened');
  return { coordinator, hands, tap, clock, store, done };
}

/** All of these answer the open round well. */
const answerAll = async (hands: Hand[], values: number[]) => {
  for (const hand of hands) await hand.send(await hand.work(), values);
};
const kindsOfLog = async (store: MemoryStore) => {
  const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  headOfEntries(log);
  return log.map((e) => e.kind);
};

test('a bad update is refused by code, its site is left out, and the round closes with the others', async () => {
  const { coordinator, hands, tap, store } = await stage(4, 3, 3);
  await answerAll(hands, MOMENTS);
  const cases: [string, number[]][] = [
    ['UPDATE_NOT_FINITE', [NaN, 0, 0, 0, 0, 0]],
    ['UPDATE_TOO_LARGE', [1.1, 0, 0, 0, 0, 0]],
    ['UPDATE_SHAPE', [0.1, 0.1]],
  ];
  for (const [i, [code, values]] of cases.entries()) {
    await tap.when('round-opened', i + 2);
    const [bad, ...others] = hands;
    const work = await bad.work();
    expect([code, await codeOf(bad.send(work, values))]).toEqual([code, code]);
    // Again: refused again, logged once.
    expect(await codeOf(bad.send(work, values))).not.toBe('no error');
    expect((await bad.next()).kind).not.toBe('work');
    await answerAll(others, GOOD);
    const closed = await tap.when('round-closed', i + 2);
    expect(closed.contributors).toEqual(others.map((h) => h.siteId));
    expect(closed.missing).toEqual([bad.siteId]);
    // A code that is the site's fault for good keeps it out until it is started anew.
    bad.session = crypto.randomUUID();
    await bad.next();
  }
  expect((await coordinator.status()).roundsDone).toBe(4);
  expect((await kindsOfLog(store)).filter((k) => k === 'refused').length).toBeGreaterThanOrEqual(3);
  expect((await kindsOfLog(store)).at(-1)).toBe('run-finished');
});

test('too many bytes are refused before they are taken', async () => {
  const { hands, coordinator, tap } = await stage(3, 3);
  const offer = (bytes: number) => hands[0].link.call('tensor.offer', { sha256: 'a'.repeat(64), bytes, purpose: 'x' });
  expect(await codeOf(offer(4 * MOMENTS.length + 1))).toBe('TENSOR_TOO_LARGE');
  expect(await codeOf(offer(4 * MOMENTS.length))).toBe('no error');
  // Nor is anything taken from a site that is not asked for anything.
  await answerAll(hands, MOMENTS);
  await tap.when('round-opened', 2);
  await coordinator.stop();
  await hands[0].decline(await hands[0].work(), 'BOUNDS_EXCEEDED');
  expect(await codeOf(offer(16))).toBe('ROUND_NOT_OPEN');
});

test('uploads whose answers never came do not stay: a site that is late again and again is not shut out', async () => {
  const blobs = new MemoryBlobStore();
  const { hands, tap } = await stage(3, 3, 20, { blobs });
  for (let round = 0; round < 21; round++) {
    await tap.when('round-opened', round + 1);
    const values = round === 0 ? MOMENTS : GOOD;
    // As when the round closes between the last chunk and the answer that names it.
    const late = packFloat32(Float32Array.from(values, (v) => v + round));
    await uploadTensor(hands[0].link, late, { purpose: 'test' });
    await answerAll(hands, values);
    await tap.when('round-closed', round + 1);
  }
  await tap.when('run-finished');
  expect((await blobs.list('up.')).length).toBe(0);
});

test('one answer of a site counts; the same again is acknowledged, another is refused and changes nothing', async () => {
  const { hands, tap, store } = await stage(3, 3, 1);
  const work = await hands[0].work();
  const first = await hands[0].answerTo(work, MOMENTS);
  await hands[0].send(work, MOMENTS);
  expect(await hands[0].link.call('round.answer', first.message)).toBeNull();
  const other = await hands[0].answerTo(work, [9, 9, 9, 9]);
  expect(await codeOf(hands[0].link.call('round.answer', other.message))).toBe('UPDATE_CHANGED');
  await answerAll(hands.slice(1), MOMENTS);
  await tap.when('round-closed');
  // The acknowledgement was lost and the round has closed since.
  expect(await hands[0].link.call('round.answer', first.message)).toBeNull();
  expect(await codeOf(hands[0].link.call('round.answer', other.message))).toBe('UPDATE_CHANGED');
  await tap.when('round-opened', 2);
  await answerAll(hands, GOOD);
  await tap.when('run-finished');
  const kinds = await kindsOfLog(store);
  expect(kinds.filter((k) => k === 'answer-accepted')).toHaveLength(6);
  expect(kinds.filter((k) => k === 'refused')).toHaveLength(1);
});

test('an answer that overtook a last chunk that failed is not written down as a refusal, and is taken when it comes again', async () => {
  const policy = testPolicy({ rounds: 1, steps: 1 });
  const [cast, tap, store] = [castOf(3), new Tap(), new MemoryStore()];
  const blobs = new MemoryBlobStore();
  // A disk that is full for a moment, once for each site's first upload.
  const failed = new Set<string>();
  const append = blobs.append.bind(blobs);
  blobs.append = (name, offset, data) => {
    const site = name.split('.')[1];
    if (!name.startsWith('up.') || failed.has(site)) return append(name, offset, data);
    failed.add(site);
    return Promise.reject(new FedError('INTERNAL', 'no room'));
  };
  const told = new Map([...cast.sites.keys()].map((id) => [id, Promise.withResolvers<void>()]));
  const onEvent: typeof tap.hear = (e) => {
    tap.hear(e);
    if (e.kind === 'refused' && e.code === 'TENSOR_UNKNOWN') told.get(e.siteId)?.resolve();
  };
  const coordinator = coordinatorOf(cast, policy, { store, blobs, onEvent });
  // What is sent again waits until the answer ahead of it was looked at: otherwise whichever is sooner decides.
  const patient = (id: string): CoordinatorLink => {
    const link = directLink(coordinator, id);
    const call = async (type: string, payload: unknown) => {
      if (type === 'tensor.offer' && failed.has(id)) await told.get(id)?.promise;
      return link.call(type, payload);
    };
    return { ...link, call };
  };
  const agents = [...cast.sites.keys()].map((id) => agentOf(cast, policy, id, patient(id), { retryMs: 5 }));
  await Promise.all([coordinator.run(), ...agents.map((agent) => agent.run())]);
  expect(failed.size).toBe(3);
  // They did overtake, and were told so; the log has no word of it, and the attempt was not void.
  expect(tap.of('refused').filter((e) => e.code === 'TENSOR_UNKNOWN').length).toBeGreaterThan(0);
  expect((await kindsOfLog(store)).filter((k) => k === 'refused' || k === 'void')).toEqual([]);
});

test('what does not fit the round, the run, the site or the protocol is refused', async () => {
  const { coordinator, hands } = await stage(3, 3);
  const [a, b] = hands;
  const work = await a.work();
  expect(await codeOf(a.send(work, MOMENTS, { round: 1 }))).toBe('ROUND_NOT_OPEN');
  expect(await codeOf(a.send(work, MOMENTS, { attempt: 1 }))).toBe('ROUND_NOT_OPEN');
  expect(await codeOf(a.send(work, MOMENTS, { phase: 1 }))).toBe('ROUND_NOT_OPEN');
  expect(await codeOf(a.send(work, MOMENTS, { runId: crypto.randomUUID() }))).toBe('ROUND_NOT_OPEN');
  expect(await codeOf(a.send(work, MOMENTS, { body: { patients: 17 } }))).toBe('MESSAGE_INVALID');
  // Signed one thing and sent another; signed by another site; nothing uploaded.
  expect(await codeOf(a.send(work, MOMENTS, {}, { body: 1 }))).toBe('SIGNATURE_INVALID');
  const { message } = await b.answerTo(work, MOMENTS);
  expect(await codeOf(a.link.call('round.answer', message))).toBe('SIGNATURE_INVALID');
  expect(await codeOf(b.link.call('round.answer', message))).toBe('TENSOR_UNKNOWN');
  for (const bad of [null, {}, { ...message, extra: 1 }, { ...message, round: -1 }, 'x'])
    expect(await codeOf(a.link.call('round.answer', bad))).toBe('MESSAGE_INVALID');
  expect(await codeOf(a.link.call('site.next', { session: 'me' }))).toBe('MESSAGE_INVALID');
  expect(await codeOf(a.link.call('round.steal', {}))).toBe('MESSAGE_INVALID');
  // Nothing is read here but the generator of now: not a hash nobody has, and not what another site has sent.
  const uploaded = await b.answerTo(work, MOMENTS);
  await uploadTensor(b.link, uploaded.tensor, { purpose: 'test' });
  for (const sha256 of ['a'.repeat(64), uploaded.message.tensorSha256])
    expect(await codeOf(a.link.call('tensor.get', { sha256, offset: 0, length: 16 }))).toBe('TENSOR_UNKNOWN');
  const place = { runId: RUN_ID, round: 0, attempt: 0, detail: '' };
  expect(await codeOf(a.link.call('round.decline', { ...place, code: 'NO_SUCH_CODE' }))).toBe('MESSAGE_INVALID');
  expect(await codeOf(new Hand(coordinator, 'stranger', createSiteKeys()).next())).toBe('KEY_UNKNOWN');
  // And after all of it every site can still answer.
  await answerAll(hands, MOMENTS);
  await coordinator.stop();
});

test('a dead site costs one deadline, not one a round', async () => {
  const { hands, tap, clock, coordinator } = await stage(4, 3, 4);
  const [dead, ...alive] = hands;
  await answerAll(hands, MOMENTS);
  const began = clock.now();
  await tap.when('round-opened', 2);
  await answerAll(alive, GOOD);
  await passTime(clock, DEADLINE);
  expect((await tap.when('round-closed', 2)).missing).toEqual([dead.siteId]);
  for (const round of [3, 4, 5]) {
    expect((await tap.when('round-opened', round)).plan.invited).toEqual(alive.map((h) => h.siteId));
    await answerAll(alive, GOOD);
    await tap.when('round-closed', round);
  }
  expect(clock.now() - began).toBe(DEADLINE);
  expect((await coordinator.status()).roundsDone).toBe(5);
});

test('a site that was late is refused, comes back, is not waited for, and is waited for again once it was in time', async () => {
  const { hands, tap, clock, coordinator } = await stage(4, 3, 4);
  const [slow, ...quick] = hands;
  await answerAll(hands, MOMENTS);
  await tap.when('round-opened', 2);
  const work = await slow.work();
  await answerAll(quick, GOOD);
  await passTime(clock, DEADLINE);
  await tap.when('round-closed', 2);
  await tap.when('round-opened', 3);
  clock.advance(1);
  expect(await codeOf(slow.send(work, GOOD))).toBe('ROUND_NOT_OPEN');
  await answerAll(quick, GOOD);
  // Invited since it is here again, but the others do not wait.
  const again = await tap.when('round-opened', 4);
  expect([again.plan.invited.includes(slow.siteId), again.awaited.includes(slow.siteId)]).toEqual([true, false]);
  await slow.send(await slow.work(), GOOD);
  await answerAll(quick, GOOD);
  expect((await tap.when('round-closed', 4)).contributors).toContain(slow.siteId);
  expect((await tap.when('round-opened', 5)).awaited).toContain(slow.siteId);
  await coordinator.stop();
});

test('an answer that comes late is no refusal in the log, and nothing follows the log’s end', async () => {
  const { hands, tap, clock, store } = await stage(4, 3, 1);
  const [slow, ...quick] = hands;
  await answerAll(hands, MOMENTS);
  await tap.when('round-opened', 2);
  const work = await slow.work();
  // All of it, as an agent has it at hand that made its answer too late: the tensor and the message that names it.
  const late = await slow.answerTo(work, GOOD);
  await answerAll(quick, GOOD);
  await passTime(clock, DEADLINE);
  await tap.when('run-finished');
  expect(await codeOf(slow.link.call('round.answer', late.message))).toBe('ROUND_NOT_OPEN');
  // One that is wrong besides: of a round that is closed, and not what was said before.
  const other = await quick[0].answerTo(work, [9, 9, 9, 9]);
  expect(await codeOf(quick[0].link.call('round.answer', other.message))).toBe('UPDATE_CHANGED');
  const kinds = await kindsOfLog(store);
  expect(kinds.filter((k) => k === 'refused')).toEqual([]);
  expect(kinds.at(-1)).toBe('run-finished');
});

test('a site that came late to a round but took no longer than it may is waited for in the next', async () => {
  const { hands, tap, clock, coordinator } = await stage(4, 3, 4);
  const [tardy, ...quick] = hands;
  await answerAll(hands, MOMENTS);
  await tap.when('round-opened', 2);
  await answerAll(quick, GOOD);
  await passTime(clock, DEADLINE - 1000);
  const work = await tardy.work();
  await passTime(clock, 1000);
  await tap.when('round-opened', 3);
  expect(await codeOf(tardy.send(work, GOOD))).toBe('ROUND_NOT_OPEN');
  await answerAll(quick, GOOD);
  expect((await tap.when('round-opened', 4)).awaited).toContain(tardy.siteId);
  await coordinator.stop();
});

test('a round without its quorum is void and opened again; the answers of the first attempt are asked for again', async () => {
  const { hands, tap, clock, store } = await stage(3, 3, 1);
  await answerAll(hands, MOMENTS);
  await tap.when('round-opened', 2);
  await answerAll(hands.slice(0, 2), GOOD);
  await passTime(clock, DEADLINE);
  expect(await tap.when('round-void')).toMatchObject({ round: 1, attempt: 0, code: 'ROUND_VOID' });
  expect((await tap.when('waiting', 1)).why).toMatch(/2 of at least 3 sites are here|0 of at least 3/);
  for (const hand of hands) await hand.next();
  const { plan } = await tap.when('round-opened', 3);
  expect(plan).toMatchObject({ round: 1, attempt: 1 });
  const work = await hands[2].work();
  expect(planOf(work)).toEqual(plan);
  await answerAll(hands, GOOD);
  expect(await tap.when('round-closed', 2)).toMatchObject({ round: 1, attempt: 1 });
  await tap.when('run-finished');
  expect((await kindsOfLog(store)).filter((k) => k === 'void')).toHaveLength(1);
});

test('a decline is recorded with its code and costs nobody a deadline', async () => {
  const { hands, tap, clock, coordinator } = await stage(4, 3, 2);
  const began = clock.now();
  await answerAll(hands, MOMENTS);
  await tap.when('round-opened', 2);
  const [no, ...others] = hands;
  const detail = 'this run: epsilon 8.1 after the step, at most 8';
  await no.decline(await no.work(), 'BUDGET_EXHAUSTED', detail);
  expect(await tap.when('declined')).toMatchObject({ siteId: no.siteId, code: 'BUDGET_EXHAUSTED', detail });
  await answerAll(others, GOOD);
  await tap.when('round-closed', 2);
  await no.next();
  expect((await tap.when('round-opened', 3)).plan.invited).not.toContain(no.siteId);
  await answerAll(others, GOOD);
  await tap.when('run-finished');
  expect(clock.now()).toBe(began);
  const status = (await coordinator.status()).sites.find((s) => s.siteId === no.siteId);
  expect(status).toMatchObject({ standing: 'declined', declined: 'BUDGET_EXHAUSTED' });
});

test('sites come and go with the roster: a new one joins at the next round, a revoked one is a stranger', async () => {
  const cast = castOf(4);
  const [late, ...first] = [...cast.sites.keys()].reverse();
  let roster = withoutSite(cast.roster, late);
  const [tap, clock] = [new Tap(), new ManualClock()];
  const policy = testPolicy({ rounds: 3, steps: 1 });
  const coordinator = coordinatorOf(cast, policy, { clock, roster: () => roster, onEvent: tap.hear });
  const hand = (id: string) => new Hand(coordinator, id, cast.sites.get(id)!);
  const hands = first.map(hand);
  const run = coordinator.run();
  await tap.when('run-started');
  for (const h of hands) await h.next();
  await tap.when('round-opened');
  expect(await codeOf(hand(late).next())).toBe('KEY_UNKNOWN');
  roster = withSite(roster, late, publicKeys(cast.sites.get(late)!));
  await hand(late).next();
  await answerAll(hands, MOMENTS);
  expect((await tap.when('round-opened', 2)).plan.invited).toContain(late);
  roster = withoutSite(roster, late);
  expect(await codeOf(hand(late).next())).toBe('KEY_UNKNOWN');
  await answerAll(hands, GOOD);
  await coordinator.stop();
  await run;
});

test('the stub rig is what the refusals think it is', () => {
  expect(GOOD).toHaveLength(LENGTH);
});

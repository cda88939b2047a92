/** Questions that wait at the coordinator until there is something to do: what becomes of them, and of the sites' wakes. */
import { expect, test } from 'vitest';
import type { CoordinatorOptions } from '../../coordinator/coordinator.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { Clock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import { type PublicSigningKey, publicPart } from '../../shared/identity/jwk.ts';
import type { SiteKeys } from '../../shared/identity/keys.ts';
import { withoutSite } from '../../shared/identity/roster.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { MAX_QUESTION_MS, NextReply } from '../../shared/protocol/round-messages.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { cosign, followLog } from '../../site-agent/witness.ts';
import { Hand, Tap, planOf } from '../support/round-hand.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { RUN_ID, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { codeOf, handlerOf, startProxy, startRig, until } from '../support/wire-rig.ts';

const DEADLINE = 60_000;
const WAIT = 15_000;
const MOMENTS = [0.1, 0.1, 0.1, 0.1];

const turns = async (n = 20): Promise<void> => {
  for (let i = 0; i < n; i++) await new Promise<void>((resolve) => setImmediate(resolve));
};

/** Asks as an agent does; `reply` is null while the question waits. */
function ask(hand: Hand, waitMs = WAIT) {
  const asked = { reply: null as NextReply | null, done: Promise.resolve() };
  asked.done = hand.link.call('site.next', { session: hand.session, waitMs }).then((body) => {
    asked.reply = NextReply.parse(body);
  });
  return asked;
}

/** Cosigns what there is to cosign, so that what is left is to wait. */
async function settle(hand: Hand, keys: SiteKeys, coordinatorKey: PublicSigningKey, clock: Clock): Promise<void> {
  const p = { siteId: hand.siteId, keys, coordinatorKey, link: hand.link, outbox: new Outbox(':memory:'), clock };
  for (;;) {
    const reply = await hand.next();
    if (reply.kind !== 'witness') return;
    await cosign(p, reply.runId, await followLog(p, reply.runId, reply.checkpoint));
  }
}

async function stage(sites = 3, o: Partial<CoordinatorOptions> = {}) {
  const cast = castOf(sites);
  const policy = testPolicy({ rounds: 2, steps: 1, deadlineSeconds: DEADLINE / 1000 });
  const [tap, clock] = [new Tap(), new ManualClock()];
  const rosters = { now: cast.roster };
  const coordinator = coordinatorOf(cast, policy, { clock, onEvent: tap.hear, roster: () => rosters.now, ...o });
  const hands = [...cast.sites].map(([id, keys]) => new Hand(coordinator, id, keys));
  const wakes = new Map<string, number>();
  for (const { siteId, link } of hands) link.onWake(() => wakes.set(siteId, (wakes.get(siteId) ?? 0) + 1));
  const done = coordinator.run();
  await tap.when('run-started');
  for (const hand of hands) await hand.next();
  await tap.when('round-opened');
  /** Answers the first round, and has nothing more to do. */
  const answer = async (hand: Hand) => {
    await hand.send(await hand.work(), MOMENTS);
    await settle(hand, cast.sites.get(hand.siteId)!, publicPart(cast.coordinator.signing), clock);
  };
  return { cast, policy, coordinator, hands, tap, clock, wakes, done, answer, rosters };
}

test('a question is answered with the next round as soon as it is open; its site is not told to ask besides', async () => {
  const { hands, tap, wakes, coordinator, answer } = await stage();
  for (const hand of hands.slice(0, 2)) await answer(hand);
  const asked = hands.slice(0, 2).map((hand) => ask(hand));
  await turns();
  expect(asked.map((a) => a.reply)).toEqual([null, null]);
  wakes.clear();
  const [, , last] = hands;
  await last.send(await last.work(), MOMENTS);
  await tap.when('round-opened', 2);
  await Promise.all(asked.map((a) => a.done));
  for (const { reply } of asked) expect(reply?.kind === 'work' && planOf(reply).round).toBe(1);
  const [a, b, c] = hands.map((hand) => wakes.get(hand.siteId) ?? 0);
  expect(c, 'who has no question here is told').toBeGreaterThan(0);
  // The round's end wakes them too, and then their questions are here.
  expect([a, b]).toEqual([0, 0]);
  await coordinator.stop();
});

test('a question that a newer one of its site replaces is answered at once', async () => {
  const { hands, coordinator, answer } = await stage();
  await answer(hands[0]);
  const older = ask(hands[0]);
  await turns();
  const newer = ask(hands[0]);
  await older.done;
  expect([older.reply?.kind, newer.reply]).toEqual(['idle', null]);
  await coordinator.stop();
  await newer.done;
});

test('a stop answers all questions that wait, and none waits after it', async () => {
  const { hands, coordinator, done, clock, answer } = await stage();
  for (const hand of hands.slice(0, 2)) await answer(hand);
  const asked = hands.slice(0, 2).map((hand) => ask(hand));
  await turns();
  await coordinator.stop();
  expect(await done).toBe('stopped');
  await Promise.all(asked.map((a) => a.done));
  expect(asked.map((a) => a.reply?.kind)).toEqual(['idle', 'idle']);
  const late = ask(hands[0]);
  await late.done;
  expect(late.reply?.kind).toBe('idle');
  expect(clock.pending, 'no timer is left').toBe(0);
});

test('an operator who ends the run is heard by sites whose questions waited', async () => {
  const { hands, coordinator, wakes, answer } = await stage();
  await answer(hands[0]);
  const asked = ask(hands[0]);
  await turns();
  wakes.clear();
  await coordinator.end('somebody');
  await asked.done;
  expect(asked.reply?.kind).toBe('idle');
  expect(wakes.get(hands[0].siteId), 'told to ask again').toBeGreaterThan(0);
  // The last checkpoint is offered once before.
  expect([(await hands[0].next()).kind, (await hands[0].next()).kind]).toEqual(['witness', 'finished']);
});

test('deadlines pass as ever while questions wait, and their answer is the next attempt', async () => {
  const { hands, tap, clock, coordinator, answer } = await stage();
  await answer(hands[0]);
  // It would wait for longer than the deadline.
  const asked = ask(hands[0], MAX_QUESTION_MS);
  await turns();
  clock.advance(DEADLINE - 1);
  await turns();
  expect([asked.reply, tap.of('round-void')]).toEqual([null, []]);
  clock.advance(1);
  await tap.when('round-void');
  for (const hand of hands.slice(1)) await hand.next();
  await tap.when('round-opened', 2);
  await asked.done;
  // Its time was up with the deadline; which of the two it met first is not promised.
  const reply = asked.reply?.kind === 'work' ? asked.reply : await hands[0].work();
  expect(planOf(reply)).toMatchObject({ round: 0, attempt: 1 });
  await coordinator.stop();
});

test('"nothing" comes when the site has waited for as long as it said', async () => {
  const { hands, clock, coordinator, answer } = await stage();
  await answer(hands[0]);
  const asked = ask(hands[0]);
  await turns();
  clock.advance(WAIT - 1);
  await turns();
  expect(asked.reply).toBeNull();
  clock.advance(1);
  await asked.done;
  expect(asked.reply?.kind).toBe('idle');
  expect(await codeOf(ask(hands[0], MAX_QUESTION_MS + 1).done)).toBe('MESSAGE_INVALID');
  await coordinator.stop();
});

test('a site that is revoked while its question waits learns nothing more', async () => {
  const { hands, coordinator, tap, rosters, answer } = await stage(4);
  const [revoked, ...others] = hands;
  await answer(revoked);
  const refused = codeOf(ask(revoked).done);
  await turns();
  rosters.now = withoutSite(rosters.now, revoked.siteId);
  coordinator.rosterChanged();
  for (const hand of others) await answer(hand);
  await tap.when('round-closed');
  expect(await refused).toBe('KEY_UNKNOWN');
  await coordinator.stop();
});

test('the answer that is awaited last seals its phase with it, also when nobody drives the round', async () => {
  const store = new MemoryStore();
  const { hands, coordinator, answer } = await stage(3, { store });
  for (const hand of hands.slice(0, 2)) await answer(hand);
  await coordinator.stop();
  const [, , last] = hands;
  await last.send(await last.work(), MOMENTS);
  const { record, kinds } = await store.transaction(async (tx) => ({
    record: await tx.latestRound(RUN_ID),
    kinds: (await tx.log(RUN_ID, 0, 100)).map((e) => e.kind),
  }));
  expect(record?.status).toBe('sealed');
  expect(kinds.slice(-2)).toEqual(['answer-accepted', 'sealed']);
});

test('a question waits on its connection: when that drops it is lost, and the site asks again on the next', async () => {
  const cast = castOf(3);
  const policy = testPolicy({ rounds: 1, steps: 1 });
  const coordinator = coordinatorOf(cast, policy);
  let asked = () => undefined as void;
  const replies: unknown[] = [];
  // The rig's sites have keys of its own roster: whoever comes in is taken for the first site of the cast.
  const handler = handlerOf(async (_, type, payload) => {
    asked();
    const reply = await coordinator.handle('site-a', type, payload);
    replies.push(reply);
    return reply;
  });
  await using rig = await startRig(handler);
  rig.server.onPresence((_, online) => {
    if (!online) coordinator.left('site-a');
  });
  await using proxy = await startProxy(rig.server.port);
  const link = await rig.site('north', { url: proxy.url });
  const here = new Promise<void>((resolve) => (asked = resolve));
  const session = crypto.randomUUID();
  const lost = codeOf(link.call('site.next', { session, waitMs: MAX_QUESTION_MS }));
  await here;
  const gone = new Promise<void>((resolve) => rig.server.onPresence((_, online) => !online && resolve()));
  const again = until(link, 'ready');
  proxy.cut();
  expect(await lost).toBe('LINK_LOST');
  await gone;
  await turns();
  expect(replies, 'it does not wait for nobody').toEqual([{ ok: true, body: { kind: 'idle' } }]);
  await again;
  expect(await link.call('site.next', { session, waitMs: 0 })).toEqual({ ok: true, body: { kind: 'idle' } });
});

/** A link whose answers the test gives, one to each question. */
function byHand() {
  const questions: { payload: unknown; reply: (body: unknown) => void; refuse: (error: Error) => void }[] = [];
  const wakes = new Set<() => void>();
  const link: CoordinatorLink = {
    call: (_, payload) => new Promise((resolve, reject) => questions.push({ payload, reply: resolve, refuse: reject })),
    onWake(listener) {
      wakes.add(listener);
      return () => wakes.delete(listener);
    },
    close: async () => undefined,
  };
  return { link, questions, wake: () => wakes.forEach((wake) => wake()) };
}

test('an agent asks once, for as long as a coordinator holds a question, and stops without its answer', async () => {
  const cast = castOf(3);
  const { link, questions, wake } = byHand();
  const clock = new ManualClock();
  const policy = testPolicy({ rounds: 1, steps: 1 });
  const agent = agentOf(cast, policy, 'site-a', link, { clock, pollMs: WAIT });
  const running = agent.run();
  await turns();
  expect(questions.map((q) => q.payload)).toEqual([{ session: expect.any(String) as string, waitMs: WAIT }]);
  // "Nothing" before its time is no reason to ask at once: that would be to ask without end.
  questions[0].reply({ kind: 'idle' });
  await turns();
  expect(questions.length).toBe(1);
  clock.advance(WAIT);
  await turns();
  expect(questions.length).toBe(2);
  // In its time it is.
  clock.advance(WAIT);
  questions[1].reply({ kind: 'idle' });
  await turns();
  expect(questions.length).toBe(3);
  // And so is a wake, before the answer or after it.
  wake();
  questions[2].reply({ kind: 'idle' });
  await turns();
  expect(questions.length).toBe(4);
  questions[3].reply({ kind: 'idle' });
  await turns();
  wake();
  await turns();
  expect(questions.length).toBe(5);
  await agent.stop();
  expect(await running).toBe('stopped');
  // What comes of the question then is nobody's affair.
  questions[4].refuse(new FedError('LINK_LOST', 'closed'));
  await turns();
});

test('an agent that would ask seldom does not ask for more than a question may wait', async () => {
  const { link, questions } = byHand();
  const policy = testPolicy({ rounds: 1, steps: 1 });
  const agent = agentOf(castOf(3), policy, 'site-a', link, { clock: new ManualClock(), pollMs: 10 * MAX_QUESTION_MS });
  const running = agent.run();
  await turns();
  expect(questions.map((q) => q.payload)).toMatchObject([{ waitMs: MAX_QUESTION_MS }]);
  await agent.stop();
  expect(await running).toBe('stopped');
});

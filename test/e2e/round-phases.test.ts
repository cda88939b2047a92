/** Rounds of several phases: who is asked, who may vanish, and what a void after the last phase means for a site. */
import { expect, test } from 'vitest';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { FedError } from '../../shared/errors.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { turned } from '../support/quiet.ts';
import { Hand, Tap, passTime } from '../support/round-hand.ts';
import { RUN_ID, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { threePhasesCoordinator, threePhasesSite } from '../support/three-phases.ts';

const DEADLINE = 60_000;

test('a run under a scheme of three phases ends like any other', async () => {
  const [cast, policy, tap] = [castOf(3), testPolicy({ rounds: 2 }), new Tap()];
  const store = new MemoryStore();
  const coordinator = coordinatorOf(cast, policy, { store, scheme: threePhasesCoordinator(), onEvent: tap.hear });
  const agents = [...cast.sites.keys()].map((id) =>
    agentOf(cast, policy, id, coordinator, { scheme: threePhasesSite }),
  );
  await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  expect(tap.of('phase-opened').map((e) => [e.round, e.phase])).toEqual([[0, 1], [0, 2], [1, 1], [1, 2], [2, 1], [2, 2]]); // prettier-ignore
  expect(tap.of('round-closed').every((e) => e.contributors.length === 3)).toBe(true);

  const clear = coordinatorOf(cast, policy);
  await Promise.all([clear.run(), ...[...cast.sites.keys()].map((id) => agentOf(cast, policy, id, clear).run())]);
  expect((await coordinator.generator()).record.weights).toEqual((await clear.generator()).record.weights);
});

test('a site that vanishes between two phases costs one deadline, and what it sent before may still count', async () => {
  const cast = castOf(4);
  const policy = testPolicy({ rounds: 1, steps: 1, warmUp: 0, quorum: 3, deadlineSeconds: DEADLINE / 1000 });
  const [tap, clock] = [new Tap(), new ManualClock()];
  const coordinator = coordinatorOf(cast, policy, { scheme: threePhasesCoordinator(), clock, onEvent: tap.hear });
  const hands = [...cast.sites].map(([id, keys]) => new Hand(coordinator, id, keys));
  const run = coordinator.run();
  await tap.when('run-started');
  for (const hand of hands) await hand.next();
  await tap.when('round-opened');
  const bodyOnly = async (hand: Hand) => {
    const { message } = await hand.answerTo(await hand.work(), [], { body: {}, tensorSha256: null });
    await hand.link.call('round.answer', message);
  };
  for (const hand of hands) await bodyOnly(hand);
  await tap.when('phase-opened', 1);
  for (const hand of hands) await hand.send(await hand.work(), [0.1, 0.1, 0.1, 0.1], { body: {} });
  await tap.when('phase-opened', 2);
  const [gone, ...rest] = hands;
  for (const hand of rest) await bodyOnly(hand);
  await passTime(clock, DEADLINE);
  expect((await tap.when('round-closed')).contributors).toContain(gone.siteId);
  expect((await tap.when('round-opened', 2)).plan.invited).not.toContain(gone.siteId);
  await coordinator.stop();
  await run;
});

test('a void after consent was given makes a site take fresh steps, paid for, and a new update', async () => {
  const [cast, tap] = [castOf(3), new Tap()];
  const policy = testPolicy({ rounds: 1, steps: 2, warmUp: 0 });
  const clock = new ManualClock();
  const generators = { failed: 0 };
  const scheme = threePhasesCoordinator((attempt) => {
    if (tap.of('round-closed').length === 1 && attempt === 0) {
      generators.failed += 1;
      throw new FedError('ROUND_VOID', 'too few shares');
    }
  });
  const coordinator = coordinatorOf(cast, policy, { scheme, clock, onEvent: tap.hear });
  const ids = [...cast.sites.keys()];
  const ledgers = new Map(ids.map((id) => [id, new Ledger(':memory:')]));
  const outboxes = new Map(ids.map((id) => [id, new Outbox(':memory:')]));
  const agents = ids.map((id) =>
    agentOf(cast, policy, id, coordinator, {
      scheme: threePhasesSite,
      ledger: ledgers.get(id)!,
      outbox: outboxes.get(id)!,
      clock,
    }),
  );
  const all = Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  await tap.when('round-void');
  // The pause after a void that no deadline has slowed down.
  while (tap.of('round-closed').length < 2) {
    if (await turned()) clock.advance(100);
  }
  await all;
  expect(generators.failed).toBe(1);
  for (const id of ids) {
    const outbox = outboxes.get(id)!;
    const round = { runId: RUN_ID, round: 1 };
    // 1 moment release; 2 steps of the first attempt; 2 of the second, whose update is another.
    expect(ledgers.get(id)!.entries()).toHaveLength(1 + 2 + 2);
    expect(outbox.discriminator(RUN_ID)).toMatchObject({ round: 1, take: 1, steps: 2, total: 4 });
    expect(outbox.update(round, 0)).not.toEqual(outbox.update(round, 1));
  }
});

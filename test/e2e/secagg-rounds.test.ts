/** Whole rounds under secagg by the real coordinator and real agents, in one process: drop-outs, and what is on the wire. */
import { describe, expect, test } from 'vitest';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { SiteScheme } from '../../shared/aggregation/aggregation.ts';
import { packFloat32 } from '../../shared/aggregation/clear.ts';
import { secaggSite } from '../../shared/aggregation/secagg/site.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Tap } from '../support/round-hand.ts';
import { MASKED, RUN_ID, StubComputation, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { PHASES, Recorder, dropping } from '../support/secagg-wire.ts';
import type { SecretPhase } from '../support/secagg-wire.ts';

const masked = (n: number, over = {}) =>
  testPolicy({ rounds: 1, steps: 1, warmUp: 0, minSites: 3, aggregation: { ...MASKED, maxSites: n, ...over } });

test('a run of three sites ends with the generator of a clear run, up to quantisation', async () => {
  const cast = castOf(3);
  const weightsOf = async (policy: ReturnType<typeof testPolicy>) => {
    const coordinator = coordinatorOf(cast, policy);
    const agents = [...cast.sites.keys()].map((id) => agentOf(cast, policy, id, coordinator));
    const ends = await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
    expect(new Set(ends)).toEqual(new Set(['completed']));
    return new Float32Array(new Uint8Array((await coordinator.generator()).state).buffer);
  };
  const aggregation = { ...MASKED, bits: 29 };
  // The stub's values do not depend on the policy; its plan's seed does, in discriminator steps: none here.
  const rounds = { rounds: 0, steps: 1, warmUp: 0 };
  const clear = await weightsOf(testPolicy(rounds));
  const hidden = await weightsOf(testPolicy({ ...rounds, aggregation }));
  // Moments: range 8,040 at 29 bits is a step of 3e-5, three sites.
  for (let i = 0; i < clear.length; i++) expect(Math.abs(clear[i] - hidden[i])).toBeLessThan(3 * 3.1e-5);
});

describe('one of five sites vanishes', () => {
  test.each(PHASES)('in phase %s: the same attempt closes without the deadline', async (phase) => {
    const cast = castOf(5);
    const policy = masked(5, { minSites: 5, minSurvivors: 3, maxDropouts: 2 });
    const tap = new Tap();
    const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear, absentMs: 20 });
    const agents = [...cast.sites.keys()].map((id) => {
      const link = directLink(coordinator, id);
      return agentOf(cast, policy, id, id === 'site-e' ? dropping(link, coordinator, id, phase) : link, { pollMs: 50 });
    });
    const run = coordinator.run();
    const runs = agents.map((a) => a.run());
    const closed = await tap.when('round-closed');
    // What it sent counts, if it is in: after its upload nothing more of it is needed.
    const counts = phase === 'agree' || phase === 'reveal';
    expect(closed.attempt).toBe(0);
    expect(closed.contributors.includes('site-e')).toBe(counts);
    expect(closed.contributors.length).toBe(counts ? 5 : 4);
    await Promise.all([coordinator.stop(), ...agents.map((a) => a.stop())]);
    await Promise.all([run, ...runs]);
  });

  test('a second one in a later phase: three are enough', async () => {
    const cast = castOf(5);
    const policy = masked(5, { minSites: 5, minSurvivors: 3, maxDropouts: 2 });
    const tap = new Tap();
    const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear, absentMs: 20 });
    const vanish: Record<string, SecretPhase> = { 'site-d': 'upload', 'site-e': 'reveal' };
    const agents = [...cast.sites.keys()].map((id) => {
      const link = directLink(coordinator, id);
      return agentOf(cast, policy, id, vanish[id] ? dropping(link, coordinator, id, vanish[id]) : link, { pollMs: 50 });
    });
    const runs = [coordinator.run(), ...agents.map((a) => a.run())];
    const closed = await tap.when('round-closed');
    expect([closed.attempt, closed.contributors]).toEqual([0, ['site-a', 'site-b', 'site-c', 'site-e']]);
    await Promise.all([coordinator.stop(), ...agents.map((a) => a.stop())]);
    await Promise.all(runs);
  });
});

test('with three sites a drop-out voids the round; whoever had sent its update makes a new one, paid for', async () => {
  const cast = castOf(3);
  const policy = testPolicy({ rounds: 0, steps: 1, warmUp: 0, deadlineSeconds: 1, aggregation: MASKED });
  const tap = new Tap();
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear, absentMs: 20 });
  const ledgers = new Map([...cast.sites.keys()].map((id) => [id, new Ledger(':memory:')]));
  const agents = [...cast.sites.keys()].map((id) => {
    const real = directLink(coordinator, id);
    const away = id === 'site-c' ? () => tap.of('round-void').length === 0 : () => false;
    const link = dropping(real, coordinator, id, 'upload', away);
    return agentOf(cast, policy, id, link, { ledger: ledgers.get(id)!, pollMs: 50, retryMs: 50 });
  });
  await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  expect(tap.of('round-void').map((e) => [e.round, e.attempt, e.code])).toEqual([[0, 0, 'ROUND_VOID']]);
  const [closed] = tap.of('round-closed');
  expect([closed.attempt, closed.contributors]).toEqual([1, ['site-a', 'site-b', 'site-c']]);
  // The one that had not got its update out may use it; its answer was stored, so to itself it may have been sent.
  expect([...ledgers.values()].map((ledger) => ledger.entries().length)).toEqual([2, 2, 2]);
});

test('a site whose upload has another size is refused by code, in the log, and the round closes with the others', async () => {
  const cast = castOf(5);
  const policy = masked(5, { minSites: 5, minSurvivors: 3, maxDropouts: 2 });
  const [tap, store] = [new Tap(), new MemoryStore()];
  const coordinator = coordinatorOf(cast, policy, { store, onEvent: tap.hear, absentMs: 20 });
  const ids = [...cast.sites.keys()];
  const agents = ids.map((id) => {
    const honest = secaggSite({
      siteId: id,
      keys: cast.sites.get(id)!,
      policy,
      terms: roundTermsOf(policy),
      roster: async () => cast.roster,
      nowMs: () => 0,
    });
    const scheme: SiteScheme = {
      ...honest,
      async answer(p) {
        const made = await honest.answer(p);
        const { body, tensor } = made.uplink;
        return tensor === null ? made : { ...made, uplink: { body, tensor: tensor.subarray(4) } };
      },
    };
    return agentOf(cast, policy, id, coordinator, { pollMs: 50, ...(id === 'site-e' && { scheme }) });
  });
  const runs = [coordinator.run(), ...agents.map((a) => a.run())];
  const closed = await tap.when('round-closed');
  expect([closed.attempt, closed.contributors]).toEqual([0, ids.slice(0, 4)]);
  await Promise.all([coordinator.stop(), ...agents.map((a) => a.stop())]);
  await Promise.all(runs);
  const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 1000));
  const refused = log.filter((e) => e.kind === 'refused').map((e) => e.body as Record<string, unknown>);
  expect(refused[0]).toMatchObject({ round: 0, phase: 2, siteId: 'site-e', code: 'UPDATE_SHAPE' });
});

/** Keeps what it works out, to be looked for. */
class Noting extends StubComputation {
  readonly updates: Float32Array[] = [];
  override async generatorGradient(...args: Parameters<StubComputation['generatorGradient']>) {
    const made = await super.generatorGradient(...args);
    this.updates.push(made.update);
    return made;
  }
  override async noisedMoments() {
    const update = await super.noisedMoments();
    this.updates.push(update);
    return update;
  }
}

test('no two values of an update are on the wire of a whole run; in a clear run all are', async () => {
  const found = async (policy: ReturnType<typeof testPolicy>) => {
    const cast = castOf(3);
    const coordinator = coordinatorOf(cast, policy);
    const recorder = new Recorder();
    const computations = [...cast.sites.keys()].map((id) => new Noting(id, policy, true));
    const agents = [...cast.sites.keys()].map((id, i) =>
      agentOf(cast, policy, id, recorder.around(directLink(coordinator, id)), { computation: computations[i] }),
    );
    await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
    const { bytes } = recorder;
    const pairs = computations.flatMap((c) =>
      c.updates.flatMap((u) => Array.from({ length: u.length - 1 }, (_, i) => packFloat32(u.slice(i, i + 2)))),
    );
    return {
      there: pairs.filter((pair) => bytes.includes(Buffer.from(pair))).length,
      of: pairs.length,
      bytes: bytes.length,
    };
  };
  const clear = await found(testPolicy({ rounds: 2 }));
  expect(clear.of).toBeGreaterThan(30);
  expect(clear.there).toBe(clear.of);
  const hidden = await found(testPolicy({ rounds: 2, aggregation: MASKED }));
  expect(hidden.of).toBe(clear.of);
  expect(hidden.bytes).toBeGreaterThan(clear.bytes);
  expect(hidden.there).toBe(0);
});

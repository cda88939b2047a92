/** Whole rounds under secagg by the real coordinator and real agents, in one process: drop-outs, and what is on the wire. */
import { describe, expect, test } from 'vitest';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { SiteScheme } from '../../shared/aggregation/aggregation.ts';
import { packFloat32 } from '../../shared/aggregation/clear.ts';
import { secaggSite } from '../../shared/aggregation/secagg/site.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import type { LogEntry } from '../../shared/audit/entry.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
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
    // There is an agreement to vanish from where another's upload is missing.
    const vanish: Record<string, SecretPhase> = { 'site-e': phase, ...(phase === 'agree' && { 'site-d': 'upload' }) };
    const agents = [...cast.sites.keys()].map((id) => {
      const link = directLink(coordinator, id);
      return agentOf(cast, policy, id, vanish[id] ? dropping(link, coordinator, id, vanish[id]) : link, { pollMs: 50 });
    });
    const run = coordinator.run();
    const runs = agents.map((a) => a.run());
    const closed = await tap.when('round-closed');
    // What it sent counts, if it is in: after its upload nothing more of it is needed.
    const counts = phase === 'agree' || phase === 'reveal';
    expect(closed.attempt).toBe(0);
    expect(closed.contributors.includes('site-e')).toBe(counts);
    expect(closed.contributors.length).toBe(phase === 'reveal' ? 5 : 4);
    // Whoever has not shared masks is missing in no list.
    const agreed = tap.of('answered').some((e) => e.phase === PHASES.indexOf('agree'));
    expect(agreed).toBe(phase === 'upload' || phase === 'agree');
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

/** What a run's log says of its phases. */
const phasesIn = (log: readonly LogEntry[], kind: string) =>
  log.filter((e) => e.kind === kind).map((e) => (e.body as { phase: number }).phase);

test('where nobody is missing a round has one exchange less, and the log says which was passed over', async () => {
  const cast = castOf(5);
  const play = async (vanishes: boolean) => {
    const policy = masked(5, { minSites: 5, minSurvivors: 3, maxDropouts: 2 });
    const [tap, store] = [new Tap(), new MemoryStore()];
    const coordinator = coordinatorOf(cast, policy, { store, onEvent: tap.hear, absentMs: 20 });
    let calls = 0;
    const agents = [...cast.sites.keys()].map((id) => {
      const real = directLink(coordinator, id);
      const counted: CoordinatorLink = {
        ...real,
        call: (type, payload) => {
          calls += type === 'round.answer' ? 1 : 0;
          return real.call(type, payload);
        },
      };
      const link = vanishes && id === 'site-e' ? dropping(counted, coordinator, id, 'upload') : counted;
      return agentOf(cast, policy, id, link, { pollMs: 50 });
    });
    const runs = [coordinator.run(), ...agents.map((a) => a.run())];
    const closed = await tap.when('round-closed');
    const answers = calls;
    await Promise.all([coordinator.stop(), ...agents.map((a) => a.stop())]);
    await Promise.all(runs);
    const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 1000));
    const first = log.filter((e) => (e.body as { round?: number }).round === 0);
    return { closed, answers, first };
  };
  const whole = await play(false);
  expect(whole.closed.contributors.length).toBe(5);
  // Keys, shares, uploads, openings. The next round may have begun.
  expect(phasesIn(whole.first, 'sealed')).toEqual([0, 1, 2, 4]);
  expect(phasesIn(whole.first, 'phase-skipped')).toEqual([3]);
  expect(phasesIn(whole.first, 'answer-accepted').length).toBe(4 * 5);
  const some = await play(true);
  expect(some.closed.contributors.length).toBe(4);
  expect(phasesIn(some.first, 'sealed')).toEqual([0, 1, 2, 3, 4]);
  expect(phasesIn(some.first, 'phase-skipped')).toEqual([]);
  expect(phasesIn(some.first, 'answer-accepted').length).toBe(2 * 5 + 3 * 4);
});

test('a site that has opened the whole list is not brought to agree on another, also when it was started again', async () => {
  const cast = castOf(5);
  const policy = masked(5, { minSites: 5, minSurvivors: 3, maxDropouts: 2 });
  const tap = new Tap();
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear, absentMs: 20 });
  const outbox = new Outbox(':memory:');
  const ledger = new Ledger(':memory:');
  const said: { type: string; phase: number | null; code: string | null }[] = [];
  let work: Record<string, unknown> | null = null;
  let lying = false;
  const real = directLink(coordinator, 'site-a');
  // In the coordinator's place: once it has the site's shares, it asks the site to agree on a list without site e.
  const link: CoordinatorLink = {
    ...real,
    async call(type, payload) {
      if (type === 'round.answer' || type === 'round.decline') {
        const { phase, code } = payload as { phase?: number; code?: string };
        said.push({ type, phase: phase ?? null, code: code ?? null });
      }
      if (type === 'site.next' && lying) {
        const survivors = [...cast.sites.keys()].slice(0, 4);
        return { ...work, phase: 3, downlink: { survivors } };
      }
      const body = await real.call(type, payload);
      const reply = body as Record<string, unknown> | null;
      if (type === 'site.next' && reply?.['kind'] === 'work') work = reply;
      if (type === 'round.answer' && (payload as { phase: number }).phase === 4) lying = true;
      return body;
    },
  };
  const lives = () => agentOf(cast, policy, 'site-a', link, { pollMs: 20, retryMs: 20, outbox, ledger });
  const others = [...cast.sites.keys()].slice(1).map((id) => agentOf(cast, policy, id, coordinator, { pollMs: 50 }));
  const first = lives();
  const runs = [coordinator.run(), ...others.map((a) => a.run()), first.run()];
  await tap.when('round-closed');
  while (!said.some((s) => s.type === 'round.decline')) await new Promise<void>((resolve) => setImmediate(resolve));
  await first.stop();
  const again = lives();
  runs.push(again.run());
  const declines = () => said.filter((s) => s.type === 'round.decline');
  const before = declines().length;
  while (declines().length === before) await new Promise<void>((resolve) => setImmediate(resolve));
  await Promise.all([again.stop(), coordinator.stop(), ...others.map((a) => a.stop())]);
  await Promise.all(runs);
  expect(new Set(declines().map((s) => s.code))).toEqual(new Set(['PHASE_OUT_OF_TURN']));
  // What it was asked for besides, it has answered once each, and nothing of it twice.
  expect(said.filter((s) => s.type === 'round.answer').map((s) => s.phase)).toEqual([0, 1, 2, 4]);
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

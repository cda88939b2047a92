/** What a site says no to, in words; and that a run goes on without it. */
import { expect, test } from 'vitest';
import { gaussianEvent } from '../../shared/dp/event.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import type { SiteAgentOptions } from '../../site-agent/agent.ts';
import { runBudgetOf } from '../../site-agent/core/budget.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { EMPTY_MEMORY } from '../../shared/audit/witness.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { Tap } from '../support/round-hand.ts';
import {
  RUN_ID,
  StubComputation,
  StubTrainer,
  agentOf,
  castOf,
  coordinatorOf,
  testBounds,
  testPolicy,
} from '../support/round-rig.ts';

const policy = testPolicy({ rounds: 2, steps: 2, warmUp: 0 });

/** Runs four sites of which the first differs by `odd`; the other three make every round. */
async function runWith(odd: Partial<SiteAgentOptions>) {
  const [cast, tap] = [castOf(4), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear });
  const [first, ...others] = [...cast.sites.keys()];
  const agents = [
    // Nobody wakes a site that follows no plan: it asks again, here at once.
    agentOf(cast, policy, first, coordinator, { pollMs: 20, ...odd }),
    ...others.map((id) => agentOf(cast, policy, id, coordinator)),
  ];
  const ends = await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  expect(ends).toEqual(['completed', 'completed', 'completed', 'completed', 'completed']);
  const closed = tap.of('round-closed');
  return { declines: tap.of('declined'), contributors: closed.map((e) => e.contributors.length), tap, first };
}

test('a policy outside its bounds is declined with what is outside, before anything is charged', async () => {
  const ledger = new Ledger(':memory:');
  const bounds = { ...testBounds, maxEpsilon: 0.5, minSites: 10 };
  const { declines, contributors, first } = await runWith({ bounds, ledger });
  expect(declines).toHaveLength(1);
  expect(declines[0]).toMatchObject({ siteId: first, code: 'BOUNDS_EXCEEDED', round: 0 });
  expect(declines[0].detail).toMatch(/epsilon of a whole run .* at most 0.5/);
  expect(declines[0].detail).toMatch(/fewest sites of a round is 3; this site asks for at least 10/);
  expect(ledger.entries()).toEqual([]);
  expect(contributors).toEqual([3, 3, 3]);
});

/** What the whole run would bring a lifetime at this delta to, on an empty ledger. */
const wholeRun = () => {
  const [budget, lifetime] = [runBudgetOf(policy, 'site-a'), { epsilon: 1, delta: 1e-5 }];
  return new Ledger(':memory:').wholeRun({ runId: null, budget, lifetime })[0].atItsEnd;
};

test('a lifetime that is short for the whole run is found before its first round, and named', async () => {
  const ledger = new Ledger(':memory:');
  const lifetime = { epsilon: wholeRun() * 0.999, delta: 1e-5 };
  const { declines, contributors } = await runWith({ ledger, bounds: { ...testBounds, lifetime } });
  expect(declines).toMatchObject([{ code: 'BUDGET_EXHAUSTED', round: 0 }]);
  expect(declines[0].detail).toMatch(
    /all runs: the whole run would bring epsilon to \d\S* at delta 0.00001, at most \d\S*; 0.00000 is spent already/,
  );
  expect(ledger.entries()).toEqual([]);
  expect(contributors).toEqual([3, 3, 3]);
});

test('a lifetime that another run on the same ledger used up is declined before the next round, with the numbers', async () => {
  const ledger = new Ledger(':memory:');
  const other = { runId: '11111111-2222-4333-8444-555555555555', policySha256: 'a'.repeat(64), round: 0, step: 0 };
  const unlimited = { caps: null, epsilon: Infinity, delta: 1e-5, overflowDelta: 0 };
  /** While this site sums its moments, another run of it pays for something large. */
  class Shared extends StubComputation {
    override noisedMoments() {
      ledger.charge({ ...other, event: gaussianEvent(0.5), budget: unlimited, lifetime: null, timeMs: 0 });
      return super.noisedMoments();
    }
  }
  const bounds = { ...testBounds, lifetime: { epsilon: wholeRun() * 1.001, delta: 1e-5 } };
  const { declines, contributors } = await runWith({ ledger, bounds, computation: new Shared('site-a', policy) });
  expect(declines).toMatchObject([{ code: 'BUDGET_EXHAUSTED', round: 1 }]);
  expect(declines[0].detail).toMatch(/all runs: epsilon \d\S* after the step, at most \d/);
  expect(ledger.entries()).toHaveLength(2);
  expect(contributors).toEqual([4, 3, 3]);
});

test('another policy than its own is declined', async () => {
  const { declines } = await runWith({ policy: testPolicy({ rounds: 2, steps: 1, warmUp: 0 }) });
  expect(declines).toMatchObject([{ code: 'POLICY_MISMATCH' }]);
  expect(declines[0].detail).toMatch(/policySha256 is [0-9a-f]{64}; the policy has [0-9a-f]{64}/);
});

test.each([
  ['of another size', (w: Float32Array) => Float32Array.of(...w, 0)],
  ['that is not finite', (w: Float32Array) => w.map((x, i) => (i === 0 ? NaN : x))],
])('a generator %s is declined before anything is charged for it', async (_, spoil) => {
  class Spoiler extends StubTrainer {
    override weights(state: Uint8Array): Float32Array {
      return spoil(super.weights(state));
    }
  }
  const [cast, tap] = [castOf(3), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear, trainer: new Spoiler() });
  const ledgers = [...cast.sites.keys()].map((id) => [id, new Ledger(':memory:')] as const);
  const agents = ledgers.map(([id, ledger]) => agentOf(cast, policy, id, coordinator, { ledger }));
  const running = [coordinator.run(), ...agents.map((a) => a.run())];
  const declined = await tap.when('declined');
  expect(declined).toMatchObject({ code: 'PARAMETER_INVALID', round: 1 });
  await tap.when('round-void');
  await Promise.all([coordinator, ...agents].map((x) => x.stop()));
  await Promise.all(running);
  // The moment round's entry, and none for a step that could not be taken.
  for (const [, ledger] of ledgers) expect(ledger.entries().map(({ round }) => round)).toEqual([0]);
});

test('a plan that another key signed is declined', async () => {
  const { declines } = await runWith({ coordinatorKey: publicPart(createSigningKeys().signing) });
  expect(declines).toMatchObject([{ code: 'SIGNATURE_INVALID' }]);
});

test('a log that does not continue the one this site has seen is declined', async () => {
  for (const [size, code] of [
    [2, 'LOG_FORKED'],
    [500, 'LOG_REWOUND'],
  ] as const) {
    const outbox = new Outbox(':memory:');
    const head = { size, root: 'f'.repeat(64) };
    outbox.putWitness(RUN_ID, { ...EMPTY_MEMORY, head, frontier: [head.root], recent: [head] });
    const { declines } = await runWith({ outbox });
    expect(declines).toMatchObject([{ code }]);
  }
});

test('a site follows the log to the head of every plan', async () => {
  const outbox = new Outbox(':memory:');
  const { tap } = await runWith({ outbox });
  const last = tap.of('round-opened').at(-1)!.plan;
  const memory = outbox.witness(RUN_ID)!;
  expect(memory.recent).toContainEqual(last.checkpoint);
  // Beyond the last plan it has cosigned the end of the run.
  expect(memory.head.size).toBeGreaterThan(last.checkpoint.size);
  expect(last.checkpoint.size).toBeGreaterThan(20);
});

test('a site whose computation fails declines, and its agent stops with the reason', async () => {
  const [cast, tap] = [castOf(4), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear });
  const [first, ...others] = [...cast.sites.keys()];
  const broken = agentOf(cast, policy, first, coordinator, {
    computation: {
      initialState: () => Promise.reject(new Error('no images')),
      noisedMoments: () => Promise.reject(new Error('disk is gone')),
      momentEvent: () => ({ kind: 'gaussian', sensitivity: 1, noiseMultiplier: 5, count: 1 }),
      checkGenerator: () => undefined,
      checkCritic: () => undefined,
      discriminatorEvent: () => ({ kind: 'not-private', count: 1 }),
      discriminatorStep: () => Promise.reject(new Error('no images')),
      generatorGradient: () => Promise.reject(new Error('no images')),
    },
  });
  const failing = expect(broken.run()).rejects.toThrow('disk is gone');
  await Promise.all([coordinator.run(), ...others.map((id) => agentOf(cast, policy, id, coordinator).run()), failing]);
  // The private reason stays at the site.
  expect(tap.of('declined')).toMatchObject([{ siteId: first, code: 'INTERNAL', detail: 'the site failed' }]);
});

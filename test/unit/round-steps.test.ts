/** Adaptive discriminator steps: one number for all sites, off unless the policy has it, within maxSteps, durable. */
import { expect, test } from 'vitest';
import { FIRST_STEPS, meanOfFakes, nextSteps, stepsAfter } from '../../coordinator/core/step-schedule.ts';
import type { StepState } from '../../coordinator/core/step-schedule.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { Store } from '../../coordinator/store/store.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import { scheduledSteps } from '../../shared/protocol/terms.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { planOf, Tap } from '../support/round-hand.ts';
import { RUN_ID, StubComputation, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { play } from '../support/round-theatre.ts';

const adaptive = { ladder: [1, 2, 4], accuracyAtMost: 0.6, emaBeta: 0, graceRounds: 2 };
const off = testPolicy({ rounds: 6, steps: 1 });
const on = testPolicy({ rounds: 6, steps: 1, maxSteps: 30, adaptive });
const terms = roundTermsOf(on);
const report = (fakeAccuracy: number) => ({ fakeLoss: 0.7, fakeAccuracy });

/** Steps of every round when the sites report these accuracies. */
function stepsOver(t: typeof terms, accuracies: readonly number[], entries = (planned: number) => planned): number[] {
  let state: StepState | undefined;
  return accuracies.map((accuracy, round) => {
    const steps = nextSteps(t, round, state ?? FIRST_STEPS, entries(state?.planned ?? 0));
    const kind = round === 0 ? 'moments' : 'generator';
    state = stepsAfter(t, { kind, discriminatorSteps: steps }, state, report(accuracy));
    return steps;
  });
}
const blind = new Array<number>(7).fill(0.5);

test('off by default: the schedule is the policy’s own, and nothing is remembered', () => {
  const t = roundTermsOf(off);
  expect(t.adaptiveSteps).toBeNull();
  expect(stepsOver(t, blind)).toEqual(blind.map((_, round) => scheduledSteps(t, round)));
  const plan = { kind: 'generator', discriminatorSteps: 2 } as const;
  expect(stepsAfter(t, plan, undefined, report(0.5))).toBeUndefined();
});

test('climbs while fakes pass for real, after every grace; the warm-up stays in the first round', () => {
  expect(stepsOver(terms, blind)).toEqual([0, 2, 1, 2, 2, 4, 4]);
  expect(stepsOver(terms, [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])).toEqual([0, 2, 1, 1, 1, 1, 1]);
});

test('reports that are no share are left out, and a round without one changes no average', () => {
  expect(meanOfFakes([report(0.2), null, report(0.4), report(7), report(-1), report(NaN)])?.fakeAccuracy).toBeCloseTo(
    0.3,
  );
  expect(meanOfFakes([null, report(1.5)])).toBeNull();
  expect(meanOfFakes(new Array(10).fill(report(1)))).toMatchObject({ fakeAccuracy: 1 });
  const before: StepState = { rung: 0, ema: 0.9, rounds: 5, planned: 3 };
  const after = stepsAfter(terms, { kind: 'generator', discriminatorSteps: 1 }, before, null);
  expect(after).toEqual({ rung: 0, ema: 0.9, rounds: 6, planned: 4 });
});

test('never plans more than maxSteps leaves, and leaves later rounds their ordinary steps', () => {
  const sum = (steps: number[]) => steps.reduce((a, b) => a + b, 0);
  for (let maxSteps = 7; maxSteps <= 16; maxSteps++) {
    const steps = stepsOver({ ...terms, maxSteps }, blind);
    expect(sum(steps)).toBe(Math.min(15, maxSteps));
    expect(steps.slice(1).every((n) => n >= 1)).toBe(true);
  }
  // A site that paid for three steps twice: what it has left binds everybody.
  const entries = (planned: number) => planned + 1 + 3;
  expect(sum(stepsOver({ ...terms, maxSteps: 15 }, blind, entries))).toBe(12);
  // One that claims to have spent everything stops the climb, not the run.
  expect(stepsOver({ ...terms, maxSteps: 15 }, blind, () => 1e9)).toEqual([0, 2, 1, 1, 1, 1, 1]);
});

/** Discriminator steps of every plan in a run's log. */
async function plannedIn(store: Store): Promise<number[]> {
  const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 1000));
  return log
    .filter((e) => e.kind === 'plan')
    .map((e) => planOf({ plan: (e.body as { plan: string }).plan } as Parameters<typeof planOf>[0]).discriminatorSteps);
}

test('in a run: what the sites report reaches the events, and the ladder the plans', async () => {
  const cast = castOf(3);
  const [store, tap] = [new MemoryStore(), new Tap()];
  const coordinator = coordinatorOf(cast, on, { store, onEvent: tap.hear });
  // One site's numbers overflow and one reports nonsense: the third decides.
  const accuracies = [NaN, 7, 0.5];
  const ledgers = [...cast.sites.keys()].map((id, i) => {
    const computation = new StubComputation(id, on);
    const gradient = computation.generatorGradient.bind(computation);
    computation.generatorGradient = async (...args) => ({
      ...(await gradient(...args)),
      fakes: { fakeLoss: 0.25, fakeAccuracy: accuracies[i] },
    });
    const ledger = new Ledger(':memory:');
    void agentOf(cast, on, id, coordinator, { computation, ledger }).run();
    return ledger;
  });
  expect(await coordinator.run()).toBe('completed');
  expect(await plannedIn(store)).toEqual([0, 2, 1, 2, 2, 4, 4]);
  expect(ledgers.map((l) => l.entries().length)).toEqual([16, 16, 16]);
  expect(tap.of('round-closed').map((e) => e.fakes)).toEqual([
    null,
    ...new Array(6).fill({ fakeLoss: 0.25, fakeAccuracy: 0.5 }),
  ]);
  const told = tap.of('answered').filter((e) => e.round === 1);
  expect(told.map((e) => e.fakes?.fakeAccuracy).sort()).toEqual([0.5, 7, undefined]);
});

test('the schedule survives restarts of everyone, at the same numbers', async () => {
  const cast = castOf(3);
  const undisturbed = await play(cast, on, { deaths: {} });
  const expected = await plannedIn(undisturbed.store);
  expect(expected).toEqual([0, 2, 1, 2, 2, 4, 4]);
  const deaths = { coordinator: [90, 150, 210, 250], 'site-a': [30, 45], 'site-b': [60] };
  const ending = await play(cast, on, { deaths });
  expect(ending.kills.get('coordinator')).toBe(4);
  expect(await plannedIn(ending.store)).toEqual(expected);
  expect(ending.generator).toBe(undisturbed.generator);
});

test('a policy without adaptive steps leaves no trace of them in the record', async () => {
  const { store } = await play(castOf(3), testPolicy({ rounds: 1 }), { deaths: {} });
  expect(await store.transaction((tx) => tx.run(RUN_ID))).not.toHaveProperty('steps');
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, expect, test } from 'vitest';
import { costOfEvents } from '../../shared/dp/convert.ts';
import { gaussianEvent, poissonGaussianEvent, withCount } from '../../shared/dp/event.ts';
import type { PrivacyEvent } from '../../shared/dp/event.ts';
import { lifetimeCost } from '../../shared/dp/ledger-math.ts';
import { FedError } from '../../shared/errors.ts';
import type { RunBudget } from '../../site-agent/core/budget.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import type { ChargeRequest } from '../../site-agent/shell/ledger.ts';
import { RUN_ID } from '../support/round-rig.ts';

const OTHER_RUN = '11111111-2222-4333-8444-555555555555';
const step = poissonGaussianEvent(0.05, 1.2);
const delta = 1e-5;
const epsilonAfter = (n: number) => costOfEvents([withCount(step, n)], delta).epsilon;
const budget: RunBudget = { caps: null, epsilon: epsilonAfter(10), delta, overflowDelta: 0 };
const charge = (o: Partial<ChargeRequest> = {}): ChargeRequest => ({
  runId: RUN_ID,
  policySha256: 'a'.repeat(64),
  round: 0,
  step: 0,
  event: step,
  budget,
  lifetime: null,
  timeMs: 1,
  ...o,
});
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof FedError) return error.message;
    throw error;
  }
  return 'no error';
};

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((f) => rmSync(f, { recursive: true })));
const newFile = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'veilgan-ledger-')));
  return join(folders.at(-1)!, 'ledger.sqlite');
};

test('charges up to the budget and not one step further, naming the numbers', () => {
  const ledger = new Ledger(':memory:');
  for (let i = 0; i < 10; i++) ledger.charge(charge({ step: i }));
  expect(ledger.spent(RUN_ID, budget)).toEqual({
    epsilon: epsilonAfter(10),
    events: [withCount(step, 10)],
    entries: 10,
  });
  expect(refusal(() => ledger.charge(charge({ step: 10 })))).toBe(
    `BUDGET_EXHAUSTED: this run: epsilon ${epsilonAfter(11).toPrecision(6)} after the step, at most ${budget.epsilon}`,
  );
  expect(ledger.entries()).toHaveLength(10);
  expect(refusal(() => ledger.assertAffordable({ ...charge({ runId: OTHER_RUN }), count: 10 }))).toBe('no error');
  expect(refusal(() => ledger.assertAffordable({ ...charge({ runId: OTHER_RUN }), count: 11 }))).toMatch(/^BUDGET/);
  expect(refusal(() => ledger.assertAffordable({ ...charge(), count: 0 }))).toBe('no error');
});

test('another run has its own budget, and both share the lifetime', () => {
  const ledger = new Ledger(':memory:');
  const filter = (n: number) => lifetimeCost([withCount(step, n)], delta).epsilon;
  const lifetime = { epsilon: filter(15), delta };
  for (let i = 0; i < 10; i++) ledger.charge(charge({ lifetime }));
  for (let i = 0; i < 5; i++) ledger.charge(charge({ runId: OTHER_RUN, lifetime }));
  expect(ledger.lifetime(delta)).toBeCloseTo(filter(15), 12);
  // Runs may be chosen in view of earlier ones: the best order in hindsight would be no bound at all.
  expect(ledger.lifetime(delta)).toBeGreaterThan(epsilonAfter(15));
  expect(refusal(() => ledger.charge(charge({ runId: OTHER_RUN, lifetime })))).toMatch(/^BUDGET_EXHAUSTED: all runs/);
});

test('the overflow of every run is taken from the lifetime delta', () => {
  const ledger = new Ledger(':memory:');
  const wide = { ...budget, epsilon: 100, overflowDelta: delta / 4 };
  ledger.charge(charge({ budget: wide }));
  ledger.charge(charge({ budget: wide, runId: OTHER_RUN }));
  expect(ledger.lifetime(delta)).toBe(lifetimeCost([withCount(step, 2)], delta / 2).epsilon);
  expect(ledger.spent(RUN_ID, wide).epsilon).toBe(costOfEvents([step], delta * 0.75).epsilon);
});

test('the policy caps what may be done and how often, whatever it costs', () => {
  const ledger = new Ledger(':memory:');
  const capped: RunBudget = { ...budget, epsilon: 100, caps: [withCount(step, 2), gaussianEvent(5, 1)] };
  ledger.charge(charge({ budget: capped }));
  ledger.charge(charge({ budget: capped, event: gaussianEvent(5) }));
  ledger.charge(charge({ budget: capped }));
  expect(refusal(() => ledger.charge(charge({ budget: capped })))).toMatch(/^BUDGET_EXHAUSTED: 3 of "poisson.*has 2$/);
  const other = poissonGaussianEvent(0.01, 9);
  expect(refusal(() => ledger.charge(charge({ budget: capped, event: other })))).toMatch(/the policy has 0$/);
});

test('fails closed: what no accountant knows costs infinity, and a budget that is not a number buys nothing', () => {
  const ledger = new Ledger(':memory:');
  const unknown = { kind: 'quantum', count: 1 } as unknown as PrivacyEvent;
  expect(refusal(() => ledger.charge(charge({ event: unknown })))).toMatch(/^BUDGET_EXHAUSTED/);
  expect(refusal(() => ledger.charge(charge({ budget: { ...budget, epsilon: NaN } })))).toMatch(/^BUDGET_EXHAUSTED/);
  expect(refusal(() => ledger.charge(charge({ budget: { ...budget, delta: 0 } })))).toMatch(/^BUDGET_EXHAUSTED/);
  // A run without privacy, to which the site agreed, is written down: nothing private can be had from this data after.
  const insecure: RunBudget = { caps: null, epsilon: Infinity, delta, overflowDelta: 0 };
  ledger.charge(charge({ event: { kind: 'not-private', count: 1 }, budget: insecure }));
  expect(ledger.lifetime(delta)).toBe(Infinity);
  const lifetime = { epsilon: 1000, delta };
  expect(refusal(() => ledger.charge(charge({ runId: OTHER_RUN, lifetime })))).toMatch(/^BUDGET_EXHAUSTED: all runs/);
});

test('outlives its process, and a second process on the same file shares the budget', () => {
  const file = newFile();
  const first = new Ledger(file);
  for (let i = 0; i < 6; i++) first.charge(charge());
  const second = new Ledger(file);
  for (let i = 0; i < 4; i++) second.charge(charge());
  expect(refusal(() => first.charge(charge()))).toMatch(/^BUDGET_EXHAUSTED/);
  expect(first.head()).toEqual(second.head());
  first.close();
  second.close();
});

test('refuses UPDATE and DELETE, and a chain that was changed behind its back', () => {
  const file = newFile();
  const ledger = new Ledger(file);
  for (let i = 0; i < 3; i++) ledger.charge(charge({ step: i }));
  ledger.close();
  const db = new DatabaseSync(file);
  expect(() => db.exec("UPDATE entries SET entry = '{}'")).toThrow(/append-only/);
  expect(() => db.exec('DELETE FROM entries')).toThrow(/append-only/);
  db.exec('DROP TRIGGER entries_are_not_changed');
  const { entry } = db.prepare('SELECT entry FROM entries WHERE idx = 1').get() as { entry: string };
  db.prepare('UPDATE entries SET entry = ? WHERE idx = 1').run(entry.replace('"step":1', '"step":9'));
  db.close();
  expect(refusal(() => new Ledger(file))).toMatch(/^STORE_CORRUPT: ledger entry 1/);
});

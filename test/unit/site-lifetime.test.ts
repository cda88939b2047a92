/** One ledger for all runs on a data set: what they may spend together, and what is said before a run begins. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, test } from 'vitest';
import { withCount } from '../../shared/dp/event.ts';
import { lifetimeCost } from '../../shared/dp/ledger-math.ts';
import { requireWholeRun } from '../../site-agent/core/budget.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { budgetOf, EXAMPLE_DELTA, EXAMPLE_RUN, EXAMPLE_STEP, exampleCharge } from '../support/ledger-rig.ts';

const OTHER_RUN = '11111111-2222-4333-8444-555555555555';
const filter = (steps: number, delta = EXAMPLE_DELTA) => lifetimeCost([withCount(EXAMPLE_STEP, steps)], delta).epsilon;
const delta = EXAMPLE_DELTA;

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((f) => rmSync(f, { recursive: true })));
const newFile = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'veilgan-lifetime-')));
  return join(folders.at(-1)!, 'ledger.sqlite');
};

describe('the bound of a data set', () => {
  test('is written in the ledger, holds every run that shares the file, and names itself', () => {
    const file = newFile();
    const [one, two] = [new Ledger(file), new Ledger(file)];
    one.setLifetime({ epsilon: filter(12), delta }, 0);
    for (let step = 0; step < 10; step++) one.charge(exampleCharge({ step }));
    // The second agent saw neither the bound nor a charge: it reads them inside its own transaction.
    for (let step = 0; step < 2; step++) two.charge(exampleCharge({ runId: OTHER_RUN, step }));
    expect(() => two.charge(exampleCharge({ runId: OTHER_RUN, step: 2 }))).toThrow(
      `all runs on this data set: epsilon ${filter(13).toPrecision(6)} after the step, at most ${filter(12)} by the ledger’s own bound`,
    );
    expect(two.entries()).toHaveLength(12);
    one.close();
    two.close();
  });

  test('holds beside the bounds of a run: the smaller of both', () => {
    const ledger = new Ledger(':memory:');
    ledger.setLifetime({ epsilon: filter(9), delta }, 0);
    const lifetime = { epsilon: filter(3), delta };
    for (let step = 0; step < 3; step++) ledger.charge(exampleCharge({ step, lifetime }));
    expect(() => ledger.charge(exampleCharge({ lifetime }))).toThrow(/all runs: epsilon/);
    ledger.charge(exampleCharge({ lifetime: { epsilon: filter(8), delta } }));
  });

  test('may be raised, and that stays in the chain', () => {
    const file = newFile();
    const ledger = new Ledger(file);
    ledger.setLifetime({ epsilon: filter(1), delta }, 5);
    ledger.charge(exampleCharge());
    expect(() => ledger.charge(exampleCharge())).toThrow(/by the ledger’s own bound/);
    ledger.setLifetime({ epsilon: filter(2), delta }, 6);
    ledger.charge(exampleCharge());
    ledger.close();
    const again = new Ledger(file);
    expect(again.lifetimeBudget()).toEqual({ epsilon: filter(2), delta });
    expect(again.lifetimes().map(({ epsilon, index }) => [epsilon, index])).toEqual([
      [filter(1), 0],
      [filter(2), 2],
    ]);
    expect(again.head().size).toBe(4);
    expect(again.entries()).toHaveLength(2);
    again.close();
  });

  test('cannot be nothing, and refuses a run without privacy whatever a run’s bounds allow', () => {
    const ledger = new Ledger(':memory:');
    for (const epsilon of [0, -1, NaN, Infinity]) expect(() => ledger.setLifetime({ epsilon, delta }, 0)).toThrow();
    for (const bad of [0, 1, NaN]) expect(() => ledger.setLifetime({ epsilon: 1, delta: bad }, 0)).toThrow();
    ledger.setLifetime({ epsilon: 1000, delta }, 0);
    const insecure = { caps: null, epsilon: Infinity, delta, overflowDelta: 0 };
    const charge = exampleCharge({ event: { kind: 'not-private', count: 1 }, budget: insecure, lifetime: null });
    expect(() => ledger.charge(charge)).toThrow(/BUDGET_EXHAUSTED: all runs on this data set: epsilon Infinity/);
  });
});

describe('a look ahead to the end of a run', () => {
  const lifetime = { epsilon: filter(15), delta };

  test('says what is spent, what it comes to, and whether that fits', () => {
    const ledger = new Ledger(':memory:');
    const ahead = () => ledger.wholeRun({ runId: null, budget: budgetOf(10), lifetime })[0];
    expect(ahead()).toMatchObject({ spent: 0, fits: true });
    expect(ahead().atItsEnd).toBeCloseTo(filter(10), 12);
    for (let step = 0; step < 6; step++) ledger.charge(exampleCharge({ runId: OTHER_RUN, step }));
    expect(ahead()).toMatchObject({ fits: false });
    expect(ahead().spent).toBeCloseTo(filter(6), 12);
    expect(ahead().atItsEnd).toBeCloseTo(filter(16), 12);
    expect(() => requireWholeRun([ahead()])).toThrow(
      /BUDGET_EXHAUSTED: all runs: the whole run would bring epsilon to \S+ at delta 0.00001, at most \S+; \S+ is spent already/,
    );
  });

  test('counts a run that has begun once: to its end, not beside what it spent', () => {
    const ledger = new Ledger(':memory:');
    for (let step = 0; step < 8; step++) ledger.charge(exampleCharge({ step }));
    const ahead = ledger.wholeRun({ runId: EXAMPLE_RUN, budget: budgetOf(10), lifetime })[0];
    expect(ahead.atItsEnd).toBeCloseTo(filter(10), 12);
    expect(ahead.fits).toBe(true);
  });

  test('looks at every bound, and a run without caps never fits', () => {
    const ledger = new Ledger(':memory:');
    ledger.setLifetime({ epsilon: filter(4), delta }, 0);
    const ahead = ledger.wholeRun({ runId: null, budget: budgetOf(10), lifetime });
    expect(ahead.map(({ lifetime: l, fits }) => [l.of, fits])).toEqual([
      ['bounds', true],
      ['data set', false],
    ]);
    const insecure = { caps: null, epsilon: Infinity, delta, overflowDelta: 0 };
    expect(ledger.wholeRun({ runId: null, budget: insecure, lifetime }).some(({ fits }) => fits)).toBe(false);
  });
});

test('two policies under one run each take their overflow from delta', () => {
  const ledger = new Ledger(':memory:');
  const wide = { ...budgetOf(10), epsilon: 100, overflowDelta: delta / 4 };
  ledger.charge(exampleCharge({ budget: wide }));
  ledger.charge(exampleCharge({ budget: wide }));
  ledger.charge(exampleCharge({ budget: { ...wide, overflowDelta: delta / 8 }, policySha256: 'b'.repeat(64) }));
  expect(ledger.spending()).toMatchObject({ overflowDelta: (3 / 8) * delta });
  expect(ledger.lifetime(delta)).toBe(filter(3, (5 / 8) * delta));
  // And the charge that would bring them above what is left of delta is refused.
  const rest = { ...wide, overflowDelta: (5 / 8) * delta };
  expect(() => ledger.charge(exampleCharge({ budget: rest, policySha256: 'c'.repeat(64) }))).toThrow(
    /this run: epsilon Infinity/,
  );
});

test('a clock that jumps, back or ahead, changes nothing', () => {
  const file = newFile();
  const ledger = new Ledger(file);
  const times = [1_000_000, 5, 4, 9_000_000_000_000, 0];
  for (const [step, timeMs] of times.entries()) ledger.charge(exampleCharge({ step, timeMs }));
  const steady = new Ledger(':memory:');
  for (let step = 0; step < times.length; step++) steady.charge(exampleCharge({ step }));
  expect(ledger.spent(EXAMPLE_RUN, budgetOf(10))).toEqual(steady.spent(EXAMPLE_RUN, budgetOf(10)));
  ledger.close();
  expect(new Ledger(file).entries().map((e) => e.timeMs)).toEqual(times);
});

describe('a ledger that was changed behind its back', () => {
  const tampered = (change: (db: DatabaseSync) => void) => {
    const file = newFile();
    const ledger = new Ledger(file);
    ledger.setLifetime({ epsilon: 50, delta }, 0);
    for (let step = 0; step < 4; step++) ledger.charge(exampleCharge({ step }));
    ledger.close();
    const db = new DatabaseSync(file);
    db.exec('DROP TRIGGER entries_are_not_changed; DROP TRIGGER entries_are_not_removed');
    change(db);
    db.close();
    return () => new Ledger(file).close();
  };
  const text = (db: DatabaseSync, idx: number) =>
    String((db.prepare('SELECT entry FROM entries WHERE idx = ?').get(idx) as { entry: unknown }).entry);
  const rewrite = (idx: number, from: RegExp, to: string) => (db: DatabaseSync) => {
    const changed = text(db, idx).replace(from, to);
    expect(changed).not.toBe(text(db, idx));
    db.prepare('UPDATE entries SET entry = ? WHERE idx = ?').run(changed, idx);
  };

  test.each<[string, (db: DatabaseSync) => void]>([
    ['less was done', rewrite(2, /"noiseMultiplier":1.2/, '"noiseMultiplier":2.2')],
    ['another run', rewrite(2, /"runId":"6/, '"runId":"7')],
    ['the last row', rewrite(4, /"step":3/, '"step":2')],
    ['a larger bound', rewrite(0, /"epsilon":50/, '"epsilon":90')],
    ['a hash', rewrite(1, /"hash":"./, '"hash":"x')],
    ['not JSON', (db) => db.exec("UPDATE entries SET entry = 'x' WHERE idx = 3")],
    ['a row taken out', (db) => db.exec('DELETE FROM entries WHERE idx = 2')],
    [
      'a row taken out and the rest moved up',
      (db) => db.exec('DELETE FROM entries WHERE idx = 2; UPDATE entries SET idx = idx - 1 WHERE idx > 2'),
    ],
    [
      'two rows swapped',
      (db) =>
        db.exec(
          'UPDATE entries SET idx = idx + 10 WHERE idx = 1; UPDATE entries SET idx = 1 WHERE idx = 2; UPDATE entries SET idx = 2 WHERE idx = 11',
        ),
    ],
    ['a row twice', (db) => db.exec('INSERT INTO entries SELECT 5, entry FROM entries WHERE idx = 4')],
  ])('%s', (_, change) => {
    expect(tampered(change)).toThrow(/STORE_CORRUPT/);
  });

  test('positive control: unchanged, it opens', () => {
    expect(tampered(() => undefined)).not.toThrow();
  });

  test('the end cut off is seen by nobody who holds no head: that is what statements are for', () => {
    expect(tampered((db) => db.exec('DELETE FROM entries WHERE idx = 4'))).not.toThrow();
  });
});

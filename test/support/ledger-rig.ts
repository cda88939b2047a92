/** Charges on a small budget, and a database that dies. */
import { DatabaseSync } from 'node:sqlite';
import { costOfEvents } from '../../shared/dp/convert.ts';
import { poissonGaussianEvent, withCount } from '../../shared/dp/event.ts';
import type { RunBudget } from '../../site-agent/core/budget.ts';
import type { ChargeRequest } from '../../site-agent/shell/ledger.ts';
import type { CrashPoint } from './crash-point.ts';

export const EXAMPLE_RUN = '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c';
export const EXAMPLE_STEP = poissonGaussianEvent(0.05, 1.2);
export const EXAMPLE_DELTA = 1e-5;

export const epsilonAfter = (steps: number): number =>
  costOfEvents([withCount(EXAMPLE_STEP, steps)], EXAMPLE_DELTA).epsilon;

/** What this many steps cost, and not one more. */
export const budgetOf = (steps: number): RunBudget => ({
  caps: [withCount(EXAMPLE_STEP, steps)],
  epsilon: epsilonAfter(steps),
  delta: EXAMPLE_DELTA,
  overflowDelta: 0,
});

export const exampleCharge = (o: Partial<ChargeRequest> = {}): ChargeRequest => ({
  runId: EXAMPLE_RUN,
  policySha256: 'a'.repeat(64),
  round: 0,
  step: 0,
  event: EXAMPLE_STEP,
  budget: budgetOf(10),
  lifetime: null,
  timeMs: 1,
  ...o,
});

/**
 * Every operation on the database, and on its statements, is a place to die.
 * @param opened - takes the database itself, for whoever stands in for the operating system and closes it.
 */
export function crashingDatabase(path: string, crash: CrashPoint, opened: DatabaseSync[] = []): DatabaseSync {
  const db = new DatabaseSync(path);
  opened.push(db);
  const prepare = (sql: string) => crash.around('statement', db.prepare(sql));
  const inner = new Proxy(db, {
    get: (object, key) => {
      if (key === 'prepare') return prepare;
      const value: unknown = Reflect.get(object, key, object);
      return typeof value === 'function' ? (...args: unknown[]): unknown => Reflect.apply(value, object, args) : value;
    },
  });
  return crash.around('db', inner);
}

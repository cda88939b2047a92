/** A ledger whose process dies between any two operations on its file has what it said it has, once, and no more. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { CrashPoint } from '../support/crash-point.ts';
import { budgetOf, crashingDatabase, epsilonAfter, EXAMPLE_RUN, exampleCharge } from '../support/ledger-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-ledger-kill-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
const newFile = () => join(folder, `${files++}.sqlite`);

/** Opens what a dead process left, and uses up the rest of its budget of ten steps. */
function checkLeftovers(file: string, said: number): void {
  const ledger = new Ledger(file);
  const { length } = ledger.entries();
  // What was acknowledged is there; at most the charge that was under way is there too, and is paid for.
  expect([said, said + 1]).toContain(length);
  expect(ledger.head().size).toBe(length);
  for (let step = length; step < 10; step++) ledger.charge(exampleCharge({ step }));
  expect(() => ledger.charge(exampleCharge())).toThrow(/BUDGET_EXHAUSTED/);
  expect(ledger.spent(EXAMPLE_RUN, budgetOf(10)).epsilon).toBe(epsilonAfter(10));
  ledger.close();
}

/** Three charges by a ledger that dies at one operation, and at every one after it: nothing is cleaned up. */
function dieAt(at: number | null, file = newFile()): { file: string; said: number; passed: number } {
  const crash = new CrashPoint(at, (where) => {
    throw new Error(`dead ${where}`);
  });
  const opened: DatabaseSync[] = [];
  let said = 0;
  try {
    const ledger = new Ledger(file, (path) => crashingDatabase(path, crash, opened));
    for (let step = 0; step < 3; step++) {
      ledger.charge(exampleCharge({ step }));
      said += 1;
    }
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('dead')) throw error;
  }
  const { passed } = crash;
  // The operating system closes what a dead process had open; nothing of the ledger runs any more.
  for (const db of opened) db.close();
  return { file, said, passed };
}

test('at every operation of three charges, by fault injection', () => {
  const { passed, said } = dieAt(null);
  expect(said).toBe(3);
  expect(passed).toBeGreaterThan(30);
  for (let at = 1; at <= passed; at++) {
    const end = dieAt(at);
    expect(end.said).toBeLessThanOrEqual(3);
    checkLeftovers(end.file, end.said);
  }
});

describe('killed for good', () => {
  const script = fileURLToPath(new URL('../support/ledger-child.ts', import.meta.url));
  const run = (file: string, at: string) => {
    const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'veilgan-compile-cache') };
    return spawnSync(process.execPath, [script, file, at], { encoding: 'utf8', env });
  };

  test('at every fifth operation, by SIGKILL', () => {
    const whole = run(newFile(), 'never');
    expect(whole.stderr).toBe('');
    const passed = Number(/passed (\d+)/.exec(whole.stdout)?.[1]);
    expect(passed).toBeGreaterThan(20);
    for (let at = 2; at <= passed; at += 5) {
      const file = newFile();
      const { stdout, signal } = run(file, String(at));
      expect(signal).toBe('SIGKILL');
      checkLeftovers(file, stdout.split('charged').length - 1);
    }
  });
});

test('positive control: a ledger that says so before it wrote is caught', () => {
  const file = newFile();
  new Ledger(file).close();
  expect(() => checkLeftovers(file, 1)).toThrow();
});

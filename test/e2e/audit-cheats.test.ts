/** Parties that do wrong while a run goes on, and what an audit of its folder says. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { costOfEvents } from '../../shared/dp/convert.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { exportNewer, exportedRun, handedOver } from '../support/audit-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-cheats-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A ledger that says less than was charged. */
class Understating extends Ledger {
  override spent(...args: Parameters<Ledger['spent']>) {
    const all = super.spent(...args);
    return { ...all, epsilon: all.epsilon / 2 };
  }
}
/** One that forgets a step, consistently: fewer events, fewer entries, and the epsilon of those. */
class Forgetful extends Ledger {
  override spending(...args: Parameters<Ledger['spending']>) {
    const all = super.spending(...args);
    const events = all.events.map((e) => (e.kind === 'poisson-gaussian' ? { ...e, count: e.count - 1 } : e));
    return { ...all, events: events.filter((e) => e.count > 0) };
  }
  override spent(...args: Parameters<Ledger['spent']>) {
    const [runId, budget] = args;
    const { events } = this.spending(runId);
    const entries = events.reduce((sum, e) => sum + e.count, 0);
    const epsilon = events.length === 0 ? 0 : costOfEvents(events, budget.delta - budget.overflowDelta).epsilon;
    return { ...super.spent(...args), epsilon, entries };
  }
}
test.each([
  ['halves its epsilon', () => new Understating(':memory:'), 'EPSILON', /states epsilon .*; its events cost/],
  ['forgets a step it took', () => new Forgetful(':memory:'), 'EPSILON', /private steps and took part in/],
] as const)('a site that %s is caught', async (what, ledger, code, detail) => {
  const out = join(folder, what.replaceAll(' ', '-'));
  const { cast } = await exportedRun(out, {
    agentsOf: (id) => (id === 'site-b' ? { ledger: ledger() } : {}),
  });
  const report = await verifyFolder(out, { keys: handedOver(cast) });
  expect(report.verdict).toBe('failed');
  const found = report.problems.find((p) => p.code === code && detail.test(p.detail));
  expect(found?.detail).toContain('site-b');
  // At the entry of the statement itself, and nowhere else.
  const entries = readFileSync(join(out, 'log.jsonl'), 'utf8').split('\n');
  for (const p of report.problems)
    expect(JSON.parse(entries[p.entry!])).toMatchObject({ kind: 'epsilon-statement', body: { siteId: 'site-b' } });
});

test('a policy that was swapped after the run is not the one the log adopted', async () => {
  const out = join(folder, 'policy');
  const { cast, policy } = await exportedRun(out);
  const report = await verifyFolder(out, { keys: handedOver(cast) });
  const path = join(out, 'policies', `${report.policy.sha256}.json`);
  writeFileSync(path, JSON.stringify({ ...policy, version: policy.version + 1 }));
  const swapped = await verifyFolder(out, { keys: handedOver(cast) });
  expect(swapped.problems.map((p) => p.code)).toContain('POLICY');
});

test('keys of somebody else verify nothing, and a site that was slipped in is named', async () => {
  const out = join(folder, 'keys');
  const { cast } = await exportedRun(out);
  const other = await exportedRun(join(folder, 'keys-other'));
  expect((await verifyFolder(out, { keys: handedOver(other.cast) })).verdict).toBe('failed');
  const keys = handedOver(cast);
  const report = await verifyFolder(out, {
    keys: { ...keys, sites: keys.sites!.filter((s) => s.siteId !== 'site-c') },
  });
  expect(report.problems.map((p) => p.detail)).toEqual([expect.stringContaining('site-c is enrolled with key')]);
});

test('an old verifier reads a newer log: what it knows is verified, what it does not know is named', async () => {
  const out = join(folder, 'newer');
  const { cast, store, common } = await exportedRun(out);
  const lines = readFileSync(join(out, 'log.jsonl'), 'utf8').split('\n').slice(0, -1);
  // As a later version would write it, under checkpoints of its own.
  const next = lines.length;
  const entries = [
    { version: 1, index: next, timeMs: 1, kind: 'weather-report', body: { sun: true } },
    { version: 2, index: next + 1, timeMs: 1, kind: 'plan', body: { anything: 1 } },
  ];
  const newer = join(folder, 'newer-log');
  await exportNewer({ out: newer, from: out, lines: [...lines, ...entries.map(canonicalJson)], common, cast });
  const report = await verifyFolder(newer, { keys: handedOver(cast) });
  expect(report.problems).toEqual([]);
  expect(report.verdict).toBe('incomplete');
  expect(report.unknown).toEqual([
    { kind: 'weather-report', entries: [next] },
    { kind: 'plan', entries: [next + 1] },
  ]);
  await store.close();
});

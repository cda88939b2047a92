/** Two runs of one site on one ledger: what the second hears before it begins, and what an operator can do about it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { AVAILABLE_SCHEMES } from '../../shared/aggregation/registry.ts';
import { lifetimeEpsilonOfPolicy } from '../../shared/policy/cost.ts';
import { loadPolicyText } from '../../shared/policy/load.ts';
import type { LedgerReport } from '../../cli/site-ledger.ts';
import { runBudgetOf } from '../../site-agent/core/budget.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { cli, killAll, sentence, startCli, temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';

const root = temporaryFolder();
const { at } = root;
afterAll(() => {
  killAll();
  root[Symbol.dispose]();
});
const RUN = '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c';
const ledgerFile = at('data-set.sqlite');
const policy = () => loadPolicyText(readFileSync(at('policy.json'), 'utf8'), { availableSchemes: AVAILABLE_SCHEMES });
const reportOf = async (...args: string[]) =>
  JSON.parse((await cli('site', 'ledger', ...args, '--json')).out) as LedgerReport;
const boundsOf = (site: string) =>
  JSON.parse(readFileSync(at(site, 'bounds.json'), 'utf8')) as { lifetime: { epsilon: number; delta: number } };

/** A coordinator of its own for every run; the site joins in a folder of its own, with the ledger of its data set. */
async function joinRun(hub: string, site: string): Promise<void> {
  await cli('coordinator', 'init', '--dir', at(hub), '--policy', at('policy.json'), '--port', '0');
  const { out: invite } = await cli('coordinator', 'invite', '--dir', at(hub), '--site', 'north');
  const coordinator = startCli('coordinator', 'run', '--dir', at(hub), '--json', '--threads', '1');
  await coordinator.until((e) => e['kind'] === 'listening');
  const joined = await cli('site', 'join', '--dir', at(site), '--invite', invite.trim(), '--ledger', ledgerFile);
  expect([joined.code, joined.err.includes('Short for a whole run')]).toEqual([0, site === 'third']);
  coordinator.child.kill('SIGTERM');
  await coordinator.ended;
}

test('two runs share a data set’s ledger and its bound', async () => {
  // Twenty steps cost 2.5 of it: room for one run, and not for two.
  writeFileSync(
    at('policy.json'),
    tinyPolicy((p) => Object.assign(p['privacy'], { epsilon: 2.5 })),
  );
  await joinRun('hub-1', 'first');
  await joinRun('hub-2', 'second');
  expect(boundsOf('first').lifetime.epsilon).toBe(Math.ceil(lifetimeEpsilonOfPolicy(policy()) * 100) / 100);
  expect(boundsOf('second').lifetime).toEqual(boundsOf('first').lifetime);
  const before = await reportOf('--dir', at('second'));
  expect(before).toMatchObject({ siteId: 'north', file: ledgerFile, entries: 1, runs: [], shortages: [] });
  expect(before.lifetimes.map((l) => [l.of, l.spent, l.stepsLeft! >= policy().privacy.maxSteps])).toEqual([
    ['bounds', 0, true],
    ['data set', 0, true],
  ]);
}, 300_000);

test('what the first spent, the second is refused, before it reads an image; the sentence names the numbers', async () => {
  const budget = runBudgetOf(policy(), 'north');
  const ledger = new Ledger(ledgerFile);
  const of = { runId: RUN, policySha256: 'b'.repeat(64), round: 0, budget, lifetime: null, timeMs: 0 };
  for (const cap of budget.caps!)
    for (let step = 0; step < cap.count; step++) ledger.charge({ ...of, step, event: { ...cap, count: 1 } });
  ledger.close();

  const refused = await cli('site', 'run', '--dir', at('second'), '--data', at('there-is-none.npz'));
  expect([refused.code, refused.err]).toEqual([
    3,
    expect.stringContaining('BUDGET_EXHAUSTED: all runs: the whole run would'),
  ]);
  expect(sentence(refused)).toMatch(
    /all runs on this data set: the whole run would bring epsilon to \S+ at delta \S+, at most \S+ by the ledger’s own bound; \S+ is spent already/,
  );
  const report = await reportOf('--dir', at('second'));
  expect(report.shortages).toHaveLength(2);
  expect(report.relation).toBe('add-or-remove-one-patient');
  const [run] = report.runs;
  expect(run).toMatchObject({ runId: RUN, policySha256: 'b'.repeat(64), atMost: null });
  expect(run.tight!).toBeGreaterThan(0);
  expect(run.tight!).toBeLessThan(run.epsilon!);
  expect(report.lifetimes.every((l) => l.stepsLeft! < policy().privacy.maxSteps && l.spent! > 0)).toBe(true);
  const text = await cli('site', 'ledger', '--ledger', ledgerFile);
  expect(text.out).toContain(`run ${RUN}: epsilon`);
  expect(text.out).toContain('All runs of a ledger are taken to share their patients');
  await joinRun('hub-3', 'third');
}, 300_000);

test('the bound is raised by a decision that stays in the chain; a folder’s own bounds still hold', async () => {
  const raised = await cli('site', 'ledger', '--dir', at('second'), '--lifetime', '100');
  expect(raised.code).toBe(0);
  const still = await cli('site', 'run', '--dir', at('second'), '--data', at('there-is-none.npz'));
  expect(sentence(still)).toMatch(/^BUDGET_EXHAUSTED: all runs: the whole run would bring/);
  const bounds = boundsOf('second');
  bounds.lifetime.epsilon = 100;
  writeFileSync(at('second', 'bounds.json'), JSON.stringify(bounds));
  expect(await reportOf('--dir', at('second'))).toMatchObject({ shortages: [] });
  const goes = await cli('site', 'run', '--dir', at('second'), '--data', at('there-is-none.npz'));
  expect(sentence(goes)).not.toMatch(/BUDGET/);
  const ledger = new Ledger(ledgerFile);
  expect(ledger.lifetimes().map((l) => l.epsilon)).toEqual([boundsOf('first').lifetime.epsilon, 100]);
  ledger.close();
}, 300_000);

test('what cannot be meant is refused in a sentence', async () => {
  const [neither, both, none, alone] = await Promise.all([
    cli('site', 'ledger'),
    cli('site', 'ledger', '--dir', at('second'), '--ledger', ledgerFile),
    cli('site', 'ledger', '--ledger', at('none.sqlite')),
    cli('site', 'ledger', '--ledger', ledgerFile, '--delta', '1e-6'),
  ]);
  expect([neither, both, none, alone].map((e) => e.code)).toEqual([2, 2, 2, 2]);
  expect(sentence(none)).toBe(`PARAMETER_INVALID: there is no ledger ${at('none.sqlite')}`);
}, 300_000);

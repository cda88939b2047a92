/** Whole runs with a pooled discriminator, in one process, on real networks. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { simulate } from '../../cli/simulation.ts';
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import type { PrivacyEvent } from '../../shared/dp/event.ts';
import { epsilonOfPolicy } from '../../shared/policy/cost.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import type { PrivateImages } from '../../site-agent/imaging/private-images.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { phantomSite } from '../support/glue-rig.ts';
import { wrongOrderIn } from '../support/audit-order.ts';
import { pooledPolicy } from '../support/pooled-rig.ts';

let engine: Engine;
const folders: string[] = [];
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(async () => {
  for (const folder of folders) rmSync(folder, { recursive: true });
  await engine.dispose();
});
const newFolder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'veilgan-pooled-')));
  return folders.at(-1)!;
};
const sites = new Map<string, PrivateImages>(
  [1, 2, 3].map((i) => [`site-${i}`, phantomSite({ site: `site-${i}`, imagesPerPatient: 2 })]),
);

test('under secure aggregation, with noise: the same rounds, and the epsilon of the whole is stated by every site', async () => {
  const policy = pooledPolicy({ secure: true, moments: true });
  const folder = newFolder();
  const events: CoordinatorEvent[] = [];
  const { log, epsilon, runId } = await simulate({ policy, sites, engine, folder, onEvent: (e) => events.push(e) });
  headOfEntries(log);
  expect(await wrongOrderIn(log, policy)).toEqual([]);
  expect(events.filter((e) => e.kind === 'discriminator-step')).toHaveLength(5);
  expect(events.filter((e) => e.kind === 'round-void')).toEqual([]);
  const spent = epsilonOfPolicy(policy).epsilon;
  for (const siteId of sites.keys()) {
    const ledger = new Ledger(join(folder, 'sites', siteId, 'ledger.sqlite'));
    const entries = ledger.entries(runId).map((e) => e.event as PrivacyEvent);
    expect(entries.map((e) => e.kind)).toEqual(Array.from({ length: 6 }, () => 'poisson-skellam'));
    ledger.close();
    // Five steps of the twelve that the policy allows.
    expect(epsilon.get(siteId)).toBeGreaterThan(0);
    expect(epsilon.get(siteId)).toBeLessThan(spent);
  }
  expect(new Set(epsilon.values()).size).toBe(1);
});

test('in the open, without a mechanism: moments, then steps, each logged, charged and shown', async () => {
  const policy = pooledPolicy({ moments: true });
  const folder = newFolder();
  const events: CoordinatorEvent[] = [];
  const run = () => simulate({ policy, sites, engine, folder, onEvent: (e) => events.push(e) });
  const first = await run();
  headOfEntries(first.log);
  expect(await wrongOrderIn(first.log, policy)).toEqual([]);
  expect(first.log.at(-1)).toMatchObject({ kind: 'run-finished', body: { outcome: 'completed', rounds: 3 } });

  const steps = events.filter((e) => e.kind === 'discriminator-step');
  expect(steps.map((e) => [e.round, e.step, e.of])).toEqual([
    [1, 1, 3],
    [1, 2, 3],
    [1, 3, 3],
    [2, 1, 2],
    [2, 2, 2],
  ]);
  expect(steps.every((e) => e.contributors.length === 3 && Number.isFinite(e.fakes.fakeLoss))).toBe(true);
  const shown = first.log.filter((e) => e.kind === 'discriminator-updated').map((e) => e.body as { step: number });
  expect(shown.map((b) => b.step)).toEqual([0, 1, 2, 0, 1]);
  expect(new Set(shown.map((b) => JSON.stringify(b))).size).toBe(5);
  expect(first.log.filter((e) => e.kind === 'generator-updated')).toHaveLength(3);
  // One statement of epsilon a round from each site, not one a step.
  expect(first.log.filter((e) => e.kind === 'epsilon-statement')).toHaveLength(9);

  for (const siteId of sites.keys()) {
    const ledger = new Ledger(join(folder, 'sites', siteId, 'ledger.sqlite'));
    const entries = ledger.entries(first.runId);
    expect(entries.map((e) => [e.round, e.step])).toEqual([
      [0, 0],
      [1, 0],
      [1, 1],
      [1, 2],
      [2, 0],
      [2, 1],
    ]);
    expect(entries.every((e) => (e.event as PrivacyEvent).kind === 'not-private')).toBe(true);
    ledger.close();
  }
  events.length = 0;
  expect((await run()).generator).toEqual(first.generator);
  expect(events.filter((e) => e.kind === 'round-opened')).toEqual([]);
});

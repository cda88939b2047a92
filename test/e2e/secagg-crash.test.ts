/**
 * Secure aggregation by processes of their own, over TLS: in each phase of a round one site is killed with SIGKILL, before
 * its answer is sent or after, and started again; the coordinator is killed as well.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { hashJson } from '../../shared/audit/canonical.ts';
import { Family, prepareParties } from '../support/keep-alive.ts';
import type { Said } from '../support/keep-alive.ts';
import { MASKED, RUN_ID } from '../support/round-rig.ts';
import { PHASES } from '../support/secagg-wire.ts';

const SITES = ['site-a', 'site-b', 'site-c', 'site-d', 'site-e'];
/**
 * Round 0 is of moments; in round r the r-th site dies in phase r. There is something to agree on in phase 3 of round 3,
 * since the first site is away when the others upload.
 */
const AGREE = PHASES.indexOf('agree');
const SETTINGS = {
  rounds: 4,
  steps: 1,
  warmUp: 0,
  minSites: 5,
  quorum: 3,
  deadlineSeconds: 120,
  aggregation: { ...MASKED, maxSites: 5, maxDropouts: 2 },
  awayAt: { 'site-a': { round: AGREE, phase: PHASES.indexOf('upload') } },
  killAt: Object.fromEntries(SITES.map((id, i) => [id, { round: i, phase: i, sent: i % 2 === 1 }])),
};
const folder = mkdtempSync(join(tmpdir(), 'veilgan-secagg-crash-'));
const family = new Family({
  folder,
  settings: SETTINGS,
  kills: { coordinator: 2 },
  within: { coordinator: 700 },
});
afterAll(() => {
  family.killAll();
  rmSync(folder, { recursive: true, force: true });
});

test('a site is killed in every phase, and the coordinator twice: every round closes, no answer is ever made twice', async () => {
  await prepareParties(folder, SITES);
  const died: string[] = [];
  const sent = new Map<string, Set<string>>();
  let port = 0;
  const { promise: listening, resolve: heardListening } = Promise.withResolvers<void>();
  const hear = (role: string) => (said: Said) => {
    if (said.kind === 'listening' && said.port !== undefined) {
      port = said.port;
      heardListening();
    }
    if (said.kind === 'crash') died.push(`${role} ${said.where}`);
    if (said.kind === 'answer' && said.payload) {
      const { round, attempt, phase } = said.payload;
      const key = `${role} ${round}.${attempt}.${phase}`;
      sent.set(key, (sent.get(key) ?? new Set()).add(hashJson(said.payload)));
    }
  };
  const coordinator = family.keepAlive('coordinator', () => port, 20_261_123, hear('coordinator'));
  await listening;
  const sites = SITES.map((id, i) => family.keepAlive(id, () => port, i, hear(id)));
  const failed = coordinator.ended.then(() => Promise.reject(new Error('the coordinator left first')));
  await Promise.race([failed, Promise.all(sites.map((s) => s.ended))]);
  failed.catch(() => undefined);
  coordinator.close();
  await coordinator.ended;

  const ofSites = died.filter((where) => !where.startsWith('coordinator'));
  expect(ofSites.toSorted()).toEqual(SITES.map((id, i) => `${id} phase ${i} of round ${i}`));
  expect(coordinator.kills()).toBe(2);

  const store = new SqliteStore(join(folder, 'store.sqlite'));
  const { run, log } = await store.transaction(async (tx) => ({
    run: await tx.run(RUN_ID),
    log: await tx.log(RUN_ID, 0, 10_000),
  }));
  await store.close();
  expect(run).toMatchObject({ status: 'finished', outcome: 'completed', round: 5 });
  const of = (kind: string) => log.filter((e) => e.kind === kind).map((e) => e.body as Record<string, unknown>);
  // Whoever comes back in time is in the sum; in no case is the attempt lost.
  expect(of('generator-updated').map((b) => [b['round'], b['attempt']])).toEqual(PHASES.map((_, i) => [i, 0]));
  expect(of('generator-updated').every((b) => (b['contributors'] as string[]).length >= 4)).toBe(true);
  expect([...of('void'), ...of('refused'), ...of('declined')]).toEqual([]);
  // Every sum was opened over the whole list or over one that was agreed on, and never over both.
  const rounds = (kind: string, phase: number) =>
    of(kind).flatMap((b) => (b['phase'] === phase ? [b['round'] as number] : []));
  const [agreed, whole] = [rounds('sealed', AGREE), rounds('phase-skipped', AGREE)];
  expect([...agreed, ...whole].toSorted()).toEqual(PHASES.map((_, i) => i));
  expect(agreed).toContain(AGREE);
  // What was sent once was sent again as it was: no second key, share, mask, list or opening for one place.
  expect([...sent].filter(([, answers]) => answers.size !== 1)).toEqual([]);
}, 150_000);

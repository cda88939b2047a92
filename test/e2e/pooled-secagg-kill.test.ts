/**
 * A pooled run under secure aggregation, in processes of their own, over TLS: a site is killed with SIGKILL as it answers
 * each phase of a round of two steps (keys, shares, and for either step upload, agreement and opening), and started again.
 */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { answersGiven, runCompany } from '../support/company.ts';
import { RUN_ID } from '../support/round-rig.ts';

const SITES = ['site-a', 'site-b', 'site-c'];
const STEPS_A_ROUND = 2;
const PHASES = 2 + 3 * STEPS_A_ROUND;
const training = { rounds: 2, discriminatorSteps: STEPS_A_ROUND, warmupDiscriminatorSteps: 0 };
const STEPS = training.rounds * STEPS_A_ROUND;

test('a site killed in each phase: every sum is applied once, and no site answers anything twice differently', async () => {
  const done = new Set<number>();
  using ended = await runCompany({
    sites: SITES,
    settings: {
      pooled: { secure: true, training, privacy: { maxSteps: 60 }, aggregation: { minSites: 3, minSurvivors: 3 } },
    },
    // In phase p the site p mod 3 dies, once, with its answer stored and perhaps not sent.
    kills: (role, { kind, payload }) => {
      if (kind !== 'answer' || payload === undefined) return false;
      const { phase } = payload;
      if (role !== SITES[phase % SITES.length] || done.has(phase)) return false;
      done.add(phase);
      return true;
    },
  });
  expect([...done].toSorted((a, b) => a - b)).toEqual(Array.from({ length: PHASES }, (_, phase) => phase));
  expect([...ended.kills.values()].reduce((a, b) => a + b)).toBe(PHASES);

  const store = new SqliteStore(join(ended.folder, 'store.sqlite'));
  const { run, log } = await store.transaction(async (tx) => ({
    run: await tx.run(RUN_ID),
    log: await tx.log(RUN_ID, 0, 10_000),
  }));
  await store.close();
  expect(run).toMatchObject({ outcome: 'completed', round: training.rounds, discriminator: { total: STEPS } });
  const of = (kind: string) => log.filter((e) => e.kind === kind).map((e) => e.body as Record<string, unknown>);
  expect(of('discriminator-updated')).toHaveLength(STEPS);
  expect(of('aggregated').map((b) => b['contributors'])).toEqual(Array(STEPS).fill(SITES));
  expect([...of('refused'), ...of('declined')]).toEqual([]);

  // The same share under the same masks, the same list, the same opening: never a second one for one place.
  const given = answersGiven(ended);
  expect([...given].filter(([, answers]) => answers.size !== 1)).toEqual([]);
  expect(given.size).toBeGreaterThanOrEqual(SITES.length * PHASES * training.rounds);

  // A site that is long in coming back can void an attempt; every share of such a one was paid for.
  const voids = of('void').length;
  for (const siteId of SITES) {
    const ledger = new Ledger(join(ended.folder, `${siteId}.ledger`));
    const entries = ledger.entries().length;
    ledger.close();
    expect(entries).toBeGreaterThanOrEqual(STEPS);
    expect(entries - STEPS).toBeLessThanOrEqual(ended.kills.get(siteId)! + STEPS_A_ROUND * voids);
  }
}, 300_000);

/**
 * A pooled run under secure aggregation, in processes of their own, over TLS: a site is killed with SIGKILL as it answers
 * each phase of a round of two steps (keys, shares, and for either step upload and opening), and started again. Another
 * site is away when the first or the second step is uploaded, so that step has an agreement, in which one is killed, too.
 */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { answersGiven, runCompany } from '../support/company.ts';
import { RUN_ID } from '../support/round-rig.ts';

const SITES = ['site-a', 'site-b', 'site-c'];
const AWAY = 'site-d';
const STEPS_A_ROUND = 2;
const training = { rounds: 1, discriminatorSteps: STEPS_A_ROUND, warmupDiscriminatorSteps: 0 };
const STEPS = training.rounds * STEPS_A_ROUND;
const [UPLOAD, AGREE] = [2, 3];

test.each([0, 1])(
  'a site killed in each phase, with step %i agreed on: no sum is applied twice, nothing answered twice',
  async (agreed) => {
    const done = new Set<number>();
    // The other step passes over its agreement.
    const phases = Array.from({ length: 2 + 3 * STEPS_A_ROUND }, (_, phase) => phase).filter(
      (phase) => phase !== AGREE + 3 * (1 - agreed),
    );
    using ended = await runCompany({
      sites: [...SITES, AWAY],
      settings: {
        pooled: {
          secure: true,
          training,
          privacy: { maxSteps: 60 },
          pooled: { maxDropouts: 1 },
          aggregation: { minSites: 4, minSurvivors: 3, maxDropouts: 1 },
        },
        awayAt: { [AWAY]: { round: 0, phase: UPLOAD + 3 * agreed } },
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
    expect([...done].toSorted((a, b) => a - b)).toEqual(phases);
    // Being away is a life, too.
    expect([...ended.kills.values()].reduce((a, b) => a + b)).toBe(phases.length + 1);

    const store = new SqliteStore(join(ended.folder, 'store.sqlite'));
    const { run, log } = await store.transaction(async (tx) => ({
      run: await tx.run(RUN_ID),
      log: await tx.log(RUN_ID, 0, 10_000),
    }));
    await store.close();
    expect(run).toMatchObject({ outcome: 'completed', round: training.rounds, discriminator: { total: STEPS } });
    const of = (kind: string) => log.filter((e) => e.kind === kind).map((e) => e.body as Record<string, unknown>);
    expect(of('discriminator-updated')).toHaveLength(STEPS);
    const whole = [...SITES, AWAY];
    expect(of('aggregated').map((b) => b['contributors'])).toEqual(agreed === 0 ? [SITES, SITES] : [whole, SITES]);
    expect(of('phase-skipped').map((b) => b['phase'])).toEqual([AGREE + 3 * (1 - agreed)]);
    expect([...of('refused'), ...of('declined')]).toEqual([]);

    // The same share under the same masks, the same list, the same opening: never a second one for one place.
    const given = answersGiven(ended);
    expect([...given].filter(([, answers]) => answers.size !== 1)).toEqual([]);
    expect(given.size).toBeGreaterThanOrEqual(SITES.length * phases.length);

    // A site that is long in coming back can void an attempt; every share of such a one was paid for.
    const voids = of('void').length;
    for (const siteId of SITES) {
      const ledger = new Ledger(join(ended.folder, `${siteId}.ledger`));
      const entries = ledger.entries().length;
      ledger.close();
      expect(entries).toBeGreaterThanOrEqual(STEPS);
      expect(entries - STEPS).toBeLessThanOrEqual(ended.kills.get(siteId)! + STEPS_A_ROUND * voids);
    }
  },
  300_000,
);

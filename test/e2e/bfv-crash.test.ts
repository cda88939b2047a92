/** Scheme `bfv` in processes of their own, over TLS: every site is killed in every phase, and the coordinator as well. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { BFV } from '../support/bfv-rig.ts';
import { answersGiven, runCompany } from '../support/company.ts';
import { RUN_ID } from '../support/round-rig.ts';

const SITES = ['site-a', 'site-b', 'site-c'];
const ROUNDS = 3;

test('each of three sites killed as it answers each of the four phases: every round closes with all, no answer is given twice', async () => {
  // Round r: in phase p the site r + p dies, with its answer stored and perhaps not sent.
  const done = new Set<string>();
  using ended = await runCompany({
    sites: SITES,
    settings: { rounds: ROUNDS - 1, steps: 1, warmUp: 0, aggregation: BFV },
    kills: (role, { kind, payload }) => {
      if (kind !== 'answer' || payload === undefined) return false;
      const { round, phase } = payload;
      const place = `${round} ${phase}`;
      const isIts = role === SITES[(round + phase) % SITES.length] && round < SITES.length;
      if (!isIts || done.has(place)) return false;
      done.add(place);
      return true;
    },
    // The coordinator dies between two operations, wherever it is then.
    points: { coordinator: [150, 420] },
  });
  expect(done.size).toBe(SITES.length * 4);
  expect([...ended.kills.values()].reduce((a, b) => a + b)).toBe(done.size + 2);

  const store = new SqliteStore(join(ended.folder, 'store.sqlite'));
  const { run, log } = await store.transaction(async (tx) => ({
    run: await tx.run(RUN_ID),
    log: await tx.log(RUN_ID, 0, 10_000),
  }));
  await store.close();
  expect(run).toMatchObject({ status: 'finished', outcome: 'completed', round: ROUNDS });
  const of = (kind: string) => log.filter((e) => e.kind === kind).map((e) => e.body as Record<string, unknown>);
  expect(of('generator-updated').map((b) => (b['contributors'] as string[]).length)).toEqual(Array(ROUNDS).fill(3));
  expect([...of('void'), ...of('refused'), ...of('declined')]).toEqual([]);

  // A site that was killed gives the same answer again: the same ciphertext, the same key, the same consent.
  const given = answersGiven(ended);
  expect([...given].filter(([, answers]) => answers.size !== 1)).toEqual([]);
  expect(given.size).toBe(ROUNDS * 4 * SITES.length);
}, 300_000);

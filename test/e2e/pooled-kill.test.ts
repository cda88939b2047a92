/**
 * A pooled run of a coordinator and two sites as processes of their own, over TLS, killed with SIGKILL seven times in
 * the middle of its steps, and started again each time.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Family, prepareParties, type Said } from '../support/keep-alive.ts';
import { PooledStubComputation, PooledStubTrainer, pooledPlayPolicy } from '../support/pooled-stubs.ts';
import { agentOf, castOf, coordinatorOf, RUN_ID, testBounds } from '../support/round-rig.ts';

const SITES = ['site-a', 'site-b'];
const training = { rounds: 3, discriminatorSteps: 3, warmupDiscriminatorSteps: 1 };
const STEPS = 10;
const folder = mkdtempSync(join(tmpdir(), 'veilgan-pooled-kill-'));
const family = new Family({
  folder,
  settings: { pooled: { training } },
  kills: { coordinator: 3, 'site-a': 2, 'site-b': 2 },
  within: { coordinator: 300, 'site-a': 90, 'site-b': 90 },
});
afterAll(() => {
  family.killAll();
  rmSync(folder, { recursive: true, force: true });
});

/** The same run, in one process, with nothing killed. */
async function undisturbed(): Promise<string> {
  const cast = castOf(2);
  const policy = pooledPlayPolicy({ training: { ...training } });
  const coordinator = coordinatorOf(cast, policy, { trainer: new PooledStubTrainer() });
  const bounds = { ...testBounds, allowInsecure: true };
  const site = (id: string) =>
    agentOf(cast, policy, id, coordinator, { bounds, computation: new PooledStubComputation(id, policy) }).run();
  await Promise.all([coordinator.run(), ...SITES.map(site)]);
  return (await coordinator.generator()).record.weights.sha256;
}

test('seven kills change nothing: every sum applied once, every step paid for, no two shares for one', async () => {
  await prepareParties(folder, SITES);
  const sent = new Map<string, Set<string>>();
  let port = 0;
  let kills = 0;
  let listening: () => void = () => undefined;
  const firstListening = new Promise<void>((resolve) => (listening = resolve));
  const hear = (role: string) => (said: Said) => {
    if (said.kind === 'listening' && said.port !== undefined) {
      port = said.port;
      listening();
    }
    if (said.kind === 'crash') kills += 1;
    if (said.kind === 'answer' && said.payload) {
      const { round, attempt, phase, tensorSha256 } = said.payload;
      const key = `${role} ${round}.${attempt}.${phase}`;
      sent.set(key, (sent.get(key) ?? new Set()).add(tensorSha256));
    }
  };
  const coordinator = family.keepAlive('coordinator', () => port, 20_261_123, hear('coordinator'));
  await firstListening;
  const sites = new Map(SITES.map((id, i) => [id, family.keepAlive(id, () => port, 7 + i, hear(id))]));
  const failed = coordinator.ended.then(() => Promise.reject(new Error('the coordinator left first')));
  await Promise.race([failed, Promise.all([...sites.values()].map((s) => s.ended))]);
  failed.catch(() => undefined);
  coordinator.close();
  await coordinator.ended;
  expect(kills).toBe(7);

  const store = new SqliteStore(join(folder, 'store.sqlite'));
  const { run, log, generator } = await store.transaction(async (tx) => ({
    run: await tx.run(RUN_ID),
    log: await tx.log(RUN_ID, 0, 10_000),
    generator: await tx.generator(RUN_ID, training.rounds),
  }));
  await store.close();
  expect(run).toMatchObject({ outcome: 'completed', round: 3, discriminator: { total: STEPS } });
  expect(generator?.weights.sha256).toBe(await undisturbed());
  headOfEntries(log);
  expect(log.filter((e) => e.kind === 'discriminator-updated')).toHaveLength(STEPS);
  expect([...sent].filter(([, digests]) => digests.size !== 1)).toEqual([]);
  const voids = log.filter((e) => e.kind === 'void').length;
  for (const [id, site] of sites) {
    const ledger = new Ledger(join(folder, `${id}.ledger`));
    const entries = ledger.entries().length;
    expect(entries).toBeGreaterThanOrEqual(STEPS);
    expect(entries - STEPS).toBeLessThanOrEqual(site.kills() + voids);
    ledger.close();
  }
}, 120_000);

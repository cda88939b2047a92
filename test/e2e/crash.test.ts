/**
 * A coordinator and three sites as processes of their own, over TLS, killed with SIGKILL twenty times at operations a
 * seeded generator chooses, and started again each time.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { Family, prepareParties, type Said } from '../support/keep-alive.ts';
import { RUN_ID, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';

const SITES = ['site-a', 'site-b', 'site-c'];
const KILLS: Record<string, number> = { coordinator: 8, 'site-a': 4, 'site-b': 4, 'site-c': 4 };
/** Operations within which a process dies. Undisturbed, the coordinator's run is some 3,800 long and a site's 720. */
const WITHIN: Record<string, number> = { coordinator: 600, 'site-a': 220, 'site-b': 220, 'site-c': 220 };
const SETTINGS = { rounds: 9, steps: 2, warmUp: 2, maxSteps: 200 };
const STEPS = 2 + 9 * 2;
const folder = mkdtempSync(join(tmpdir(), 'veilgan-crash-'));
const family = new Family({ folder, settings: SETTINGS, kills: KILLS, within: WITHIN });
afterAll(() => {
  family.killAll();
  rmSync(folder, { recursive: true, force: true });
});

/** The same run, in one process, with nothing killed. */
async function undisturbed(): Promise<string> {
  const cast = castOf(3);
  const policy = testPolicy(SETTINGS);
  const coordinator = coordinatorOf(cast, policy);
  await Promise.all([coordinator.run(), ...SITES.map((id) => agentOf(cast, policy, id, coordinator).run())]);
  return (await coordinator.generator()).record.weights.sha256;
}

test('twenty kills change nothing: same rounds, same generator, every step paid for, nothing counted twice', async () => {
  await prepareParties(folder, SITES);
  const places: string[] = [];
  const sent = new Map<string, Set<string>>();
  let port = 0;
  let listening: () => void = () => undefined;
  const firstListening = new Promise<void>((resolve) => (listening = resolve));
  const hear = (role: string) => (said: Said) => {
    if (said.kind === 'listening' && said.port !== undefined) {
      port = said.port;
      listening();
    }
    if (said.kind === 'crash') places.push(`${role} ${said.where}`);
    if (said.kind === 'answer' && said.payload) {
      const { round, attempt, phase, tensorSha256 } = said.payload;
      const key = `${role} ${round}.${attempt}.${phase}`;
      sent.set(key, (sent.get(key) ?? new Set()).add(tensorSha256));
    }
  };
  const coordinator = family.keepAlive('coordinator', () => port, 20_261_122, hear('coordinator'));
  await firstListening;
  const sites = new Map(SITES.map((id, i) => [id, family.keepAlive(id, () => port, i, hear(id))]));
  const failed = coordinator.ended.then(() => Promise.reject(new Error('the coordinator left first')));
  await Promise.race([failed, Promise.all([...sites.values()].map((s) => s.ended))]);
  failed.catch(() => undefined);
  coordinator.close();
  await coordinator.ended;

  expect([coordinator, ...sites.values()].map((p) => p.kills())).toEqual(Object.values(KILLS));
  expect(places).toHaveLength(20);

  const store = new SqliteStore(join(folder, 'store.sqlite'));
  const { run, log, head, generator } = await store.transaction(async (tx) => ({
    run: await tx.run(RUN_ID),
    log: await tx.log(RUN_ID, 0, 10_000),
    head: await tx.logHead(RUN_ID),
    generator: await tx.generator(RUN_ID, 10),
  }));
  await store.close();
  expect(run).toMatchObject({ status: 'finished', outcome: 'completed', round: 10 });
  expect(generator?.weights.sha256).toBe(await undisturbed());

  expect(headOfEntries(log)).toEqual(head);
  const of = (kind: string) => log.filter((e) => e.kind === kind).map((e) => e.body as Record<string, unknown>);
  expect(of('generator-updated').map((b) => b['round'])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(of('generator-updated').every((b) => (b['contributors'] as string[]).length === 3)).toBe(true);
  expect(of('plan')).toHaveLength(10);
  const counted = of('answer-accepted').map((b) => `${b['siteId'] as string} ${b['round'] as number}`);
  expect(counted.toSorted()).toEqual(
    SITES.flatMap((s) => of('plan').map((b) => `${s} ${b['round'] as number}`)).toSorted(),
  );
  expect([...of('void'), ...of('refused'), ...of('declined')]).toEqual([]);

  // Every answer that left a site for one phase is the same answer.
  expect([...sent].filter(([, digests]) => digests.size !== 1)).toEqual([]);
  expect(sent.size).toBe(30);

  for (const [id, site] of sites) {
    const ledger = new Ledger(join(folder, `${id}.ledger`));
    const outbox = new Outbox(join(folder, `${id}.outbox`));
    const entries = ledger.entries().length;
    const steps = 1 + (outbox.discriminator(RUN_ID)?.total ?? 0);
    expect(steps).toBe(1 + STEPS);
    expect(entries).toBeGreaterThanOrEqual(steps);
    expect(entries - steps).toBeLessThanOrEqual(site.kills());
    ledger.close();
    outbox.close();
  }
}, 150_000);

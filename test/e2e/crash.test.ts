/**
 * A coordinator and three sites as processes of their own, over TLS, killed with SIGKILL twenty times at operations a
 * seeded generator chooses, and started again each time.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { SqliteIdentityStore } from '../../coordinator/shell/identity-store.ts';
import { loadOrCreateSelfSignedTls } from '../../coordinator/shell/tls.ts';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import { loadOrCreateSigningKeys, loadOrCreateSiteKeys, publicKeys } from '../../shared/identity/keys.ts';
import { EMPTY_ROSTER, signRoster, withSite } from '../../shared/identity/roster.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { mulberry32 } from '../support/rng.ts';
import { RUN_ID, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';

const SITES = ['site-a', 'site-b', 'site-c'];
const KILLS: Record<string, number> = { coordinator: 8, 'site-a': 4, 'site-b': 4, 'site-c': 4 };
/** Operations within which a process dies. Undisturbed, the coordinator's run is some 3,800 long and a site's 720. */
const WITHIN: Record<string, number> = { coordinator: 600, 'site-a': 220, 'site-b': 220, 'site-c': 220 };
const SETTINGS = { rounds: 9, steps: 2, warmUp: 2, maxSteps: 200 };
const STEPS = 2 + 9 * 2;
const SCRIPT = fileURLToPath(new URL('../support/crash-child.ts', import.meta.url));

interface Said {
  readonly kind: string;
  readonly port?: number;
  readonly where?: string;
  readonly payload?: { round: number; attempt: number; phase: number; tensorSha256: string };
}

const folder = mkdtempSync(join(tmpdir(), 'veilgan-crash-'));
const children = new Set<ChildProcess>();
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Keys, roster and certificate, as joining would have left them. */
async function prepare(): Promise<void> {
  const coordinator = loadOrCreateSigningKeys(join(folder, 'coordinator.json'));
  const roster = SITES.reduce(
    (r, id) => withSite(r, id, publicKeys(loadOrCreateSiteKeys(join(folder, `${id}.json`)))),
    EMPTY_ROSTER,
  );
  const store = new SqliteIdentityStore(join(folder, 'identity.sqlite'));
  await store.save({ invites: [], roster, rosterJws: await signRoster(coordinator, roster, Date.now()) }, 0);
  await store.close();
  const tls = await loadOrCreateSelfSignedTls(folder, '127.0.0.1', Date.now());
  writeFileSync(join(folder, 'fingerprint'), tls.fingerprint);
}

/** Starts a process, and starts it again whenever it was killed, until it ends of itself. */
function keepAlive(role: string, port: () => number, seed: number, hear: (said: Said) => void) {
  const draw = mulberry32(seed);
  let kills = 0;
  const current: { child: ChildProcess | null } = { child: null };
  const ended = new Promise<void>((resolve, reject) => {
    const start = () => {
      const at = kills < KILLS[role] ? String(1 + Math.floor(draw() * WITHIN[role])) : 'never';
      const args = [SCRIPT, role, folder, String(port()), at, JSON.stringify(SETTINGS)];
      // Twenty-four processes start from the same files: they share what was compiled.
      const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'veilgan-compile-cache') };
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
      children.add(child);
      current.child = child;
      let errors = '';
      child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
      createInterface({ input: child.stdout }).on('line', (line) => hear(JSON.parse(line) as Said));
      child.on('close', (code, signal) => {
        children.delete(child);
        if (code === 0) resolve();
        else if (signal === 'SIGKILL') {
          kills += 1;
          start();
        } else reject(new Error(`${role} ended with ${code ?? signal}: ${errors}`));
      });
    };
    start();
  });
  return { ended, kills: () => kills, close: () => current.child?.stdin?.end() };
}

/** The same run, in one process, with nothing killed. */
async function undisturbed(): Promise<string> {
  const cast = castOf(3);
  const policy = testPolicy(SETTINGS);
  const coordinator = coordinatorOf(cast, policy);
  await Promise.all([coordinator.run(), ...SITES.map((id) => agentOf(cast, policy, id, coordinator).run())]);
  return (await coordinator.generator()).record.weights.sha256;
}

test('twenty kills change nothing: same rounds, same generator, every step paid for, nothing counted twice', async () => {
  await prepare();
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
  const coordinator = keepAlive('coordinator', () => port, 20_261_122, hear('coordinator'));
  await firstListening;
  const sites = new Map(SITES.map((id, i) => [id, keepAlive(id, () => port, i, hear(id))]));
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
}, 60_000);

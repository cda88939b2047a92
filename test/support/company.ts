/**
 * A coordinator and sites as processes of their own over TLS (`crash-child.ts`), started again whenever they are killed,
 * on what they had stored. Which are killed, and when, is the test's: at the line of a process it does not like.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { SqliteIdentityStore } from '../../coordinator/shell/identity-store.ts';
import { loadOrCreateSelfSignedTls } from '../../coordinator/shell/tls.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { loadOrCreateSigningKeys, loadOrCreateSiteKeys, publicKeys } from '../../shared/identity/keys.ts';
import { EMPTY_ROSTER, signRoster, withSite } from '../../shared/identity/roster.ts';
import type { PooledOptions } from './pooled-rig.ts';
import type { testPolicy } from './round-rig.ts';

const SCRIPT = fileURLToPath(new URL('crash-child.ts', import.meta.url));

/** A line of a process. */
export interface Said {
  readonly kind: string;
  readonly port?: number;
  readonly payload?: { round: number; attempt: number; phase: number; tensorSha256: string | null; body: unknown };
}

export interface CompanyOptions {
  readonly sites: readonly string[];
  readonly settings: Parameters<typeof testPolicy>[0] & {
    readonly pooled?: PooledOptions;
    readonly awayAt?: Readonly<Record<string, { readonly round: number; readonly phase: number }>>;
  };
  /** Whether this process is to die now: called with every line it says. */
  readonly kills: (role: string, said: Said) => boolean;
  /** Crash points of each life of a role, in operations (see `crash-point.ts`); after the last it is undisturbed. */
  readonly points?: Readonly<Record<string, readonly number[]>>;
}

export interface Ended extends Disposable {
  /** Where the stores lie. */
  readonly folder: string;
  readonly kills: ReadonlyMap<string, number>;
  readonly said: readonly { readonly role: string; readonly said: Said }[];
}

/** The digest of every answer that was sent, by site and place: one that is asked again must say the same. */
export function answersGiven({ said }: Pick<Ended, 'said'>): Map<string, Set<string>> {
  const given = new Map<string, Set<string>>();
  for (const { role, said: line } of said) {
    if (line.kind !== 'answer' || line.payload === undefined) continue;
    const { round, attempt, phase, tensorSha256, body } = line.payload;
    const key = `${role} ${round}.${attempt} ${phase}`;
    given.set(key, (given.get(key) ?? new Set()).add(sha256Hex(JSON.stringify([tensorSha256, body]))));
  }
  return given;
}

/** Runs all of them to the end. @throws when one ends of itself before, with what it said. */
export async function runCompany(o: CompanyOptions): Promise<Ended> {
  const folder = mkdtempSync(join(tmpdir(), 'veilgan-company-'));
  const children = new Map<string, ChildProcess>();
  const kills = new Map(['coordinator', ...o.sites].map((role) => [role, 0]));
  const said: { role: string; said: Said }[] = [];
  const cleanUp = () => {
    for (const child of children.values()) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  let port = 0;
  let isListening: () => void = () => undefined;
  const listening = new Promise<void>((resolve) => (isListening = resolve));

  /** Lives again and again until one life comes to an end. */
  const live = (role: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const start = () => {
        const point = o.points?.[role]?.[kills.get(role)!] ?? 'never';
        const args = [SCRIPT, role, folder, String(port), String(point), JSON.stringify(o.settings)];
        const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'veilgan-compile-cache') };
        const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
        children.set(role, child);
        let errors = '';
        child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
        createInterface({ input: child.stdout }).on('line', (line) => {
          const heard = JSON.parse(line) as Said;
          said.push({ role, said: heard });
          if (heard.kind === 'listening' && heard.port !== undefined) {
            port = heard.port;
            isListening();
          }
          if (o.kills(role, heard)) child.kill('SIGKILL');
        });
        child.on('close', (code, signal) => {
          children.delete(role);
          if (signal === 'SIGKILL') {
            kills.set(role, kills.get(role)! + 1);
            start();
          } else if (code === 0) resolve();
          else reject(new Error(`${role} ended with ${code ?? signal}: ${errors}`));
        });
      };
      start();
    });

  try {
    await prepare(folder, o.sites);
    const coordinator = live('coordinator');
    await Promise.race([listening, coordinator]);
    const left = coordinator.then(() => Promise.reject(new Error('the coordinator left first')));
    left.catch(() => undefined);
    await Promise.race([left, Promise.all(o.sites.map(live))]);
    children.get('coordinator')?.stdin?.end();
    await coordinator;
    return { folder, kills, said, [Symbol.dispose]: cleanUp };
  } catch (error) {
    cleanUp();
    throw error;
  }
}

/** Keys, roster and certificate, as joining would have left them. */
async function prepare(folder: string, sites: readonly string[]): Promise<void> {
  const coordinator = loadOrCreateSigningKeys(join(folder, 'coordinator.json'));
  const roster = sites.reduce(
    (r, id) => withSite(r, id, publicKeys(loadOrCreateSiteKeys(join(folder, `${id}.json`)))),
    EMPTY_ROSTER,
  );
  const store = new SqliteIdentityStore(join(folder, 'identity.sqlite'));
  await store.save({ invites: [], roster, rosterJws: await signRoster(coordinator, roster, Date.now()) }, 0);
  await store.close();
  const tls = await loadOrCreateSelfSignedTls(folder, '127.0.0.1', Date.now());
  writeFileSync(join(folder, 'fingerprint'), tls.fingerprint);
}

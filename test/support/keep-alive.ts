/** Processes that are killed with SIGKILL at chosen operations and started again, until they end of themselves. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { SqliteIdentityStore } from '../../coordinator/shell/identity-store.ts';
import { loadOrCreateSelfSignedTls } from '../../coordinator/shell/tls.ts';
import { loadOrCreateSigningKeys, loadOrCreateSiteKeys, publicKeys } from '../../shared/identity/keys.ts';
import { EMPTY_ROSTER, signRoster, withSite } from '../../shared/identity/roster.ts';
import { mulberry32 } from './rng.ts';

const SCRIPT = fileURLToPath(new URL('crash-child.ts', import.meta.url));

/** A line of a child's. */
export interface Said {
  readonly kind: string;
  readonly port?: number;
  readonly where?: string;
  readonly payload?: { round: number; attempt: number; phase: number; tensorSha256: string };
}

/** Keys, roster and certificate, as joining would have left them. */
export async function prepareParties(folder: string, sites: readonly string[]): Promise<void> {
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

export interface FamilyOptions {
  readonly folder: string;
  readonly settings: object;
  /** By role: how often it is killed, and within how many operations of its life. */
  readonly kills: Readonly<Record<string, number>>;
  readonly within: Readonly<Record<string, number>>;
}

/** The family of one test. */
export class Family {
  readonly #children = new Set<ChildProcess>();
  readonly #o: FamilyOptions;
  constructor(o: FamilyOptions) {
    this.#o = o;
  }

  killAll(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  /** Starts a process, and starts it again whenever it was killed, until it ends of itself. */
  keepAlive(role: string, port: () => number, seed: number, hear: (said: Said) => void) {
    const { folder, settings, kills: most, within } = this.#o;
    const draw = mulberry32(seed);
    let kills = 0;
    const current: { child: ChildProcess | null } = { child: null };
    const ended = new Promise<void>((resolve, reject) => {
      const start = () => {
        const at = kills < most[role] ? String(1 + Math.floor(draw() * within[role])) : 'never';
        const args = [SCRIPT, role, folder, String(port()), at, JSON.stringify(settings)];
        // Many processes start from the same files: they share what was compiled.
        const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'veilgan-compile-cache') };
        const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
        this.#children.add(child);
        current.child = child;
        let errors = '';
        child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
        createInterface({ input: child.stdout }).on('line', (line) => hear(JSON.parse(line) as Said));
        child.on('close', (code, signal) => {
          this.#children.delete(child);
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
}

/**
 * A coordinator's folder: everything that one run has to outlive its process with. One folder, one run.
 *
 * | file | |
 * |---|---|
 * | `coordinator.json` | run id, where it listens, where sites reach it |
 * | `policy.json` | the policy, byte for byte as it was given to `init` |
 * | `keys.json`, `tls.pem` | private: mode 0600 |
 * | `identity.sqlite` | invites and roster |
 * | `store.sqlite`, `blobs/` | rounds, log, uploads, generators, and sums where they are kept |
 * | `releases/` | manifests of releases, as the log names them |
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { newRunId } from '../coordinator/coordinator.ts';
import { IdentityService } from '../coordinator/shell/identity-service.ts';
import { SqliteIdentityStore } from '../coordinator/shell/identity-store.ts';
import { loadOrCreateSelfSignedTls, type TlsIdentity, tlsFromPem } from '../coordinator/shell/tls.ts';
import { systemClock } from '../shared/clock.ts';
import { FedError } from '../shared/errors.ts';
import { loadOrCreateSigningKeys, type SigningKeys } from '../shared/identity/keys.ts';
import { type CheckedPolicy, loadPolicyText } from '../shared/policy/load.ts';
import { readSuccession } from './coordinator-succession.ts';
import { loadOptions, parseJson, readText } from './options.ts';
import { writeWhole } from './output.ts';

export const CoordinatorFile = z.strictObject({
  version: z.literal(1),
  runId: z.uuid(),
  /** The address it listens on. */
  host: z.string().min(1),
  port: z.int().min(1).max(65_535),
  /** Where sites reach it: what invites carry. */
  url: z.url({ protocol: /^https$/ }),
  /** `authorities`: the certificate is one that the sites' machines vouch for; else invites pin it. */
  certificate: z.enum(['pinned', 'authorities']),
});
export type CoordinatorFile = z.infer<typeof CoordinatorFile>;

export interface CoordinatorFolder {
  readonly dir: string;
  readonly file: CoordinatorFile;
  readonly policy: CheckedPolicy;
  readonly policyText: string;
}

export const keysPath = (dir: string): string => join(dir, 'keys.json');
export const storePath = (dir: string): string => join(dir, 'store.sqlite');
export const blobsPath = (dir: string): string => join(dir, 'blobs');
/** Manifests of what left, each named after its SHA-256. */
export const releasesPath = (dir: string): string => join(dir, 'releases');

export interface InitOptions {
  readonly dir: string;
  readonly policyText: string;
  readonly host: string;
  /** 0 looks for a free one. */
  readonly port: number;
  /** Where sites reach it; by default host and port. */
  readonly url?: string;
  /** PEM texts of the operator's own certificate. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly authorities: boolean };
}

/**
 * Makes the folder of a new run.
 * @throws {FedError} PARAMETER_INVALID when there is something in it already; POLICY_INVALID.
 */
export async function initCoordinator(o: InitOptions): Promise<CoordinatorFolder> {
  const { dir, policyText, host, tls } = o;
  const policy = loadPolicyText(policyText, loadOptions);
  if (existsSync(dir) && readdirSync(dir).length > 0)
    throw new FedError('PARAMETER_INVALID', `${dir} is not empty; a run is begun in a folder of its own`);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const port = o.port === 0 ? await freePort(host) : o.port;
  const name = host.includes(':') ? `[${host}]` : host;
  const url = o.url ?? `https://${name}:${port}`;
  const certificate = tls?.authorities === true ? 'authorities' : 'pinned';
  const file = { version: 1 as const, runId: newRunId(), host, port, url, certificate } satisfies CoordinatorFile;
  parseJson(JSON.stringify(file), CoordinatorFile, 'the command line', 'PARAMETER_INVALID');
  loadOrCreateSigningKeys(join(dir, 'keys.json'));
  if (tls === undefined) await loadOrCreateSelfSignedTls(dir, new URL(url).hostname, Date.now());
  else {
    const { cert, key } = tlsFromPem(tls.cert, tls.key);
    writeWhole(join(dir, 'tls.pem'), `${key.trim()}\n${cert.trim()}\n`, 0o600);
  }
  writeWhole(join(dir, 'policy.json'), policyText);
  // Last: a folder with this file is complete.
  writeWhole(join(dir, 'coordinator.json'), `${JSON.stringify(file, null, 2)}\n`);
  return { dir, file, policy, policyText };
}

/** @throws {FedError} PARAMETER_INVALID when it is no such folder; STORE_CORRUPT */
export function openCoordinator(dir: string): CoordinatorFolder {
  const path = join(dir, 'coordinator.json');
  if (!existsSync(path))
    throw new FedError('PARAMETER_INVALID', `${dir} is no coordinator's folder: veilgan coordinator init makes one`);
  const file = parseJson(readFileSync(path, 'utf8'), CoordinatorFile, path, 'STORE_CORRUPT');
  const policyText = readText(join(dir, 'policy.json'), 'policy');
  return { dir, file, policyText, policy: loadPolicyText(policyText, loadOptions) };
}

export interface CoordinatorIdentity extends AsyncDisposable {
  readonly keys: SigningKeys;
  readonly tls: TlsIdentity;
  readonly identity: IdentityService;
}

/** Keys, certificate, invites and roster of a folder. */
export async function openIdentity({ dir, file }: CoordinatorFolder): Promise<CoordinatorIdentity> {
  const keys = existingSigningKeys(dir);
  const tls = await loadOrCreateSelfSignedTls(dir, new URL(file.url).hostname, Date.now());
  const store = new SqliteIdentityStore(join(dir, 'identity.sqlite'));
  const identity = await IdentityService.open(keys, store, systemClock, successionOf(dir, keys)).catch(
    async (error: unknown) => {
      await store.close();
      throw error;
    },
  );
  return { keys, tls, identity, [Symbol.asyncDispose]: () => store.close() };
}

/**
 * The folder's keys. They are made by `init` alone: another key in place of one that is lost would lock every site out.
 * @throws {FedError} STORE_CORRUPT when they are not there.
 */
export function existingSigningKeys(dir: string): SigningKeys {
  if (!existsSync(keysPath(dir)))
    throw new FedError(
      'STORE_CORRUPT',
      `${keysPath(dir)} is lost: restore it, or veilgan coordinator rotate-key --dir ${dir} --lost`,
    );
  return loadOrCreateSigningKeys(keysPath(dir));
}

/**
 * What led to the key of now: statements for sites, from the last key that was lost on; and the keys that may have signed
 * the roster. After a loss nobody can say who signed it, so that the roster in this folder is taken as it is.
 */
function successionOf(dir: string, { signing }: SigningKeys) {
  const changes = readSuccession(dir);
  if (changes.length === 0 || changes.at(-1)!.to.x !== signing.x) return {};
  const lost = changes.findLastIndex((c) => c.statement === null);
  return {
    succession: changes.slice(lost + 1).flatMap((c) => c.statement ?? []),
    former: changes.flatMap((c) => c.from ?? []),
    signerLost: changes.at(-1)!.statement === null,
  };
}

/**
 * Makes a site's one-time invite; may be called while the coordinator runs.
 * @returns the string for the site's operator: a secret until it is used.
 */
export async function inviteSite(folder: CoordinatorFolder, siteId: string, ttlMs?: number): Promise<string> {
  await using parts = await openIdentity(folder);
  const { url, certificate } = folder.file;
  const tlsFingerprint = certificate === 'pinned' ? parts.tls.fingerprint : null;
  const lasting = ttlMs === undefined ? {} : { ttlMs };
  const { invite } = await parts.identity.invite({ siteId, url, tlsFingerprint, ...lasting });
  return invite;
}

/** A port nobody listens on now. It is written down, so that a restart is found where the invites say. */
function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, host, () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

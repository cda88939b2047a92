/** Keys of a consortium that change: a site that leaves or lost its key, and the coordinator's own key. */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { keyChangeOf } from '../coordinator/key-change.ts';
import { SqliteStore } from '../coordinator/store/sqlite.ts';
import { systemClock } from '../shared/clock.ts';
import { FedError } from '../shared/errors.ts';
import { publicPart, thumbprint } from '../shared/identity/jwk.ts';
import { loadOrCreateSigningKeys } from '../shared/identity/keys.ts';
import { MAX_SUCCESSIONS, signSuccession } from '../shared/identity/succession.ts';
import { type CoordinatorFolder, keysPath, openIdentity, storePath } from './coordinator-folder.ts';
import { readSuccession, successionPath } from './coordinator-succession.ts';
import { lockFolder } from './lock.ts';
import { replaceWhole } from './output.ts';

/**
 * Revokes a site: its key is not accepted any more, and a coordinator that runs cuts its connection within seconds. The
 * run goes on while enough sites are left.
 * @returns how many sites are left, of how many a round needs.
 * @throws {FedError} KEY_UNKNOWN when there is no such site.
 */
export async function revokeSite(folder: CoordinatorFolder, siteId: string): Promise<{ left: number; needed: number }> {
  await using parts = await openIdentity(folder);
  await parts.identity.revoke(siteId);
  const left = parts.identity.roster.sites.filter((s) => s.status === 'active').length;
  const { minSites, minSurvivors } = folder.policy.aggregation;
  return { left, needed: Math.max(minSites, minSurvivors) };
}

/** What operators of sites compare, and type where they have to pin it by hand. */
export async function keyCard(folder: CoordinatorFolder) {
  await using parts = await openIdentity(folder);
  const { signing, kid } = parts.keys;
  return { key: signing.x, kid, tlsFingerprint: parts.tls.fingerprint, url: folder.file.url };
}

/**
 * Gives the coordinator a new signing key. With the old key at hand it signs the new one, and sites follow by
 * themselves; a key that is lost signs nothing, and every site's operator pins the new one by hand.
 *
 * Guarantee: may be killed at any instruction and called again; the new key is made once. The attempt that is open is
 * void, since its plan is signed with the old key; updates that sites have made fit the next attempt.
 * @throws {FedError} PARAMETER_INVALID while the coordinator runs.
 */
export async function rotateCoordinatorKey(
  folder: CoordinatorFolder,
  o: { readonly lost: boolean },
): Promise<{ key: string; kid: string; open: boolean }> {
  const { dir } = folder;
  using _ = lockFolder(dir);
  const fresh = join(dir, 'keys.next.json');
  const next = loadOrCreateSigningKeys(fresh);
  const to = publicPart(next.signing);
  const changes = readSuccession(dir);
  if (changes.at(-1)?.to.x !== to.x) {
    if (changes.length >= MAX_SUCCESSIONS)
      throw new FedError('PARAMETER_INVALID', `the key was changed ${MAX_SUCCESSIONS} times already`);
    // A key file that was lost must not be made anew just to sign with it.
    if (!o.lost && !existsSync(keysPath(dir)))
      throw new FedError('PARAMETER_INVALID', `${keysPath(dir)} is not there; --lost goes on without it`);
    const old = o.lost ? null : loadOrCreateSigningKeys(keysPath(dir));
    const from = old === null ? null : publicPart(old.signing);
    const statement = old === null ? null : await signSuccession(old, to, Date.now());
    const file = { version: 1 as const, changes: [...changes, { from, to, statement }] };
    replaceWhole(successionPath(dir), `${JSON.stringify(file, null, 2)}\n`);
  }
  const change = readSuccession(dir).at(-1)!;
  const store = new SqliteStore(storePath(dir));
  try {
    const open = await keyChangeOf(store, folder.file.runId, change, next, systemClock.now());
    renameSync(fresh, keysPath(dir));
    // Signs the roster anew, now and not at the next start: what is wrong with it is said here.
    await (await openIdentity(folder))[Symbol.asyncDispose]();
    return { key: to.x, kid: thumbprint(to), open };
  } finally {
    await store.close();
    if (existsSync(keysPath(dir))) rmSync(fresh, { force: true });
  }
}

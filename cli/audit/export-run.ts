/** The audit folder of a coordinator's own folder. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { systemClock } from '../../shared/clock.ts';
import { signRoster } from '../../shared/identity/roster.ts';
import { FileBlobStore } from '../../shared/protocol/file-blob-store.ts';
import { blobsPath, type CoordinatorFolder, openIdentity, releasesPath, storePath } from '../coordinator-folder.ts';
import { type ExportedAudit, exportAudit } from './export-folder.ts';

/** @throws {FedError} PARAMETER_INVALID when there is no log yet, or something lies in the target already. */
export async function exportFrom(folder: CoordinatorFolder, out: string): Promise<ExportedAudit> {
  const { dir, file, policy, policyText } = folder;
  await using parts = await openIdentity(folder);
  const { keys, identity } = parts;
  const store = new SqliteStore(storePath(dir));
  try {
    const roster = await signRoster(keys, identity.roster, systemClock.now());
    const manifests = manifestsOf(dir);
    const blobs = new FileBlobStore(blobsPath(dir));
    return await exportAudit({ out, runId: file.runId, store, keys, policy, policyText, roster, blobs, manifests });
  } finally {
    await store.close();
  }
}

/** Manifests that `veilgan release` has logged, by the hash they are named after. */
function manifestsOf(dir: string): Map<string, string> {
  const folder = releasesPath(dir);
  const names = existsSync(folder) ? readdirSync(folder).filter((f) => /^[0-9a-f]{64}\.json$/.test(f)) : [];
  return new Map(names.map((name) => [name.slice(0, 64), readFileSync(join(folder, name), 'utf8')]));
}

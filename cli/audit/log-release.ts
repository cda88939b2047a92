/** A release in the log: what left, by the digest of its manifest. The manifest goes with the files, and is kept. */
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { publishCheckpoint } from '../../coordinator/witnesses.ts';
import { canonicalJson, sha256Hex } from '../../shared/audit/canonical.ts';
import { draftOf } from '../../shared/audit/log.ts';
import { ReleaseManifest } from '../../shared/audit/verify/folder-format.ts';
import { systemClock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import { loadOrCreateSigningKeys } from '../../shared/identity/keys.ts';
import { policySha256 } from '../../shared/policy/load.ts';
import { type CoordinatorFolder, releasesPath, storePath } from '../coordinator-folder.ts';
import { writeWhole } from '../output.ts';

/** What of an exported folder is a release: the generator and the images, not the pictures of them. */
const RELEASED = ['generator.onnx', 'generator.json', 'images'];

/**
 * Writes `release.json` beside the files and logs its digest, once: the same files again are the same release.
 * @param generatorSha256 - of the weights they were drawn from, as the log has it.
 */
export async function logRelease(
  folder: CoordinatorFolder,
  out: string,
  o: { generatorSha256: string; images: number },
): Promise<string> {
  const { dir, file, policy } = folder;
  const { runId } = file;
  const manifest: ReleaseManifest = ReleaseManifest.parse({
    format: 'veilgan-release/1',
    runId,
    policySha256: policySha256(policy),
    ...o,
    files: filesIn(out),
  });
  const text = canonicalJson(manifest);
  const manifestSha256 = sha256Hex(text);
  mkdirSync(releasesPath(dir), { recursive: true });
  // Kept first: an entry never names a manifest that is nowhere.
  writeWhole(join(releasesPath(dir), `${manifestSha256}.json`), text);
  writeWhole(join(out, 'release.json'), text);
  const store = new SqliteStore(storePath(dir));
  try {
    await store.transaction(async (tx) => {
      const head = await tx.logHead(runId);
      if (head.size === 0) throw new FedError('STORE_CORRUPT', `run ${runId} has no log`);
      // Releases come at the end of a log: the last thousand entries hold those of a finished run.
      const last = await tx.log(runId, Math.max(0, head.size - 1000), 1000);
      const known = last.map(draftOf).some((d) => d.kind === 'released' && d.body.manifestSha256 === manifestSha256);
      if (known) return;
      await tx.appendLog(runId, { kind: 'released', body: { ...o, manifestSha256 } }, systemClock.now());
      await publishCheckpoint(tx, runId, await tx.logHead(runId), loadOrCreateSigningKeys(join(dir, 'keys.json')));
    });
  } finally {
    await store.close();
  }
  return manifestSha256;
}

function filesIn(out: string): ReleaseManifest['files'] {
  const found = readdirSync(out, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(out, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((name) => RELEASED.some((r) => name === r || name.startsWith(`${r}/`)));
  return found.sort().map((name) => {
    const bytes = readFileSync(join(out, name));
    return { name, sha256: sha256Hex(bytes), bytes: bytes.length };
  });
}

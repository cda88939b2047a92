/** May this run's images leave? What every command asks that writes any. */
import { candidateBlob } from '../../coordinator/generators.ts';
import { type GateVerdict, verdictOf } from '../../coordinator/gate-verdict.ts';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { unpackFloat32 } from '../../shared/aggregation/clear.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
import { FileBlobStore } from '../../shared/protocol/file-blob-store.ts';
import { blobsPath, type CoordinatorFolder, existingSigningKeys, storePath } from '../coordinator-folder.ts';

/** The verdict on a run as it stands in its folder; also beside a coordinator that runs. @throws {FedError} STORE_CORRUPT without its key */
export async function judgedRelease({ dir, file, policy }: CoordinatorFolder): Promise<GateVerdict> {
  const store = new SqliteStore(storePath(dir));
  try {
    return await verdictOf({ store, runId: file.runId, policy, keys: existingSigningKeys(dir) });
  } finally {
    await store.close();
  }
}

/**
 * The same, for whoever is about to write images.
 *
 * Guarantee: returns only where the policy has no gate (null), or the gate lets this candidate leave.
 * @throws {FedError} RELEASE_REFUSED with one sentence for every bound that does not hold.
 */
export async function requireReleasable(folder: CoordinatorFolder): Promise<GateVerdict | null> {
  if (folder.policy.release.gate === null) return null;
  const verdict = await judgedRelease(folder);
  if (verdict.passed) return verdict;
  const against = verdict.findings.filter((f) => !f.holds).map((f) => `${f.bound}: ${f.say}`);
  throw new FedError('RELEASE_REFUSED', against.join('\n'));
}

/**
 * The judged generator itself: averaged weights with the fixed batch statistics behind them. [parameters + statistics]
 * @throws {FedError} STORE_CORRUPT when the blob is gone or is another.
 */
export async function judgedGenerator(
  { dir, file }: CoordinatorFolder,
  candidate: NonNullable<GateVerdict['candidate']>,
): Promise<Float32Array> {
  const bytes = await new FileBlobStore(blobsPath(dir)).read(candidateBlob(file.runId), 0, candidate.bytes);
  if (sha256Hex(bytes) !== candidate.releasedSha256)
    throw new FedError('STORE_CORRUPT', 'the stored candidate is not the one that was judged');
  return unpackFloat32(bytes);
}

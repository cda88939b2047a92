/** A release in the log: what left, by the digest of its manifest. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import { cosignedNote, publishCheckpoint } from '../../coordinator/witnesses.ts';
import type { LogHead } from '../../shared/audit/log.ts';
import type { Clock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import { writeWhole } from '../output.ts';
import type { ReleaseSource } from './source.ts';

type Where = Pick<ReleaseSource, 'runId' | 'store' | 'keys' | 'releases'>;

/** The log as it stands, under a checkpoint: what a manifest says it rests on. @throws {FedError} STORE_CORRUPT */
export async function checkpointNow({ runId, store: path, keys }: Where): Promise<LogHead & { checkpoint: string }> {
  const store = new SqliteStore(path);
  try {
    return await store.transaction(async (tx) => {
      const head = await tx.logHead(runId);
      if (head.size === 0) throw new FedError('STORE_CORRUPT', `run ${runId} has no log`);
      await publishCheckpoint(tx, runId, head, keys);
      const kept = await tx.checkpoint(runId, head.size);
      if (kept === null) throw new FedError('STORE_CORRUPT', `no checkpoint of ${head.size} entries`);
      return { ...head, checkpoint: cosignedNote(kept) };
    });
  } finally {
    await store.close();
  }
}

/**
 * Keeps the manifest and logs its digest. Call it before the files are where anybody looks for them: a release that the log
 * has and nobody got is a nuisance, one that left without an entry is a lie.
 */
export async function logRelease(
  where: Where,
  manifest: { text: string; sha256: string; generatorSha256: string; images: number },
  clock: Clock,
): Promise<void> {
  const { runId, keys, releases } = where;
  const { text, sha256, generatorSha256, images } = manifest;
  mkdirSync(releases, { recursive: true });
  // Kept first: an entry never names a manifest that is nowhere.
  writeWhole(join(releases, `${sha256}.json`), text);
  const store = new SqliteStore(where.store);
  try {
    await store.transaction(async (tx) => {
      const body = { generatorSha256, images, manifestSha256: sha256 };
      await tx.appendLog(runId, { kind: 'released', body }, clock.now());
      await publishCheckpoint(tx, runId, await tx.logHead(runId), keys);
    });
  } finally {
    await store.close();
  }
}

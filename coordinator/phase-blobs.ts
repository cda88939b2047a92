/** What a phase shows its participants beside their downlinks: one byte string, stored under its hash. */
import type { NextPhase } from '../shared/aggregation/aggregation.ts';
import { sha256Hex } from '../shared/audit/canonical.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import type { BlobRef } from './store/store.ts';

/** A blob's name: what a phase shows its participants, under this hash. */
export const phaseBlob = (sha256: string): string => `phase.${sha256}`;

/** Guarantee: durable when this resolves, so a record that refers to it never points at nothing. */
export async function storePhaseBlob(blobs: BlobStore, { blob }: NextPhase): Promise<BlobRef | undefined> {
  if (blob === undefined) return undefined;
  const sha256 = sha256Hex(blob);
  await blobs.put(phaseBlob(sha256), blob);
  return { sha256, bytes: blob.length };
}

/** Removes those of attempts gone by: when the next is opened, nobody may ask for them any more. */
export async function forgetPhaseBlobs(blobs: BlobStore): Promise<void> {
  for (const old of await blobs.list(phaseBlob(''))) await blobs.delete(old.name);
}

/** The pooled discriminator's file: one a step, durable before a record names it. */
import { createHash } from 'node:crypto';
import { sha256Hex } from '../shared/audit/canonical.ts';
import { FedError } from '../shared/errors.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import type { PooledTrainer } from './core/pooled-trainer.ts';
import type { RoundParts } from './round.ts';
import type { DiscriminatorRecord } from './store/store.ts';

/**
 * A blob's name; `total` counts the steps of the run. It holds the state, which begins with the weights that sites
 * download: one file, so one sync of the disk lies between a sum and the next step.
 */
export const discriminatorBlob = (runId: string, total: number): string =>
  `d.${runId}.${String(total).padStart(8, '0')}`;

/** Guarantee: durable when it resolves. */
export async function storeDiscriminator(
  { blobs, receiver, runId }: RoundParts,
  trainer: PooledTrainer,
  state: Uint8Array,
  at: Pick<DiscriminatorRecord, 'round' | 'attempt' | 'steps' | 'total'>,
): Promise<DiscriminatorRecord> {
  const durable = blobs.put(discriminatorBlob(runId, at.total), state);
  // The processor is free while the disk is waited for; a failure is heard of below all the same.
  durable.catch(() => undefined);
  const first = trainer.discriminatorWeights(state);
  const weights = state.subarray(0, first.byteLength);
  if (Buffer.compare(weights, new Uint8Array(first.buffer, first.byteOffset, first.byteLength)) !== 0)
    throw new FedError('STORE_CORRUPT', 'a discriminator’s state does not begin with its weights');
  const hash = createHash('sha256').update(weights);
  const ofWeights = { sha256: hash.copy().digest('hex'), bytes: weights.length };
  const ofState = { sha256: hash.update(state.subarray(weights.length)).digest('hex'), bytes: state.length };
  receiver.expect(ofWeights.sha256, weights);
  await durable;
  return { ...at, state: ofState, weights: ofWeights };
}

export async function loadDiscriminator(blobs: BlobStore, runId: string, of: DiscriminatorRecord): Promise<Uint8Array> {
  const name = discriminatorBlob(runId, of.total);
  const bytes = await blobs.read(name, 0, of.state.bytes);
  if (sha256Hex(bytes) !== of.state.sha256) throw new FedError('STORE_CORRUPT', `${name} does not match its hash`);
  return bytes;
}

export async function forgetDiscriminator({ blobs, runId }: RoundParts, total: number): Promise<void> {
  if (total >= 0) await blobs.delete(discriminatorBlob(runId, total));
}

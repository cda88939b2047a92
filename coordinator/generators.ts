import { sha256Hex } from '../shared/audit/canonical.ts';
import { packFloat32 } from '../shared/aggregation/clear.ts';
import { FedError } from '../shared/errors.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import type { GeneratorTrainer } from './core/generator-trainer.ts';
import type { GeneratorRecord } from './store/store.ts';

/** A blob's name; `round` counts rounds applied. */
export const generatorBlob = (runId: string, round: number, part: 'state' | 'weights' | 'critic'): string =>
  `g.${runId}.${String(round).padStart(8, '0')}.${part}`;

/** The candidate of the run's release: what sites judge, and what leaves. */
export const candidateBlob = (runId: string): string => `g.${runId}.candidate`;

/**
 * Stores a generator's state and what sites download: its weights, and the critic of the next round where there is one.
 *
 * Guarantee: all are durable before this resolves, so a record that names them never points at nothing. Nothing
 * refers to them yet: interrupted here, the same round is worked out again and they are written over.
 */
export async function storeGenerator(
  blobs: BlobStore,
  runId: string,
  round: number,
  state: Uint8Array,
  trainer: GeneratorTrainer,
): Promise<GeneratorRecord> {
  const weights = packFloat32(trainer.weights(state));
  await blobs.put(generatorBlob(runId, round, 'state'), state);
  await blobs.put(generatorBlob(runId, round, 'weights'), weights);
  const critic = trainer.critic(state);
  const criticBytes = critic === null ? null : packFloat32(critic);
  if (criticBytes !== null) await blobs.put(generatorBlob(runId, round, 'critic'), criticBytes);
  return {
    round,
    state: { sha256: sha256Hex(state), bytes: state.length },
    weights: { sha256: sha256Hex(weights), bytes: weights.length },
    ...(criticBytes && { critic: { sha256: sha256Hex(criticBytes), bytes: criticBytes.length } }),
  };
}

/** A stored state. @throws {FedError} STORE_CORRUPT when it is gone or does not match its hash. */
export async function loadGeneratorState(blobs: BlobStore, runId: string, of: GeneratorRecord): Promise<Uint8Array> {
  const name = generatorBlob(runId, of.round, 'state');
  const bytes = await blobs.read(name, 0, of.state.bytes);
  if (sha256Hex(bytes) !== of.state.sha256) throw new FedError('STORE_CORRUPT', `${name} does not match its hash`);
  return bytes;
}

/** Removes a generator nobody can ask for any more. */
export async function forgetGenerator(blobs: BlobStore, runId: string, round: number): Promise<void> {
  await blobs.delete(generatorBlob(runId, round, 'state'));
  await blobs.delete(generatorBlob(runId, round, 'weights'));
  await blobs.delete(generatorBlob(runId, round, 'critic'));
}

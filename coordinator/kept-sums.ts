/**
 * What a coordinator keeps for auditors, if it is told to: every generator round's sum, and the generator's state before
 * the first of them, so that the steps can be taken again offline. A sum is what the coordinator may hold anyway; it
 * says no more of any patient than the statements of epsilon do.
 */
import { FedError } from '../shared/errors.ts';
import type { BlobStore } from '../shared/protocol/blob-store.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';

const pad = (round: number): string => String(round).padStart(8, '0');
const sumBlob = (runId: string, round: number): string => `kept.${runId}.sum.${pad(round)}`;
const anchors = (runId: string): string => `kept.${runId}.anchor.`;

/** Keeps the sum of a generator round, durable before the round closes. @param before - the state it was applied to. */
export async function keepSum(blobs: BlobStore, plan: RoundPlan, sum: Float64Array, before: Uint8Array): Promise<void> {
  if (plan.kind !== 'generator') return;
  const { runId, round } = plan;
  if ((await blobs.list(anchors(runId))).length === 0) await blobs.put(`${anchors(runId)}${pad(round)}`, before);
  const bytes = new DataView(new ArrayBuffer(8 * sum.length));
  sum.forEach((value, i) => bytes.setFloat64(8 * i, value, true));
  await blobs.put(sumBlob(runId, round), new Uint8Array(bytes.buffer));
}

export interface KeptSums {
  readonly anchor: { readonly round: number; readonly bytes: Uint8Array };
  readonly rounds: readonly number[];
  /** The sum of a round as it is exported: float64, little-endian. */
  readonly sum: (round: number) => Promise<Uint8Array>;
}

/** What was kept of a run; null where nothing was. */
export async function keptSums(blobs: BlobStore, runId: string): Promise<KeptSums | null> {
  const [anchor] = await blobs.list(anchors(runId));
  if (anchor === undefined) return null;
  const prefix = `kept.${runId}.sum.`;
  const infos = await blobs.list(prefix);
  const roundOf = (name: string) => Number(name.slice(name.lastIndexOf('.') + 1));
  return {
    anchor: { round: roundOf(anchor.name), bytes: await blobs.read(anchor.name, 0, anchor.bytes) },
    rounds: infos.map(({ name }) => roundOf(name)),
    async sum(round) {
      const info = infos.find(({ name }) => name === sumBlob(runId, round));
      if (info === undefined) throw new FedError('STORE_CORRUPT', `no sum of round ${round} was kept`);
      return blobs.read(info.name, 0, info.bytes);
    },
  };
}

/**
 * Scheme `clear`: one phase, the clipped and noised update as float32 little-endian, in the open. The coordinator sees
 * every update, so it can check every one; whoever trusts it with that needs no more. What protects a patient here is
 * the noise alone.
 */
import { FedError } from '../errors.ts';
import type { CoordinatorScheme, SiteScheme, SpooledTensor } from './aggregation.ts';

const BYTES = 4;
/** A norm worked out in float32 may pass its clip by rounding: a part in 10^5 of it, and no more. */
const NORM_SLACK = 1 + 1e-5;

/** The update as it travels. [d] -> 4·d bytes, little-endian on every machine. */
export function packFloat32(update: Float32Array): Uint8Array {
  const bytes = new Uint8Array(update.length * BYTES);
  const view = new DataView(bytes.buffer);
  update.forEach((x, i) => view.setFloat32(i * BYTES, x, true));
  return bytes;
}

/** The inverse of `packFloat32`. @throws {FedError} UPDATE_SHAPE when the bytes are not whole values. */
export function unpackFloat32(bytes: Uint8Array): Float32Array {
  if (bytes.byteLength % BYTES !== 0) throw new FedError('UPDATE_SHAPE', `${bytes.byteLength} bytes of float32`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.byteLength / BYTES }, (_, i) => view.getFloat32(i * BYTES, true));
}

/** Calls `take` with every value in order; a value may lie across two chunks. */
async function eachValue(tensor: SpooledTensor, take: (x: number, i: number) => void): Promise<number> {
  const carry = new Uint8Array(BYTES);
  const carried = new DataView(carry.buffer);
  let held = 0;
  let index = 0;
  for await (const chunk of tensor.chunks()) {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (held > 0 && held < BYTES && at < chunk.byteLength) carry[held++] = chunk[at++];
    if (held === BYTES) {
      take(carried.getFloat32(0, true), index++);
      held = 0;
    }
    for (; at + BYTES <= chunk.byteLength; at += BYTES) take(view.getFloat32(at, true), index++);
    while (at < chunk.byteLength) carry[held++] = chunk[at++];
  }
  if (held !== 0) throw new FedError('UPDATE_SHAPE', `${held} bytes past the last value`);
  return index;
}

const noBody = (body: unknown, siteId: string): void => {
  if (body !== null) throw new FedError('MESSAGE_INVALID', `site=${siteId}: the clear scheme has no body`);
};

export const clearSite: SiteScheme = {
  scheme: 'clear',
  async answer({ phase, update }) {
    if (phase !== 0) throw new FedError('MESSAGE_INVALID', `the clear scheme has no phase ${phase}`);
    return { uplink: { body: null, tensor: packFloat32(update) }, secret: null };
  },
};

export const clearCoordinator: CoordinatorScheme = {
  scheme: 'clear',

  open: (plan) => new Map(plan.invited.map((siteId) => [siteId, null])),

  /**
   * Streams the upload once.
   * @param p.clipNorm - null where the update carries noise of its own, whose norm has no bound (a moment round): then
   *   shape and finiteness are all that can be asked.
   */
  async check({ siteId, body, tensor, length, clipNorm }) {
    noBody(body, siteId);
    if (tensor === null || tensor.bytes !== length * BYTES)
      throw new FedError('UPDATE_SHAPE', `site=${siteId}: ${tensor?.bytes ?? 'no'} bytes, wanted ${length * BYTES}`);
    let squares = 0;
    let bad = 0;
    await eachValue(tensor, (x) => {
      if (Number.isFinite(x)) squares += x * x;
      else bad += 1;
    });
    if (bad > 0) throw new FedError('UPDATE_NOT_FINITE', `site=${siteId}: ${bad} of ${length} values`);
    // The norm itself stays out of the detail: it is a statistic of the update.
    if (clipNorm !== null && Math.sqrt(squares) > clipNorm * NORM_SLACK)
      throw new FedError('UPDATE_TOO_LARGE', `site=${siteId}: norm above ${clipNorm}`);
  },

  /**
   * Step 6 of 9: the sum, in float64, one upload at a time.
   *
   * Guarantee: sites are added by ascending id, whatever the order of the map, so the same answers give the same bytes
   * after a restart. Memory is one float64 vector and one chunk.
   */
  async close({ length, answers }) {
    const sum = new Float64Array(length);
    const contributors = [...answers.keys()].sort();
    for (const siteId of contributors) {
      const tensor = answers.get(siteId)?.tensor;
      if (!tensor) throw new FedError('UPDATE_SHAPE', `site=${siteId}: no tensor`);
      const values = await eachValue(tensor, (x, i) => {
        if (i < length) sum[i] += x;
      });
      if (values !== length) throw new FedError('STORE_CORRUPT', `site=${siteId}: ${values} values, wanted ${length}`);
    }
    return { sum, contributors };
  },
};

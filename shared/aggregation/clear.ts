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

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
/** Bytes of this machine's floats to little-endian ones, and back: in place. */
const toWire = (bytes: Uint8Array): Uint8Array => {
  if (!LITTLE_ENDIAN) Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).swap32();
  return bytes;
};

/** The update as it travels. [d] -> 4·d bytes, little-endian on every machine. */
export function packFloat32(update: Float32Array): Uint8Array {
  return toWire(new Uint8Array(update.slice().buffer));
}

/** The inverse of `packFloat32`. @throws {FedError} UPDATE_SHAPE when the bytes are not whole values. */
export function unpackFloat32(bytes: Uint8Array): Float32Array {
  if (bytes.byteLength % BYTES !== 0) throw new FedError('UPDATE_SHAPE', `${bytes.byteLength} bytes of float32`);
  // A copy: aligned, whatever the bytes are a view of.
  return new Float32Array(toWire(new Uint8Array(bytes)).buffer);
}

/** Calls `take` with runs of values in order, and where each begins; a value may lie across two chunks. */
async function eachRun(tensor: SpooledTensor, take: (values: Float32Array, start: number) => void): Promise<number> {
  let held = new Uint8Array();
  let index = 0;
  for await (const chunk of tensor.chunks()) {
    const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const whole = bytes.byteLength - (bytes.byteLength % BYTES);
    const values = unpackFloat32(bytes.subarray(0, whole));
    take(values, index);
    index += values.length;
    held = new Uint8Array(bytes.subarray(whole));
  }
  if (held.length !== 0) throw new FedError('UPDATE_SHAPE', `${held.length} bytes past the last value`);
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
    await eachRun(tensor, (values) => {
      for (let i = 0; i < values.length; i++) {
        if (Number.isFinite(values[i])) squares += values[i] * values[i];
        else bad += 1;
      }
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
      const values = await eachRun(tensor, (run, start) => {
        const end = Math.min(run.length, length - start);
        for (let i = 0; i < end; i++) sum[start + i] += run[i];
      });
      if (values !== length) throw new FedError('STORE_CORRUPT', `site=${siteId}: ${values} values, wanted ${length}`);
    }
    return { sum, contributors };
  },
};

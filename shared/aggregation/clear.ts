/**
 * Scheme `clear`: one phase, the clipped and noised update as float32 little-endian, in the open. The coordinator sees
 * every update, so it can check every one; whoever trusts it with that needs no more. What protects a patient here is
 * the noise alone. A round of pooled steps has one phase a step, its updates as int32; each holds a share of the noise
 * only, so policies with a mechanism may not pool in the open.
 */
import { FedError } from '../errors.ts';
import type { RoundPlan } from '../protocol/plan.ts';
import type { CoordinatorScheme, SiteScheme, SiteUpdate, SpooledTensor } from './aggregation.ts';
import { packInt32, toWire, unpackInt32 } from './integers.ts';
import { inOrder } from './phase-order.ts';

const BYTES = 4;
/** A norm worked out in float32 may pass its clip by rounding: a part in 10^5 of it, and no more. */
const NORM_SLACK = 1 + 1e-5;

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

type Unpack = (bytes: Uint8Array) => Float32Array | Int32Array;

/** Either kind of update as bytes; which it is follows from the policy, so the bytes do not say. */
export const packUpdate = (update: SiteUpdate): Uint8Array =>
  update instanceof Int32Array ? packInt32(update) : packFloat32(update);

/** @throws {FedError} UPDATE_SHAPE */
export const unpackUpdate = (bytes: Uint8Array, integers: boolean): SiteUpdate =>
  integers ? unpackInt32(bytes) : unpackFloat32(bytes);

/** Calls `take` with runs of values in order, and where each begins; a value may lie across two chunks. */
async function eachRun(
  tensor: SpooledTensor,
  unpack: Unpack,
  take: (values: Float32Array | Int32Array, start: number) => void,
): Promise<number> {
  let held = new Uint8Array();
  let index = 0;
  for await (const chunk of tensor.chunks()) {
    const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const whole = bytes.byteLength - (bytes.byteLength % BYTES);
    const values = unpack(bytes.subarray(0, whole));
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

/** One phase; in a round of pooled steps one a step. */
const phasesOf = (plan: RoundPlan): number => (plan.kind === 'discriminator' ? plan.discriminatorSteps : 1);

export const clearSite: SiteScheme = {
  scheme: 'clear',
  async answer({ phase, plan, update }) {
    if (phase >= phasesOf(plan)) throw new FedError('MESSAGE_INVALID', `the clear scheme has no phase ${phase}`);
    if (update === null) throw new FedError('PARAMETER_INVALID', `no update for phase ${phase}`);
    return { uplink: { body: null, tensor: packUpdate(update) }, secret: null };
  },

  updateStep: (plan, phase) => (phase < phasesOf(plan) ? phase : null),
  phasesBefore: inOrder,
};

export const clearCoordinator: CoordinatorScheme = {
  scheme: 'clear',
  phasesBefore: inOrder,

  open: (plan) => new Map(plan.invited.map((siteId) => [siteId, null])),

  /**
   * Streams the upload once.
   * @param p.clipNorm - null where the update carries noise of its own, whose norm has no bound (a moment round): then
   *   shape and finiteness are all that can be asked.
   */
  async check({ siteId, body, tensor, length, clipNorm, integerLimit }) {
    noBody(body, siteId);
    if (integerLimit !== null && clipNorm !== null)
      throw new FedError('PARAMETER_INVALID', 'a sum of patients that were clipped one by one is not clipped again');
    if (tensor === null || tensor.bytes !== length * BYTES)
      throw new FedError('UPDATE_SHAPE', `site=${siteId}: ${tensor?.bytes ?? 'no'} bytes, wanted ${length * BYTES}`);
    let squares = 0;
    let bad = 0;
    if (integerLimit !== null) return checkIntegers(siteId, tensor, integerLimit);
    await eachRun(tensor, unpackFloat32, (values) => {
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
  async close({ plan, phase, length, answers, integers }) {
    const sum = new Float64Array(length);
    const contributors = [...answers.keys()].sort();
    for (const siteId of contributors) {
      const tensor = answers.get(siteId)?.tensor;
      if (!tensor) throw new FedError('UPDATE_SHAPE', `site=${siteId}: no tensor`);
      const values = await eachRun(tensor, integers ? unpackInt32 : unpackFloat32, (run, start) => {
        const end = Math.min(run.length, length - start);
        for (let i = 0; i < end; i++) sum[start + i] += run[i];
      });
      if (values !== length) throw new FedError('STORE_CORRUPT', `site=${siteId}: ${values} values, wanted ${length}`);
    }
    if (plan.kind !== 'discriminator') return { sum, contributors };
    const next = { phase: phase + 1, downlinks: new Map(contributors.map((siteId) => [siteId, null])) };
    const last = phase + 1 === phasesOf(plan);
    return { step: { index: phase, sum, contributors }, next: last ? null : next };
  },
};

/** Under `pooled` the coordinator can ask no more of a single update than that it is in range: noise has no norm. */
async function checkIntegers(siteId: string, tensor: SpooledTensor, limit: number): Promise<void> {
  let beyond = 0;
  await eachRun(tensor, unpackInt32, (values) => {
    for (let i = 0; i < values.length; i++) if (Math.abs(values[i]) > limit) beyond += 1;
  });
  if (beyond > 0) throw new FedError('UPDATE_TOO_LARGE', `site=${siteId}: ${beyond} values beyond ${limit}`);
}

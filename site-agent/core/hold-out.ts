/**
 * The patients whom no training sees. The release gate compares the others with them: a generator that remembers its
 * training patients is nearer to those than to patients it never met.
 */
import { createHmac } from 'node:crypto';
import { FedError } from '../../shared/errors.ts';
import { type PrivateImages, withoutPatients } from '../imaging/private-images.ts';

/** Bytes of the key that a site draws for its hold-out. */
export const HOLD_OUT_KEY_BYTES = 32;

/**
 * Whether a patient is held out: a coin of the patient's own, by the site's key, the same in every process of a run.
 * It depends on nobody else, so adding or removing a patient moves no other one.
 */
export function isHeldOut(patientId: string, share: number, key: Uint8Array): boolean {
  const draw = createHmac('sha256', key).update('veilgan hold-out\0').update(patientId).digest().readUIntBE(0, 6);
  return draw / 2 ** 48 < share;
}

/** A site's patients, in two parts that follow withdrawals; nobody is in both. */
export interface Split {
  readonly training: PrivateImages;
  readonly heldOut: PrivateImages;
}

/** @throws {FedError} PARAMETER_INVALID without a whole key: a hold-out that changed with every start would hold nothing out. */
export function splitHoldOut(images: PrivateImages, share: number, key: Uint8Array | undefined): Split {
  if (key?.length !== HOLD_OUT_KEY_BYTES)
    throw new FedError('PARAMETER_INVALID', `a hold-out needs a key of ${HOLD_OUT_KEY_BYTES} bytes`);
  const held = (id: string) => isHeldOut(id, share, key);
  return {
    training: withoutPatients(images, { has: held, version: 0 }),
    heldOut: withoutPatients(images, { has: (id) => !held(id), version: 0 }),
  };
}

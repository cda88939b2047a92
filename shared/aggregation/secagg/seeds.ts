/**
 * What is derived from two sites' shared secrets: HKDF-SHA256 (RFC 5869) with the run, the round, the attempt, the plan,
 * its checkpoint of the log and both ids as context. Sites that were shown different plans, policies or logs derive
 * different masks, and their round gives no sum.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync } from 'node:crypto';
import { canonicalJson } from '../../audit/canonical.ts';
import { FedError } from '../../errors.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import type { RandomBytes } from '../../random.ts';
import { SEED_BYTES } from './mask.ts';

/** Where a secret belongs. */
export interface Context {
  readonly runId: string;
  readonly round: number;
  readonly attempt: number;
  readonly planSha256: string;
  readonly checkpoint: RoundPlan['checkpoint'];
}

/** One end of a pair: its id and the public key of this exchange. */
export interface End {
  readonly siteId: string;
  readonly key: string;
}

/** HKDF-SHA256. @see RFC 5869 */
export const hkdfSha256 = (key: Uint8Array, salt: Uint8Array, info: Uint8Array, bytes: number): Buffer =>
  Buffer.from(hkdfSync('sha256', key, salt, info, bytes));

/** 256 bits from a shared secret, for one purpose in one place. Node takes no long info, so its hash goes in. */
const derive = (shared: Uint8Array, purpose: string, at: Context, more: object): Buffer => {
  const { runId, round, attempt, planSha256, checkpoint } = at;
  const info = canonicalJson({ purpose, runId, round, attempt, planSha256, checkpoint, ...more });
  return hkdfSha256(shared, new Uint8Array(), createHash('sha256').update(info).digest(), SEED_BYTES);
};

/** The seed of the mask between two sites in one step: the same from both ends. */
export function pairSeed(shared: Uint8Array, at: Context, step: number, a: End, b: End): Buffer {
  const [low, high] = a.siteId < b.siteId ? [a, b] : [b, a];
  return derive(shared, 'veilgan/secagg/mask/1', at, { step, low, high });
}

/** What somebody could learn about a sealed share without its key: that it is so long. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
export const SEALING_BYTES = NONCE_BYTES + TAG_BYTES;

/** Seals to one site: AES-256-GCM; from whom, to whom and where it belongs are authenticated. */
export function seal(
  shared: Uint8Array,
  at: Context,
  from: End,
  to: End,
  plain: Uint8Array,
  random: RandomBytes,
): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  random(nonce);
  const cipher = createCipheriv('aes-256-gcm', derive(shared, 'veilgan/secagg/seal/1', at, { from, to }), nonce);
  cipher.setAAD(associated(at, from, to));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** @throws {FedError} SHARE_INVALID when it was not sealed by `from` to `to`, for this very place. */
export function unseal(shared: Uint8Array, at: Context, from: End, to: End, sealed: Uint8Array): Uint8Array {
  try {
    const key = derive(shared, 'veilgan/secagg/seal/1', at, { from, to });
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(associated(at, from, to));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const plain = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
    return Buffer.concat([plain, decipher.final()]);
  } catch (cause) {
    throw new FedError('SHARE_INVALID', `from ${from.siteId} to ${to.siteId}`, { cause });
  }
}

const associated = ({ runId, round, attempt }: Context, from: End, to: End): Buffer =>
  Buffer.from(canonicalJson({ runId, round, attempt, from: from.siteId, to: to.siteId }));

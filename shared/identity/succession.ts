/**
 * How a coordinator's signing key gives way to another. The old key signs the new one; whoever has pinned the old key
 * follows the chain and pins the last. A key that was lost can sign nothing: then people compare the new key and pin it by
 * hand (`veilgan site repin`). A key that was *stolen* can sign a thief's key just as well: then nobody may follow.
 */
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { Kid, PublicSigningKey, publicPart, thumbprint } from './jwk.ts';
import type { SigningKeys } from './keys.ts';
import { CONSORTIUM, claimedKid, signJson, verifyJson } from './signed.ts';

const TYP = 'veilgan-succession+jws';
const Succession = z.strictObject({ from: Kid, to: PublicSigningKey });

/** More changes of key than a run has reason for. */
export const MAX_SUCCESSIONS = 16;
/** The old keys' statements, oldest first. */
export const SuccessionChain = z.array(z.string().max(2048)).max(MAX_SUCCESSIONS);

/** The old key names its successor. @returns a compact JWS, for everybody. */
export const signSuccession = (old: SigningKeys, next: PublicSigningKey, nowMs: number): Promise<string> =>
  signJson(old, { from: old.kid, to: publicPart(next) }, { typ: TYP, audience: CONSORTIUM, nowMs });

/**
 * Who comes after `key`. @throws {FedError} SIGNATURE_INVALID unless `key` signed it.
 */
export async function verifySuccession(jws: string, key: PublicSigningKey): Promise<PublicSigningKey> {
  const { body } = await verifyJson(jws, key, { typ: TYP, audience: CONSORTIUM, schema: Succession });
  if (body.from !== thumbprint(key)) throw new FedError('SIGNATURE_INVALID', 'a succession from another key');
  return body.to;
}

/**
 * The key at the end of the chain for somebody who has pinned `pinned`: statements of keys before it are passed over.
 * @throws {FedError} SIGNATURE_INVALID when a statement of a key on the way does not verify.
 */
export async function followSuccession(pinned: PublicSigningKey, chain: readonly string[]): Promise<PublicSigningKey> {
  let key = pinned;
  for (const jws of chain) if (claimedKid(jws) === thumbprint(key)) key = await verifySuccession(jws, key);
  return key;
}

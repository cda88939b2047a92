/**
 * Signed statements read in bulk: what `verifyJson` does for one message, with the signature checked on another thread and
 * everything else once. The same rules: compact JWS, EdDSA alone, this purpose, this audience, this key's own name.
 */
import type { PublicSigningKey } from '../identity/jwk.ts';
import { kidOf, signedPart, splitJws } from '../identity/jws.ts';
import type { SignedBytes } from '../identity/jws.ts';
import { CONSORTIUM } from '../identity/signed.ts';

/** What a statement says, and by whom it claims to be said. Nothing of it is believed yet. */
export interface Claimed {
  readonly body: unknown;
  readonly iss: unknown;
  readonly aud: unknown;
  /** Seconds since 1970, by the signer's clock. */
  readonly iat: unknown;
  readonly jws: string;
}

/** Splits and parses a statement; null when it is none. */
export function readStatement(jws: string): Claimed | null {
  const [, payload = ''] = jws.split('.', 3);
  let envelope: unknown;
  try {
    envelope = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
  } catch {
    return null;
  }
  if (typeof envelope !== 'object' || envelope === null) return null;
  const { body, iss, aud, iat } = envelope as Record<string, unknown>;
  return body === undefined ? null : { body, iss, aud, iat, jws };
}

/** @returns what is left to be verified; or why this is not a statement of this key for this purpose, whatever was signed. */
export function signedBytesOf(claimed: Claimed, key: PublicSigningKey, typ: string): SignedBytes | string {
  const jws = splitJws(claimed.jws);
  if (jws === null) return 'no compact JWS';
  const signed = signedPart(jws, key, typ);
  if (typeof signed === 'string') return signed;
  const kid = kidOf(key);
  if (claimed.iss !== kid) return `issued by ${String(claimed.iss)}, not ${kid}`;
  if (claimed.aud !== CONSORTIUM) return 'for another audience';
  return signed;
}

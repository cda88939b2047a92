import { decodeProtectedHeader } from 'jose';
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { turn } from '../turn.ts';
import { verifyBytes } from './ed25519.ts';
import { Kid, type PublicSigningKey } from './jwk.ts';
import { kidOf, type Jws, signedPart, signJws, splitJws } from './jws.ts';
import type { SigningKeys } from './keys.ts';

/**
 * Signed messages: compact JWS (RFC 7515) with Ed25519 over JSON, and detached JWS over a hash for bodies too large to
 * sign in one piece. One algorithm, `EdDSA`; every message states what it is (`typ`) and for whom (`aud`), so that a
 * signature made for one purpose is refused for any other (RFC 8725 sections 3.1, 3.9, 3.11). Not audited by anyone.
 */

/** Who reads what every party of a consortium may read: the roster, round plans. */
export const CONSORTIUM = 'veilgan:consortium';

const Envelope = z.strictObject({
  iss: Kid,
  aud: z.string().min(1).max(256),
  /** Seconds since the epoch by the signer's clock: for the reader of a log. Freshness comes from nonces and versions. */
  iat: z.int().min(0),
  body: z.unknown(),
});

export interface SignOptions {
  /** What the message is, such as `veilgan-roster+jws`. */
  readonly typ: string;
  /** For whom: a kid, or `CONSORTIUM`. */
  readonly audience: string;
  readonly nowMs: number;
}
export interface VerifyOptions<T> {
  readonly typ: string;
  readonly audience: string;
  readonly schema: z.ZodType<T>;
}

/** Signs a JSON value. @returns a compact JWS. */
export async function signJson(keys: SigningKeys, body: unknown, o: SignOptions): Promise<string> {
  await turn();
  const payload = { iss: keys.kid, aud: o.audience, iat: Math.floor(o.nowMs / 1000), body };
  const jws = signJws(keys, o.typ, Buffer.from(JSON.stringify(payload)));
  return `${jws.header}.${jws.payload}.${jws.signature}`;
}

/**
 * Verifies a signed JSON value and parses its body.
 *
 * Guarantee: what comes back was signed by the holder of `key`, as this `typ`, for this `audience`.
 * @throws {FedError} SIGNATURE_INVALID on anything wrong with the signature, algorithm, purpose or audience;
 *   MESSAGE_INVALID when the signed body does not match `schema`.
 */
export async function verifyJson<T>(
  jws: string,
  key: PublicSigningKey,
  o: VerifyOptions<T>,
): Promise<{ body: T; iat: number }> {
  await turn();
  const kid = kidOf(key);
  const payload = refusing(() => {
    const parts = splitJws(jws);
    if (parts === null) throw new Error('not a compact JWS');
    requireSigned(parts, key, o.typ);
    return Envelope.parse(JSON.parse(Buffer.from(parts.payload, 'base64url').toString('utf8')));
  });
  if (payload.iss !== kid) throw new FedError('SIGNATURE_INVALID', `iss=${payload.iss}, key ${kid}`);
  if (payload.aud !== o.audience) throw new FedError('SIGNATURE_INVALID', `aud=${payload.aud}, wanted ${o.audience}`);
  const { data, error } = o.schema.safeParse(payload.body);
  if (error) throw new FedError('MESSAGE_INVALID', `${o.typ}: ${z.prettifyError(error)}`);
  return { body: data, iat: payload.iat };
}

/**
 * Signs a large body by its hash. The body stays outside: the result is `header..signature` (RFC 7515 appendix F).
 * @param sha256 - of the body, lower-case hexadecimal.
 */
export async function signDetached(keys: SigningKeys, sha256: string, o: Omit<SignOptions, 'nowMs'>): Promise<string> {
  const { header, signature } = signJws(keys, o.typ, detachedPayload(sha256, o.audience));
  return `${header}..${signature}`;
}

/**
 * Verifies a detached signature over a body whose hash the caller has computed from the bytes themselves.
 * @throws {FedError} SIGNATURE_INVALID
 */
export async function verifyDetached(
  jws: string,
  sha256: string,
  key: PublicSigningKey,
  o: { typ: string; audience: string },
): Promise<void> {
  refusing(() => {
    const parts = splitJws(jws);
    if (parts?.payload !== '') throw new Error('not a detached JWS');
    const payload = detachedPayload(sha256, o.audience).toString('base64url');
    requireSigned({ ...parts, payload }, key, o.typ);
  });
}

/** The `kid` a message claims, before anything is verified: good for looking a key up and for nothing else. */
export function claimedKid(jws: string): string | null {
  try {
    return Kid.safeParse(decodeProtectedHeader(jws).kid).data ?? null;
  } catch {
    return null;
  }
}

const detachedPayload = (sha256: string, audience: string): Buffer =>
  Buffer.from(JSON.stringify({ aud: audience, sha256 }));

function requireSigned(jws: Jws, key: PublicSigningKey, typ: string): void {
  const signed = signedPart(jws, key, typ);
  if (typeof signed === 'string') throw new Error(signed);
  if (!verifyBytes(key, signed.message, signed.signature)) throw new Error('the signature does not hold');
}

/** Whatever goes wrong inside is one refusal: which part failed is in the detail, for our own log. */
function refusing<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof FedError) throw error;
    throw new FedError('SIGNATURE_INVALID', error instanceof Error ? error.message : 'malformed', { cause: error });
  }
}

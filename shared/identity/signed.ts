import { compactVerify, CompactSign, decodeProtectedHeader, flattenedVerify, FlattenedSign } from 'jose';
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { publicKeyOf } from './ed25519.ts';
import { Kid, type PublicSigningKey, thumbprint } from './jwk.ts';
import type { SigningKeys } from './keys.ts';

/**
 * Signed messages: compact JWS (RFC 7515) with Ed25519 over JSON, and detached JWS over a hash for bodies too large to
 * sign in one piece. One algorithm, `EdDSA`; every message states what it is (`typ`) and for whom (`aud`), so that a
 * signature made for one purpose is refused for any other (RFC 8725 sections 3.1, 3.9, 3.11). Not audited by anyone.
 */
const ALGORITHMS = ['EdDSA'];

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
  const payload = { iss: keys.kid, aud: o.audience, iat: Math.floor(o.nowMs / 1000), body };
  return new CompactSign(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({ alg: 'EdDSA', typ: o.typ, kid: keys.kid })
    .sign(keys.signing);
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
  const kid = thumbprint(key);
  const payload = await refusing(async () => {
    const { payload, protectedHeader } = await compactVerify(jws, publicKeyOf(key), { algorithms: ALGORITHMS });
    expectHeader(protectedHeader, o.typ, kid);
    return Envelope.parse(JSON.parse(Buffer.from(payload).toString('utf8')));
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
  const { protected: header, signature } = await new FlattenedSign(detachedPayload(sha256, o.audience))
    .setProtectedHeader({ alg: 'EdDSA', typ: o.typ, kid: keys.kid })
    .sign(keys.signing);
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
  await refusing(async () => {
    const [header, middle, signature, ...rest] = jws.split('.');
    if (!header || middle !== '' || !signature || rest.length > 0) throw new Error('not a detached JWS');
    const flattened = {
      protected: header,
      payload: detachedPayload(sha256, o.audience).toString('base64url'),
      signature,
    };
    const { protectedHeader } = await flattenedVerify(flattened, publicKeyOf(key), { algorithms: ALGORITHMS });
    expectHeader(protectedHeader ?? {}, o.typ, thumbprint(key));
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

function expectHeader(header: { typ?: string; kid?: string }, typ: string, kid: string): void {
  if (header.typ !== typ) throw new FedError('SIGNATURE_INVALID', `typ=${header.typ ?? 'none'}, wanted ${typ}`);
  if (header.kid !== kid) throw new FedError('SIGNATURE_INVALID', `kid=${header.kid ?? 'none'}, wanted ${kid}`);
}

/** Whatever goes wrong inside is one refusal: which part failed is in the detail, for our own log. */
async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof FedError) throw error;
    throw new FedError('SIGNATURE_INVALID', error instanceof Error ? error.message : 'malformed', { cause: error });
  }
}

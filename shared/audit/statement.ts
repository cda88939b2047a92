/**
 * Signed statements read in bulk: what `verifyJson` does for one message, with the signature checked on another thread and
 * everything else once. The same rules: compact JWS, EdDSA alone, this purpose, this audience, this key's own name.
 */
import { type PublicSigningKey, thumbprint } from '../identity/jwk.ts';
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

const kids = new WeakMap<PublicSigningKey, string>();
function kidOf(key: PublicSigningKey): string {
  let kid = kids.get(key);
  if (kid === undefined) kids.set(key, (kid = thumbprint(key)));
  return kid;
}

/** Headers come again and again: one a key and purpose. */
const headers = new Map<string, string>();
const MOST_HEADERS = 4096;

/** A header's purpose and key as one string; empty when it is not one of ours: no algorithm but EdDSA, nothing critical. */
function readHeader(text: string): string {
  let known = headers.get(text);
  if (known === undefined) {
    known = '';
    try {
      const header = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Record<string, unknown>;
      const { alg, typ, kid, ...rest } = header;
      if (alg === 'EdDSA' && typeof typ === 'string' && typeof kid === 'string' && Object.keys(rest).length === 0)
        known = `${typ} ${kid}`;
    } catch {
      // Not a header.
    }
    if (headers.size > MOST_HEADERS) headers.clear();
    headers.set(text, known);
  }
  return known;
}

/** What the key has to have signed for a statement to be its own. */
export interface SignedBytes {
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

/** @returns what is left to be verified; or why this is not a statement of this key for this purpose, whatever was signed. */
export function signedBytesOf(claimed: Claimed, key: PublicSigningKey, typ: string): SignedBytes | string {
  const [header, payload, signature, ...rest] = claimed.jws.split('.');
  const kid = kidOf(key);
  if (header === undefined || payload === undefined || signature === undefined || rest.length > 0)
    return 'no compact JWS';
  if (readHeader(header) !== `${typ} ${kid}`) return `its header is not of ${typ} by ${kid}`;
  if (claimed.iss !== kid) return `issued by ${String(claimed.iss)}, not ${kid}`;
  if (claimed.aud !== CONSORTIUM) return 'for another audience';
  const bytes = Buffer.from(signature, 'base64url');
  if (bytes.toString('base64url') !== signature) return 'its signature is not canonical';
  return { message: Buffer.from(claimed.jws.slice(0, header.length + 1 + payload.length), 'latin1'), signature: bytes };
}

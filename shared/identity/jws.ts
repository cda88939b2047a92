/**
 * Compact JWS (RFC 7515) with Ed25519 (RFC 8037), in the one form that we write and accept: a header of `alg`, `typ` and
 * `kid` and nothing else, so that nothing is critical, embedded or unencoded, and one spelling of the signature. `jose`
 * reads what is written here and the other way round, which a test shows. It signs on other threads: on a busy machine
 * handing over costs several times what a signature does, and a pooled step has dozens in a row.
 */
import type { PublicSigningKey } from './jwk.ts';
import { thumbprint } from './jwk.ts';
import { signBytes } from './ed25519.ts';
import type { SigningKeys } from './keys.ts';

/** The three parts, as text. Nothing of them is believed yet. */
export interface Jws {
  readonly header: string;
  readonly payload: string;
  readonly signature: string;
}

/** What a key has to have signed. */
export interface SignedBytes {
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

/** Null when these are not three parts. */
export function splitJws(jws: string): Jws | null {
  const [header, payload, signature, ...rest] = jws.split('.', 4);
  if (header === undefined || payload === undefined || signature === undefined || rest.length > 0) return null;
  return { header, payload, signature };
}

const spelled = (value: Buffer): string => value.toString('base64url');

/** Signs a payload for a purpose. */
export function signJws(keys: SigningKeys, typ: string, bytes: Buffer): Jws {
  const header = headerOf(typ, keys.kid);
  const payload = spelled(bytes);
  const message = Buffer.from(`${header}.${payload}`);
  return { header, payload, signature: spelled(Buffer.from(signBytes(keys.signing, message))) };
}

/**
 * What is left to be verified of a JWS that claims to be of this key and for this purpose.
 * @returns why it is neither, whatever was signed, as text.
 */
export function signedPart(
  { header, payload, signature }: Jws,
  key: PublicSigningKey,
  typ: string,
): SignedBytes | string {
  const kid = kidOf(key);
  if (header !== headerOf(typ, kid) && !saysThisAlone(header, typ, kid)) return `its header is not of ${typ} by ${kid}`;
  const bytes = Buffer.from(signature, 'base64url');
  if (spelled(bytes) !== signature) return 'its signature is not canonical';
  return { message: Buffer.from(`${header}.${payload}`), signature: bytes };
}

const kids = new WeakMap<PublicSigningKey, string>();
/** A key's thumbprint, worked out once. */
export function kidOf(key: PublicSigningKey): string {
  let kid = kids.get(key);
  if (kid === undefined) kids.set(key, (kid = thumbprint(key)));
  return kid;
}

/** As we write it. */
const headerOf = (typ: string, kid: string): string => spelled(Buffer.from(JSON.stringify({ alg: 'EdDSA', typ, kid })));

/** Longer headers are not ours, in letters. */
const MOST_HEADER = 1024;

/** Whether a header, spelled otherwise, says no more and no less: no algorithm but EdDSA, nothing critical. */
function saysThisAlone(text: string, typ: string, kid: string): boolean {
  if (text.length > MOST_HEADER) return false;
  try {
    const header = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Record<string, unknown>;
    const { alg, ...rest } = header;
    return alg === 'EdDSA' && rest['typ'] === typ && rest['kid'] === kid && Object.keys(rest).length === 2;
  } catch {
    return false;
  }
}

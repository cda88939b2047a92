/** Ed25519 (RFC 8032) over bytes. Everything of ours that is JSON goes through `signed.ts`. */
import { type KeyObject, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import type { PrivateSigningKey, PublicSigningKey } from './jwk.ts';
import { publicPart } from './jwk.ts';

/** Reading a key costs a good part of a verification; keys are few and long-lived. */
const known = new WeakMap<PublicSigningKey, KeyObject>();
export function publicKeyOf(key: PublicSigningKey): KeyObject {
  let object = known.get(key);
  if (object === undefined) known.set(key, (object = createPublicKey({ key: publicPart(key), format: 'jwk' })));
  return object;
}

const own = new WeakMap<PrivateSigningKey, KeyObject>();
function privateKeyOf(key: PrivateSigningKey): KeyObject {
  let object = own.get(key);
  if (object === undefined) own.set(key, (object = createPrivateKey({ key: { ...key }, format: 'jwk' })));
  return object;
}

/** @returns 64 bytes. */
export const signBytes = (key: PrivateSigningKey, message: Uint8Array): Uint8Array =>
  sign(null, message, privateKeyOf(key));

export const verifyBytes = (key: PublicSigningKey, message: Uint8Array, signature: Uint8Array): boolean =>
  signature.length === 64 && verify(null, message, publicKeyOf(key), signature);

/** The 32 bytes of a public key. */
export const rawPublicKey = (key: PublicSigningKey): Uint8Array => Buffer.from(key.x, 'base64url');

/** The same on another thread. @param then - called once, later; `holds` is false with an error. */
export function verifyBytesAside(
  key: PublicSigningKey,
  message: Uint8Array,
  signature: Uint8Array,
  then: (error: Error | null, holds: boolean) => void,
): void {
  if (signature.length !== 64) return void setImmediate(then, null, false);
  verify(null, message, publicKeyOf(key), signature, (error, holds) => then(error, error === null && holds));
}

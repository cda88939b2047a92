/** Key agreement of RFC 7748 by node:crypto, with keys as raw bytes so that they can be shared out by Shamir. */
import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { FedError } from '../../errors.ts';
import type { RandomBytes } from '../../random.ts';

/** DER of RFC 8410 before the 32 bytes of a key. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');

/** A fresh private key. [32] */
export function createSecret(random: RandomBytes): Uint8Array {
  const secret = new Uint8Array(32);
  random(secret);
  return secret;
}

/** The public key of a private one, base64url. */
export function publicOf(secret: Uint8Array): string {
  const der = createPublicKey(privateKey(secret)).export({ type: 'spki', format: 'der' });
  return der.subarray(PUBLIC_PREFIX.length).toString('base64url');
}

/**
 * The secret that two key pairs share. [32]
 * @param theirs - public key, base64url.
 * @throws {FedError} MESSAGE_INVALID for a key of low order, whose shared secret everybody knows (RFC 7748, section 6.1).
 */
export function agree(secret: Uint8Array, theirs: string): Buffer {
  const raw = Buffer.from(theirs, 'base64url');
  if (raw.length !== 32) throw new FedError('MESSAGE_INVALID', `a key of ${raw.length} bytes`);
  const publicKey = createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, raw]), format: 'der', type: 'spki' });
  let shared: Buffer;
  try {
    shared = diffieHellman({ privateKey: privateKey(secret), publicKey });
  } catch (cause) {
    throw new FedError('MESSAGE_INVALID', 'a key with which nothing secret can be agreed', { cause });
  }
  if (shared.every((byte) => byte === 0))
    throw new FedError('MESSAGE_INVALID', 'a key with which nothing secret can be agreed');
  return shared;
}

const privateKey = (secret: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, secret]), format: 'der', type: 'pkcs8' });

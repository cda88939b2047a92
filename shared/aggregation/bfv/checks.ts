/**
 * What ties a sum of ciphertexts to the sites that are said to be in it. Two values go with every ciphertext, both made
 * from a key that only the holders of the decryption key know:
 *
 * - a *tag*, outside: <r, c> + m modulo q, where c is the ciphertext as a vector, r a secret vector and m a secret mask
 *   that belongs to this run, round, attempt, site and chunk. Tags add up as ciphertexts do. A sum whose tag is right is
 *   the sum of exactly those ciphertexts, each once; any other ciphertext passes with probability 1/q < 2^-53. It is
 *   checked before anything is decrypted, so nothing that the sites did not make is ever decrypted.
 * - a *check slot*, inside: the first slot of every plaintext holds a secret number of the same kind modulo t.
 *
 * Why the slot alone is not enough: whoever adds ciphertexts can also multiply one by a short polynomial that is zero in
 * that slot and not in the others (three or four terms are enough; test/semantics/node-seal.test.ts builds one). The
 * slot of such a "sum" is right and its values open one site. The tag is not linear in that sense, and catches it.
 *
 * @see Carter, Wegman 1981 (masked universal hashing); Agrawal, Boneh 2009, section 3 (homomorphic MACs): ours is theirs
 *   with coefficients that are all 1. Not audited by anyone.
 */
import { createCipheriv, hkdfSync } from 'node:crypto';
import type { BfvParameters } from './parameters.ts';

/** Bytes of the secret from which everything here is derived. */
export const CHECK_SECRET_BYTES = 32;
/** AES blocks are 16 bytes: one uniform number modulo less than 2^54 from each, with a bias below 2^-73. */
const BLOCK = 16;
const ZERO_SALT = new Uint8Array(32);

/**
 * Why a sum is not opened, in one sentence for every reason: which check failed, and where, is nobody's to know. What a
 * decryptor says of a ciphertext that somebody else made is how keys of such schemes are found out.
 */
export const REFUSED = 'the sum was not opened';

/** One attempt at one round: numbers made for one are never used in another. */
export interface CheckPlace {
  readonly runId: string;
  readonly round: number;
  readonly attempt: number;
}

/** What one site adds to its chunks: mask and slot value of each. [chunks] */
export interface CheckNumbers {
  readonly masks: readonly bigint[];
  readonly slots: readonly bigint[];
}

/** The check numbers of one site for the chunks from `first` on. */
export function checkNumbers(
  secret: Uint8Array,
  p: BfvParameters,
  place: CheckPlace,
  siteId: string,
  first: number,
  count: number,
): CheckNumbers {
  return {
    masks: uniform(keyFor(secret, 'mask', place, siteId), first, count, p.coeffModulus),
    slots: uniform(keyFor(secret, 'slot', place, siteId), first, count, p.plainModulus),
  };
}

/** The sum of the check numbers of several sites: what a true sum has to carry. */
export function summedNumbers(
  secret: Uint8Array,
  p: BfvParameters,
  place: CheckPlace,
  sites: readonly string[],
  first: number,
  count: number,
): CheckNumbers {
  const all = sites.map((siteId) => checkNumbers(secret, p, place, siteId, first, count));
  const sum = (of: (n: CheckNumbers) => readonly bigint[], modulus: bigint) =>
    Array.from({ length: count }, (_, i) => all.reduce((total, n) => (total + of(n)[i]) % modulus, 0n));
  return { masks: sum((n) => n.masks, p.coeffModulus), slots: sum((n) => n.slots, p.plainModulus) };
}

/** The secret vector r, cut into three limbs of 18 bits: products of limbs add up exactly in float64. */
export interface TagVector {
  readonly low: Float64Array;
  readonly mid: Float64Array;
  readonly high: Float64Array;
  readonly modulus: bigint;
}

/** r for one attempt. [2·N: both polynomials of a ciphertext] */
export function tagVector(secret: Uint8Array, p: BfvParameters, place: CheckPlace): TagVector {
  const length = 2 * p.polyModulusDegree;
  const values = uniform(keyFor(secret, 'vector', place, ''), 0, length, p.coeffModulus);
  const limb = (shift: bigint) => Float64Array.from(values, (v) => Number((v >> shift) & LIMB_MASK));
  return { low: limb(0n), mid: limb(18n), high: limb(36n), modulus: p.coeffModulus };
}
const LIMB_MASK = (1n << 18n) - 1n;

/**
 * <r, c> modulo q.
 *
 * Exact: 4,096 products of two 18-bit limbs stay below 2^50 even three at a time.
 * @param coefficients - c as 64-bit little-endian words below q < 2^54. [16·N bytes]
 */
export function innerProduct(r: TagVector, coefficients: Uint8Array): bigint {
  const words = new Uint32Array(coefficients.slice().buffer);
  const { low, mid, high } = r;
  const s = [0, 0, 0, 0, 0];
  for (let i = 0; i < low.length; i++) {
    const [below, above] = [words[2 * i], words[2 * i + 1]];
    const c0 = below & 0x3ffff;
    const c1 = ((below >>> 18) | (above << 14)) & 0x3ffff;
    const c2 = above >>> 4;
    const [r0, r1, r2] = [low[i], mid[i], high[i]];
    s[0] += r0 * c0;
    s[1] += r0 * c1 + r1 * c0;
    s[2] += r0 * c2 + r1 * c1 + r2 * c0;
    s[3] += r1 * c2 + r2 * c1;
    s[4] += r2 * c2;
  }
  return s.reduce((total, part, k) => total + (BigInt(part) << BigInt(18 * k)), 0n) % r.modulus;
}

/** HKDF-SHA256 (RFC 5869); the context separates what a key is for, and for whom. */
function keyFor(secret: Uint8Array, use: 'mask' | 'slot' | 'vector', place: CheckPlace, siteId: string): Uint8Array {
  const info = `veilgan/bfv/check/1/${use}/${place.runId}/${place.round}/${place.attempt}/${siteId}`;
  return new Uint8Array(hkdfSync('sha256', secret, ZERO_SALT, info, 32));
}

/** Numbers below `modulus` from AES-256 in counter mode, number `first + i` from block `first + i`. */
function uniform(key: Uint8Array, first: number, count: number, modulus: bigint): bigint[] {
  const counter = Buffer.alloc(BLOCK);
  counter.writeUInt32BE(first, BLOCK - 4);
  const stream = createCipheriv('aes-256-ctr', key, counter).update(Buffer.alloc(BLOCK * count));
  return Array.from({ length: count }, (_, i) => {
    const block = (stream.readBigUInt64BE(BLOCK * i) << 64n) | stream.readBigUInt64BE(BLOCK * i + 8);
    return block % modulus;
  });
}

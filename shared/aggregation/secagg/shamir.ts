/**
 * Shamir's secret sharing, byte by byte over GF(2^8) with the polynomial of AES, x^8 + x^4 + x^3 + x + 1: `threshold` shares
 * give the secret, fewer say nothing. A share is as long as the secret; its place x, from 1 to 255, is known from whose it
 * is and is not part of it. Table look-ups depend on secrets here; whoever can watch the caches of a site's machine is
 * outside what is defended (SECURITY.md). Nobody has audited this.
 *
 * @see Shamir 1979, "How to share a secret"; draft-mcgrew-tss-03, whose test vector ours has to pass
 */
import { FedError } from '../../errors.ts';
import type { RandomBytes } from '../../random.ts';

/** At most so many holders: places of the field that are not 0. */
export const MAX_HOLDERS = 255;

export interface Share {
  /** Place of its holder, 1 to 255. */
  readonly x: number;
  readonly bytes: Uint8Array;
}

/** Powers of 3, which generates the field, and their logarithms. */
const [EXP, LOG] = (() => {
  const exp = new Uint8Array(510);
  const log = new Uint8Array(256);
  for (let i = 0, v = 1; i < 255; i++) {
    exp[i] = exp[i + 255] = v;
    log[v] = i;
    v ^= (v << 1) ^ (v & 0x80 ? 0x11b : 0);
  }
  return [exp, log];
})();

/** Product in GF(2^8). */
export const multiply = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : EXP[LOG[a] + LOG[b]]);
/** Quotient in GF(2^8); `b` is not 0. */
export const divide = (a: number, b: number): number => (a === 0 ? 0 : EXP[LOG[a] + 255 - LOG[b]]);

/**
 * Splits a secret.
 * @param places - x of every holder: different, 1 to 255.
 * @returns one share a place, in that order.
 * @throws {FedError} PARAMETER_INVALID
 */
export function split(
  secret: Uint8Array,
  threshold: number,
  places: readonly number[],
  random: RandomBytes,
): Uint8Array[] {
  const valid = places.every((x) => Number.isInteger(x) && x >= 1 && x <= MAX_HOLDERS);
  if (!valid || new Set(places).size !== places.length || threshold < 1 || threshold > places.length)
    throw new FedError('PARAMETER_INVALID', `${threshold} of ${places.length} shares`);
  const coefficients = new Uint8Array((threshold - 1) * secret.length);
  random(coefficients);
  const shares = places.map((x) => evaluate(secret, coefficients, threshold, x));
  coefficients.fill(0);
  return shares;
}

/** The polynomials at x, by Horner's rule; the highest coefficient first. */
function evaluate(secret: Uint8Array, coefficients: Uint8Array, threshold: number, x: number): Uint8Array {
  const n = secret.length;
  const out = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    let y = 0;
    for (let k = 0; k < threshold - 1; k++) y = multiply(y, x) ^ coefficients[k * n + i];
    out[i] = multiply(y, x) ^ secret[i];
  }
  return out;
}

/**
 * The secret from shares: all that are given are used, so give exactly as many as the threshold.
 * @throws {FedError} PARAMETER_INVALID when two have one place, or they differ in length.
 */
export function combine(shares: readonly Share[]): Uint8Array {
  const length = shares[0]?.bytes.length ?? 0;
  const places = new Set(shares.map((s) => s.x));
  if (length === 0 || places.size !== shares.length || places.has(0) || shares.some((s) => s.bytes.length !== length))
    throw new FedError('PARAMETER_INVALID', `${shares.length} shares that do not belong together`);
  const out = new Uint8Array(length);
  for (const { x, bytes } of shares) {
    // Lagrange's weight of this share at 0; subtraction is addition here.
    const weight = shares.reduce((w, other) => (other.x === x ? w : multiply(w, divide(other.x, other.x ^ x))), 1);
    for (let i = 0; i < length; i++) out[i] ^= multiply(weight, bytes[i]);
  }
  return out;
}

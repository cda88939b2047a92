/**
 * The parameters of the encrypted sum: Brakerski/Fan-Vercauteren with one small ring, chosen for sums and nothing else
 * (no multiplication, no rotation, so no key switching). Checked once, here, before a run starts; whoever holds a
 * `BfvParameters` holds numbers for which no sum wraps around and SEAL states 128 bits of security.
 *
 * @see Fan, Vercauteren 2012, https://eprint.iacr.org/2012/144; Homomorphic Encryption Standard 2018, table 1 (ternary
 *   secret, classical attacks): at N = 2048, at most 54 bits of coefficient modulus for 128 bits of security.
 */
import { hashJson } from '../../audit/canonical.ts';
import { FedError } from '../../errors.ts';

declare const checked: unique symbol;
export interface BfvParameters {
  readonly [checked]: true;
  /** N: coefficients of a polynomial, and slots of a plaintext. */
  readonly polyModulusDegree: number;
  /** q, a prime: the modulus of ciphertexts. */
  readonly coeffModulus: bigint;
  /** t, a prime: the modulus of every slot. */
  readonly plainModulus: bigint;
  /** Bits of one quantised value. */
  readonly bits: number;
  /** The most sites whose values are added up. */
  readonly maxSites: number;
  /** Bits of a sum of such values of all sites. */
  readonly sumBits: number;
  /** Values side by side in one slot. */
  readonly valuesPerSlot: number;
  /** Values in one ciphertext: all slots but the first, which holds the check value. */
  readonly valuesPerChunk: number;
  /** Names this very choice; in every envelope and every signed statement. */
  readonly sha256: string;
}

const POLY_MODULUS_DEGREE = 2048;
/** What SEAL 4.1 chooses for one prime of 54 bits at N = 2048 (`CoeffModulus::Create`). */
const COEFF_MODULUS = 18014398509404161n;
/** What SEAL 4.1 chooses for a batching prime of 33 bits at N = 2048 (`PlainModulus::Batching`). */
const PLAIN_MODULUS = 8589905921n;
/** Most bits of q for 128 bits of security, by N. */
const STANDARD_BITS_128: Readonly<Record<number, number>> = { 1024: 27, 2048: 54, 4096: 109 };
/** Slots that no value may use: the check value. */
export const RESERVED_SLOTS = 1;
/** Noise budget of a fresh symmetric ciphertext under these moduli, in bits; pinned in test/semantics. */
export const FRESH_NOISE_BUDGET = 16;
/** A sum with less noise budget than this is not decrypted. */
export const MIN_NOISE_BUDGET = 4;
/** More, and the signed statements of a phase outgrow a message. */
export const MAX_SITES = 128;

/** What a policy chooses; the moduli are fixed. Other moduli are for tests of this check. */
export interface BfvChoice {
  readonly bits: number;
  readonly maxSites: number;
}
export interface BfvModuli {
  readonly polyModulusDegree: number;
  readonly coeffModulus: bigint;
  readonly plainModulus: bigint;
}
const MODULI: BfvModuli = {
  polyModulusDegree: POLY_MODULUS_DEGREE,
  coeffModulus: COEFF_MODULUS,
  plainModulus: PLAIN_MODULUS,
};

/**
 * Guarantee: frozen; the sum of `maxSites` values of `bits` bits fits its part of a slot, all parts of a slot stay
 * below t, and the noise of that many ciphertexts leaves at least `MIN_NOISE_BUDGET`. SEAL's own verdict on security is
 * demanded once more by whoever opens it (`seal-core.ts`).
 * @throws {FedError} PARAMETER_INVALID with every reason.
 */
export function bfvParameters(choice: BfvChoice, moduli: BfvModuli = MODULI): BfvParameters {
  const found = problemsOf(choice, moduli);
  if (found.length > 0) throw new FedError('PARAMETER_INVALID', `bfv: ${found.join(' ')}`);
  const { bits, maxSites } = choice;
  const sumBits = sumBitsOf(choice);
  const valuesPerSlot = Math.floor((bitLength(moduli.plainModulus) - 1) / sumBits);
  const valuesPerChunk = (moduli.polyModulusDegree - RESERVED_SLOTS) * valuesPerSlot;
  const named = {
    scheme: 'bfv',
    layout: 1,
    polyModulusDegree: moduli.polyModulusDegree,
    coeffModulus: String(moduli.coeffModulus),
    plainModulus: String(moduli.plainModulus),
    bits,
    maxSites,
    valuesPerSlot,
  };
  const parameters = { ...moduli, bits, maxSites, sumBits, valuesPerSlot, valuesPerChunk, sha256: hashJson(named) };
  return Object.freeze(parameters) as BfvParameters;
}

/** Everything that is wrong with a choice; empty when it may be used. */
export function problemsOf(choice: BfvChoice, moduli: BfvModuli = MODULI): string[] {
  const { bits, maxSites } = choice;
  const { polyModulusDegree: n, coeffModulus: q, plainModulus: t } = moduli;
  const found: string[] = [];
  if (!Number.isInteger(bits) || bits < 1 || bits > 32) found.push(`${bits} bits a value; 1 to 32 are possible.`);
  if (!Number.isInteger(maxSites) || maxSites < 1 || maxSites > MAX_SITES)
    found.push(`${maxSites} sites; 1 to ${MAX_SITES} are possible.`);
  const standard = STANDARD_BITS_128[n];
  if (standard === undefined || bitLength(q) > standard)
    found.push(`a modulus of ${bitLength(q)} bits at N=${n} is not 128 bits secure.`);
  if (!isPrime(q) || q % BigInt(2 * n) !== 1n) found.push(`q=${q} is not a prime congruent to 1 modulo 2N.`);
  if (!isPrime(t) || t % BigInt(2 * n) !== 1n) found.push(`t=${t} is not a prime congruent to 1 modulo 2N.`);
  if (found.length > 0) return found;
  // A slot holds numbers below 2^(bits of t - 1) < t: a whole number of sums side by side, so none reaches the next.
  if (sumBitsOf(choice) > bitLength(t) - 1)
    found.push(`a sum of ${maxSites} values of ${bits} bits does not fit a slot of ${bitLength(t) - 1} bits.`);
  // The noise of a sum is at most the sum of the noises.
  if (FRESH_NOISE_BUDGET - Math.ceil(Math.log2(maxSites)) < MIN_NOISE_BUDGET)
    found.push(`the noise of ${maxSites} ciphertexts leaves too little room.`);
  return found;
}

/** How many ciphertexts an update of this length takes. */
export const chunksOf = (p: BfvParameters, length: number): number => Math.ceil(length / p.valuesPerChunk);

const sumBitsOf = ({ bits, maxSites }: BfvChoice): number => bits + Math.ceil(Math.log2(maxSites));

const bitLength = (value: bigint): number => value.toString(2).length;

/** Miller-Rabin with the first twelve primes as bases: exact below 3.3 · 10^24 (Sorenson, Webster 2015). */
export function isPrime(n: bigint): boolean {
  const bases = [2n, 3n, 5n, 7n, 11n, 13n, 17n, 19n, 23n, 29n, 31n, 37n];
  if (n < 2n) return false;
  for (const base of bases) if (n % base === 0n) return n === base;
  let odd = n - 1n;
  let twos = 0;
  for (; odd % 2n === 0n; odd /= 2n) twos += 1;
  return bases.every((base) => {
    let x = power(base, odd, n);
    if (x === 1n || x === n - 1n) return true;
    for (let i = 1; i < twos; i++) {
      x = (x * x) % n;
      if (x === n - 1n) return true;
    }
    return false;
  });
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let b = base % modulus, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus)
    if (e & 1n) result = (result * b) % modulus;
  return result;
}

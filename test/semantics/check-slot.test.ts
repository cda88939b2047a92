/**
 * Why a sum carries a tag and not a check slot alone: whoever adds ciphertexts can multiply one by a short polynomial
 * that is zero in the check slot. The slot is right then, and the other slots give one site's values away.
 */
import { randomBytes } from 'node:crypto';
import initialize from 'node-seal';
import type { MainModule, Plaintext, SEALContext } from 'node-seal';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { innerProduct, summedNumbers, tagVector } from '../../shared/aggregation/bfv/checks.ts';
import { bfvParameters, MIN_NOISE_BUDGET } from '../../shared/aggregation/bfv/parameters.ts';
import { unpackChunk } from '../../shared/aggregation/bfv/packing.ts';
import { SealCore } from '../../shared/aggregation/bfv/seal-core.ts';
import type { ConsortiumKey, Frame } from '../../shared/aggregation/bfv/seal-core.ts';

const p = bfvParameters({ bits: 16, maxSites: 8 });
const t = p.plainModulus;
const place = { runId: '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c', round: 3, attempt: 0 };
const sites = ['a', 'b', 'c'];
const values = sites.map((_, s) => Uint32Array.from({ length: 100 }, (_, i) => (i * 677 + s * 1999) % 65_536));

let seal: MainModule;
let context: SEALContext;
let core: SealCore;
let key: ConsortiumKey;
let frames: Frame[][];
let sum: Frame[];
beforeAll(async () => {
  seal = await initialize();
  const parameters = new seal.EncryptionParameters(seal.SchemeType.bfv);
  parameters.setPolyModulusDegree(p.polyModulusDegree);
  parameters.setCoeffModulus(seal.CoeffModulus.Create(p.polyModulusDegree, Int32Array.from([54])));
  parameters.setPlainModulus(seal.PlainModulus.Batching(p.polyModulusDegree, 33));
  context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
  core = await SealCore.open(p);
  key = { secretKey: core.createSecretKey(), checkSecret: randomBytes(32) };
  frames = sites.map((siteId, i) => core.encrypt(key, place, siteId, 0, values[i]));
  sum = core.add(frames);
});
afterAll(() => core.dispose());

const modulo = (a: bigint): bigint => ((a % t) + t) % t;
/** A plaintext of these coefficients, by way of SEAL's serialisation of one that is zero. */
function plaintextOf(coefficients: ReadonlyMap<number, bigint>): Plaintext {
  const blank = new seal.Plaintext(p.polyModulusDegree).saveToArray(seal.ComprModeType.none) as Uint8Array;
  const bytes = Uint8Array.from(blank);
  const view = new DataView(bytes.buffer);
  for (const [i, c] of coefficients) view.setBigUint64(bytes.length - 8 * (p.polyModulusDegree - i), modulo(c), true);
  const plaintext = new seal.Plaintext();
  plaintext.loadFromArray(context, bytes);
  return plaintext;
}
const decode = (plaintext: Plaintext) => new seal.BatchEncoder(context).decodeBigUint64(plaintext) as BigUint64Array;
function decrypt(bytes: Uint8Array): { slots: BigUint64Array; budget: number } {
  const [ciphertext, secret, plaintext] = [new seal.Ciphertext(), new seal.SecretKey(), new seal.Plaintext()];
  ciphertext.loadFromArray(context, bytes);
  secret.loadFromArray(context, key.secretKey);
  const decryptor = new seal.Decryptor(context, secret);
  decryptor.decrypt(ciphertext, plaintext);
  return { slots: decode(plaintext), budget: decryptor.invariantNoiseBudget(ciphertext) };
}

/** Three terms with small coefficients that add up to zero where x is `root`: c·x^i ± e·x^j + d, found by looking up. */
function vanishingAt(root: bigint): Map<number, bigint> {
  const modulus = Number(t);
  const seen = new Map<number, readonly [number, number]>();
  let power = 1n;
  for (let i = 1; i < p.polyModulusDegree; i++) {
    power = (power * root) % t;
    for (let c = 1; c <= 40; c++) {
      const value = (c * Number(power)) % modulus;
      for (let d = 1; d <= 4; d++)
        for (const sign of [1, -1]) {
          const found = seen.get((modulus + sign * value - d) % modulus);
          if (found !== undefined && found[1] !== i)
            return new Map([
              [0, BigInt(d)],
              [i, BigInt(-sign * c)],
              [found[1], BigInt(found[0])],
            ]);
        }
      seen.set(value, [c, i]);
    }
  }
  throw new Error('no short polynomial found');
}

/** The true sum, and on top of it site a's ciphertext times the polynomial. */
function forge(polynomial: ReadonlyMap<number, bigint>): Uint8Array {
  const [true_, one] = [new seal.Ciphertext(), new seal.Ciphertext()];
  true_.loadFromArray(context, sum[0].seal);
  one.loadFromArray(context, frames[0][0].seal);
  const evaluator = new seal.Evaluator(context);
  evaluator.multiplyPlainInplace(one, plaintextOf(polynomial));
  evaluator.addInplace(true_, one);
  return Uint8Array.from(true_.saveToArray(seal.ComprModeType.zstd) as Uint8Array);
}

test('the slot of a forged sum is right, its noise is low, and it shows the values of one site', () => {
  const atSlots = decode(plaintextOf(new Map([[1, 1n]])));
  const polynomial = vanishingAt(atSlots[0]);
  const forged = forge(polynomial);
  const { slots, budget } = decrypt(forged);
  expect(slots[0]).toBe(summedNumbers(key.checkSecret, p, place, sites, 0, 1).slots[0]);
  expect(budget).toBeGreaterThanOrEqual(MIN_NOISE_BUDGET);
  // What the polynomial is in each slot is public; with it, what was added opens site a.
  const factor = decode(plaintextOf(polynomial));
  const honest = decrypt(sum[0].seal).slots;
  const isA = [...values[0]].every(
    (v, i) => modulo(slots[i + 1] - honest[i + 1]) === modulo(factor[i + 1] * BigInt(v)),
  );
  expect(isA).toBe(true);
});

test('the tag refuses it before anything is decrypted; the true sum passes', () => {
  const open = (frame: Frame) => core.openPart(key, place, sites, 0, [frame], [100]);
  const atSlots = decode(plaintextOf(new Map([[1, 1n]])));
  const forged = { tag: sum[0].tag, seal: forge(vanishingAt(atSlots[0])) };
  expect(() => open(forged)).toThrow(/^SUM_REFUSED: the sum was not opened$/);
  const expected = values[0].map((v, i) => v + values[1][i] + values[2][i]);
  expect(open(sum[0])).toEqual(expected);
  expect(unpackChunk(p, decrypt(sum[0].seal).slots, 100)).toEqual(expected);
});

describe('behind a right tag, as only a key holder can make it', () => {
  const open = (frame: Frame) => core.openPart(key, place, sites, 0, [frame], [100]);
  /** The tag a true sum of these bytes would have. */
  function tagged(bytes: Uint8Array): Frame {
    const ciphertext = new seal.Ciphertext();
    ciphertext.loadFromArray(context, bytes);
    const full = Uint8Array.from(ciphertext.saveToArray(seal.ComprModeType.none) as Uint8Array);
    const product = innerProduct(tagVector(key.checkSecret, p, place), full.subarray(113));
    const { masks } = summedNumbers(key.checkSecret, p, place, sites, 0, 1);
    return { tag: (product + masks[0]) % p.coeffModulus, seal: bytes };
  }
  /** The true sum and an encryption of zeros times `factor`: the same numbers, with more noise. */
  function noisier(factor: bigint): Uint8Array {
    const [total, zero, secret] = [new seal.Ciphertext(), new seal.Ciphertext(), new seal.SecretKey()];
    secret.loadFromArray(context, key.secretKey);
    total.loadFromArray(context, sum[0].seal);
    const generator = new seal.KeyGenerator(context, secret);
    const encryptor = new seal.Encryptor(context, generator.createPublicKey(), secret);
    encryptor.encryptSymmetric(plaintextOf(new Map()), zero);
    const evaluator = new seal.Evaluator(context);
    evaluator.multiplyPlainInplace(zero, plaintextOf(new Map([[1, factor]])));
    evaluator.addInplace(total, zero);
    return Uint8Array.from(total.saveToArray(seal.ComprModeType.zstd) as Uint8Array);
  }

  test('a wrong check slot is refused', () => {
    const other = { ...key, checkSecret: randomBytes(32) };
    const frames = sites.map((siteId, i) => core.encrypt(other, place, siteId, 0, values[i]));
    expect(() => open(tagged(core.add(frames)[0].seal))).toThrow(/^SUM_REFUSED: the sum was not opened$/);
    expect(open(tagged(sum[0].seal))).toEqual(open(sum[0]));
  });

  test('so is too little room above the noise, where the numbers would still come out right', () => {
    const noisy = noisier(2n ** 13n);
    expect(decrypt(noisy).slots).toEqual(decrypt(sum[0].seal).slots);
    expect(decrypt(noisy).budget).toBeLessThan(MIN_NOISE_BUDGET);
    expect(() => open(tagged(noisy))).toThrow(/^SUM_REFUSED: the sum was not opened$/);
    expect(open(tagged(noisier(4n)))).toEqual(open(sum[0]));
  });
});

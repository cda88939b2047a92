/** Tags and packing of scheme `bfv`, without SEAL. */
import { createCipheriv, hkdfSync } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkNumbers, innerProduct, summedNumbers, tagVector } from '../../shared/aggregation/bfv/checks.ts';
import { packChunk, unpackChunk } from '../../shared/aggregation/bfv/packing.ts';
import { bfvParameters } from '../../shared/aggregation/bfv/parameters.ts';

const p = bfvParameters({ bits: 16, maxSites: 8 });
const q = p.coeffModulus;
const secret = Buffer.alloc(32, 7);
const place = { runId: 'r', round: 2, attempt: 1 };
const LENGTH = 2 * p.polyModulusDegree;

const coefficient = fc.oneof(fc.bigInt({ min: 0n, max: q - 1n }), fc.constantFrom(0n, 1n, q - 1n, (1n << 53n) - 1n));
const vectorFrom = (seed: bigint[]): BigUint64Array =>
  BigUint64Array.from({ length: LENGTH }, (_, i) => (seed[i % seed.length] * BigInt(i + 1)) % q);
const bytesOf = (v: BigUint64Array): Uint8Array => new Uint8Array(v.buffer);
const seeds = fc.array(coefficient, { minLength: 1, maxLength: 5 });

/** <r, c>, one product at a time. */
function slowly(c: BigUint64Array): bigint {
  const { low, mid, high } = tagVector(secret, p, place);
  const r = (i: number) => BigInt(low[i]) + (BigInt(mid[i]) << 18n) + (BigInt(high[i]) << 36n);
  return c.reduce((sum, value, i) => (sum + r(i) * value) % q, 0n);
}

test('the inner product of tags is exact, at the largest coefficients too', () => {
  const r = tagVector(secret, p, place);
  const largest = BigUint64Array.from({ length: LENGTH }, () => q - 1n);
  expect(innerProduct(r, bytesOf(largest))).toBe(slowly(largest));
  fc.assert(
    fc.property(seeds, (seed) => innerProduct(r, bytesOf(vectorFrom(seed))) === slowly(vectorFrom(seed))),
    { numRuns: 25 },
  );
});

test('tags add up as ciphertexts do, modulo q', () => {
  const r = tagVector(secret, p, place);
  fc.assert(
    fc.property(seeds, seeds, (a, b) => {
      const [x, y] = [vectorFrom(a), vectorFrom(b)];
      const sum = x.map((value, i) => (value + y[i]) % q);
      return (innerProduct(r, bytesOf(x)) + innerProduct(r, bytesOf(y))) % q === innerProduct(r, bytesOf(sum));
    }),
    { numRuns: 25 },
  );
});

test('masks and slots belong to one site, chunk, run, round and attempt', () => {
  const numbers = (over: Partial<typeof place>, siteId = 'a', key: Uint8Array = secret) => {
    const { masks, slots } = checkNumbers(key, p, { ...place, ...over }, siteId, 0, 4);
    return [...masks, ...slots];
  };
  const all = [
    numbers({}),
    numbers({}, 'b'),
    numbers({ runId: 's' }),
    numbers({ round: 3 }),
    numbers({ attempt: 2 }),
    numbers({}, 'a', Buffer.alloc(32, 8)),
  ].flat();
  expect(new Set(all).size).toBe(all.length);
});

test('chunks may be made in parts, and a sum of sites is the sum of their numbers', () => {
  const whole = checkNumbers(secret, p, place, 'a', 0, 10);
  const [first, rest] = [checkNumbers(secret, p, place, 'a', 0, 4), checkNumbers(secret, p, place, 'a', 4, 6)];
  expect([...first.masks, ...rest.masks]).toEqual(whole.masks);
  expect([...first.slots, ...rest.slots]).toEqual(whole.slots);
  const other = checkNumbers(secret, p, place, 'b', 0, 10);
  const both = summedNumbers(secret, p, place, ['a', 'b'], 0, 10);
  expect(both.masks).toEqual(whole.masks.map((m, i) => (m + other.masks[i]) % q));
  expect(both.slots).toEqual(whole.slots.map((m, i) => (m + other.slots[i]) % p.plainModulus));
});

test('the numbers are those of HKDF-SHA256 and AES-256 in counter mode, as docs/aggregation-bfv.md has them', () => {
  const key = new Uint8Array(hkdfSync('sha256', secret, new Uint8Array(32), 'veilgan/bfv/check/1/mask/r/2/1/a', 32));
  const blocks = createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(48));
  const third = BigInt(`0x${blocks.subarray(32, 48).toString('hex')}`) % q;
  expect(checkNumbers(secret, p, place, 'a', 2, 1).masks).toEqual([third]);
});

test('what is packed and added up comes apart again', () => {
  for (const choice of [{ bits: 16, maxSites: 8 }, { bits: 13, maxSites: 8 }, { bits: 9, maxSites: 3 }, { bits: 29, maxSites: 8 }]) {
    const parameters = bfvParameters(choice);
    const { valuesPerChunk, plainModulus } = parameters;
    const value = fc.integer({ min: 0, max: 2 ** choice.bits - 1 });
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 7 }), fc.integer({ min: 1, max: valuesPerChunk }), (seed, n) => {
        const sites = Array.from({ length: choice.maxSites }, (_, s) =>
          Uint32Array.from({ length: n }, (_, i) => (s === 0 ? 2 ** choice.bits - 1 : seed[(i + s) % seed.length])),
        );
        const slots = new BigUint64Array(parameters.polyModulusDegree);
        for (const values of sites)
          packChunk(parameters, values, plainModulus - 1n).forEach((v, i) => (slots[i] = (slots[i] + v) % plainModulus));
        const sums = sites[0].map((_, i) => sites.reduce((sum, values) => sum + values[i], 0));
        expect(unpackChunk(parameters, slots, n)).toEqual(sums);
      }),
      { numRuns: 20 },
    );
  }
}); // prettier-ignore

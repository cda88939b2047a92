/**
 * What we write is SEAL's own serialisation inside our header: read here by hand (`test/support/seal-by-hand.ts`), without
 * SEAL and without the code that wrote it, down to the decrypted numbers.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkNumbers } from '../../shared/aggregation/bfv/checks.ts';
import { writeEnvelope } from '../../shared/aggregation/bfv/envelope.ts';
import { bfvParameters } from '../../shared/aggregation/bfv/parameters.ts';
import { SealCore } from '../../shared/aggregation/bfv/seal-core.ts';
import type { ConsortiumKey } from '../../shared/aggregation/bfv/seal-core.ts';
import {
  decryptByHand,
  parseCiphertext,
  parseEnvelope,
  parseSeal,
  secretCoefficients,
} from '../support/seal-by-hand.ts';

const parameters = bfvParameters({ bits: 13, maxSites: 8 });
const place = { runId: '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c', round: 1, attempt: 0 };
const LENGTH = 5000;
const sites = ['a', 'b'];
const values = sites.map((_, s) => Uint32Array.from({ length: LENGTH }, (_, i) => (i * 31 + s * 4000) % 8192));

let core: SealCore;
let key: ConsortiumKey;
let update: Uint8Array;
let sum: Uint8Array;
beforeAll(async () => {
  core = await SealCore.open(parameters);
  key = { secretKey: core.createSecretKey(), checkSecret: new Uint8Array(32).fill(9) };
  const frames = sites.map((siteId, i) => core.encrypt(key, place, siteId, 0, values[i]));
  update = writeEnvelope('update', parameters, LENGTH, frames[0]);
  sum = writeEnvelope('sum', parameters, LENGTH, core.add(frames));
});
afterAll(() => core.dispose());

test('the header is ours, and every frame is exactly one object of SEAL 4.1, compressed by zstd', () => {
  for (const [bytes, kind] of [
    [update, 1],
    [sum, 2],
  ] as const) {
    const envelope = parseEnvelope(bytes);
    expect(Buffer.from(bytes.subarray(0, 4)).toString()).toBe('VGBF');
    expect(envelope).toMatchObject({ version: 1, kind, length: LENGTH, parameters: parameters.sha256, rest: 0 });
    expect(envelope.frames).toHaveLength(Math.ceil(LENGTH / (2047 * 2)));
    for (const { seal } of envelope.frames) {
      const object = parseSeal(seal);
      const wanted = { magic: 0xa15e, headerSize: 16, major: 4, minor: 1, compression: 2, reserved: 0 };
      expect(object).toMatchObject({ ...wanted, size: seal.length });
      const { ntt, polynomials, degree, primes, scale } = parseCiphertext(object.body);
      expect({ ntt, polynomials, degree, primes, scale }).toEqual({
        ntt: 0,
        polynomials: 2,
        degree: 2048,
        primes: 1,
        scale: 1,
      });
    }
  }
});

test('a site’s ciphertext holds one polynomial and a seed of 64 bytes, a sum two polynomials', () => {
  const seeded = parseCiphertext(parseSeal(parseEnvelope(update).frames[0].seal).body);
  expect(seeded.count).toBe(2048);
  // Behind it the generator: a header of its own, its kind (1: Blake2xb), its seed.
  const generator = parseSeal(seeded.after);
  expect([generator.magic, generator.body.length, generator.body[0]]).toEqual([0xa15e, 1 + 64, 1]);
  const full = parseCiphertext(parseSeal(parseEnvelope(sum).frames[0].seal).body);
  expect([full.count, full.data.length, full.after.length]).toEqual([4096, 4096, 0]);
  expect(full.data.every((c) => c < parameters.coeffModulus)).toBe(true);
});

test('the sum, decrypted without SEAL, is the sum of the values, behind the sum of the check numbers', () => {
  const secret = secretCoefficients(key.secretKey, parameters);
  expect(new Set(secret)).toEqual(new Set([0n, 1n, parameters.coeffModulus - 1n]));
  const { data } = parseCiphertext(parseSeal(parseEnvelope(sum).frames[0].seal).body);
  const slots = decryptByHand(data, secret, parameters);
  const checks = sites.map((siteId) => checkNumbers(key.checkSecret, parameters, place, siteId, 0, 1).slots[0]);
  expect(slots[0]).toBe((checks[0] + checks[1]) % parameters.plainModulus);
  const expected = Array.from({ length: 2047 }, (_, i) => {
    const [low, high] = [2 * i, 2 * i + 1].map((k) => BigInt(values[0][k] + values[1][k]));
    return low + (high << 16n);
  });
  expect(slots.slice(1)).toEqual(expected);
});

test('positive control: one coefficient changed, and the numbers are others', () => {
  const secret = secretCoefficients(key.secretKey, parameters);
  const { data } = parseCiphertext(parseSeal(parseEnvelope(sum).frames[0].seal).body);
  const right = decryptByHand(data, secret, parameters);
  data[7] = (data[7] + parameters.coeffModulus / 3n) % parameters.coeffModulus;
  const wrong = decryptByHand(data, secret, parameters);
  expect(wrong.filter((v, i) => v === right[i]).length).toBeLessThan(5);
});

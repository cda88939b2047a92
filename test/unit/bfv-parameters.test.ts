import { expect, test } from 'vitest';
import { bfvParameters, chunksOf, isPrime, problemsOf } from '../../shared/aggregation/bfv/parameters.ts';
import { testPolicy } from '../support/round-rig.ts';

const moduli = { polyModulusDegree: 2048, coeffModulus: 18014398509404161n, plainModulus: 8589905921n };

test('one value of 16 bits a slot, or two of 13 for eight sites; the parameters are frozen and have a name', () => {
  const p = bfvParameters({ bits: 16, maxSites: 128 });
  expect(p).toMatchObject({ ...moduli, sumBits: 23, valuesPerSlot: 1, valuesPerChunk: 2047 });
  const two = bfvParameters({ bits: 13, maxSites: 8 });
  expect(two).toMatchObject({ sumBits: 16, valuesPerSlot: 2, valuesPerChunk: 4094 });
  expect(bfvParameters({ bits: 13, maxSites: 9 }).valuesPerSlot).toBe(1);
  expect(Object.isFrozen(p)).toBe(true);
  expect(p.sha256).not.toBe(two.sha256);
  expect(p.sha256).toBe(bfvParameters({ bits: 16, maxSites: 128 }).sha256);
  expect([0, 1, 2047, 2048, 1_000_000].map((n) => chunksOf(p, n))).toEqual([0, 1, 1, 2, 489]);
});

test.each([
  ['more bits than a slot has', { bits: 30, maxSites: 8 }, moduli, /does not fit a slot of 32 bits/],
  ['no bits', { bits: 0, maxSites: 8 }, moduli, /0 bits a value/],
  ['more sites than messages carry', { bits: 16, maxSites: 129 }, moduli, /129 sites/],
  ['a modulus too long for 128 bits', { bits: 16, maxSites: 8 }, { ...moduli, coeffModulus: 36028797018652673n }, /not 128 bits secure/],
  ['a ring too small', { bits: 16, maxSites: 8 }, { ...moduli, polyModulusDegree: 1024 }, /not 128 bits secure/],
  ['a ring nobody has a figure for', { bits: 16, maxSites: 8 }, { ...moduli, polyModulusDegree: 512 }, /not 128 bits secure/],
  ['a modulus that is no prime', { bits: 16, maxSites: 8 }, { ...moduli, coeffModulus: 18014398509404163n }, /q=.*is not a prime/],
  ['a plain modulus without slots', { bits: 16, maxSites: 8 }, { ...moduli, plainModulus: 8589934583n }, /t=.*is not a prime/],
])('refused: %s', (_, choice, with_, message) => {
  expect(problemsOf(choice, with_).join(' ')).toMatch(message);
  expect(() => bfvParameters(choice, with_)).toThrow(/^PARAMETER_INVALID/);
}); // prettier-ignore

test('the largest sums stay below the plain modulus, for every choice that is allowed', () => {
  for (let bits = 1; bits <= 32; bits++)
    for (const maxSites of [1, 2, 3, 8, 9, 31, 32, 33, 127, 128]) {
      if (problemsOf({ bits, maxSites }).length > 0) continue;
      const p = bfvParameters({ bits, maxSites });
      const most = BigInt(maxSites) * (2n ** BigInt(bits) - 1n);
      expect(most < 2n ** BigInt(p.sumBits)).toBe(true);
      const slot = Array.from({ length: p.valuesPerSlot }, (_, i) => most << BigInt(i * p.sumBits));
      expect(slot.reduce((a, b) => a + b) < p.plainModulus).toBe(true);
    }
});

test('primes are told from what is not', () => {
  const known = [2n, 3n, 37n, 41n, 65_537n, 2n ** 61n - 1n, moduli.coeffModulus, moduli.plainModulus];
  // Carmichael numbers, and the least strong pseudoprime to bases 2, 3, 5 and 7 (OEIS A014233).
  const composite = [0n, 1n, 4n, 561n, 41_041n, 3_215_031_751n, moduli.coeffModulus * moduli.plainModulus];
  expect(known.filter((n) => !isPrime(n))).toEqual([]);
  expect(composite.filter(isPrime)).toEqual([]);
});

test('a policy is held to all of it when it is loaded', () => {
  const with_ = (aggregation: object) => () => testPolicy({ aggregation: { scheme: 'bfv', ...aggregation } });
  expect(with_({ bits: 16, maxSites: 8 })().aggregation).toMatchObject({ bits: 16, maxSites: 8 });
  expect(with_({ bits: 16, maxSites: 8, steward: 'site-b' })().aggregation.steward).toBe('site-b');
  expect(with_({ bits: 16 })).toThrow(/maxSites: is missing/);
  expect(with_({ bits: 16, maxSites: 200 })).toThrow(/aggregation.maxSites: 200 sites/);
  expect(with_({ bits: 29, maxSites: 16 })).toThrow(/POLICY_INVALID/);
  expect(() => testPolicy({ aggregation: { scheme: 'clear', steward: 'site-b' } })).toThrow(/steward: has no meaning/);
});

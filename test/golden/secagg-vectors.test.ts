/** What secure aggregation is built of, against what was published. */
import { expect, test } from 'vitest';
import { checkedGraph, log2TailAtLeast } from '../../shared/aggregation/secagg/graph.ts';
import { addMasks } from '../../shared/aggregation/secagg/mask.ts';
import { hkdfSha256 } from '../../shared/aggregation/secagg/seeds.ts';
import { combine, divide, multiply, split } from '../../shared/aggregation/secagg/shamir.ts';
import { leastSurvivors, thresholdOf } from '../../shared/aggregation/secagg/threshold.ts';
import { agree, publicOf } from '../../shared/aggregation/secagg/x25519.ts';
import { codeOf } from '../support/wire-rig.ts';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

// RFC 5869, appendix A.1 to A.3.
test.each([
  [
    '0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b',
    '000102030405060708090a0b0c',
    'f0f1f2f3f4f5f6f7f8f9',
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  ],
  [
    Buffer.from(Array.from({ length: 80 }, (_, i) => i)).toString('hex'),
    Buffer.from(Array.from({ length: 80 }, (_, i) => 0x60 + i)).toString('hex'),
    Buffer.from(Array.from({ length: 80 }, (_, i) => 0xb0 + i)).toString('hex'),
    'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
  ],
  [
    '0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b',
    '',
    '',
    '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  ],
])('HKDF-SHA256 of RFC 5869', (ikm, salt, info, okm) => {
  expect(hkdfSha256(hex(ikm), hex(salt), hex(info), okm.length / 2).toString('hex')).toBe(okm);
});

// RFC 7748, section 6.1.
test('X25519 of RFC 7748', async () => {
  const alice = hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a');
  const bob = hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb');
  const publics = [alice, bob].map((key) => Buffer.from(publicOf(key), 'base64url').toString('hex'));
  expect(publics).toEqual([
    '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
    'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
  ]);
  const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
  expect(agree(alice, publicOf(bob)).toString('hex')).toBe(shared);
  expect(agree(bob, publicOf(alice)).toString('hex')).toBe(shared);
  // Section 6.1: points of low order give zeros, which everybody knows.
  for (const low of ['00'.repeat(32), `01${'00'.repeat(31)}`])
    expect(await codeOf(async () => agree(alice, hex(low).toString('base64url')))).toBe('MESSAGE_INVALID');
});

// draft-mcgrew-tss-03, section 9: threshold 2, share index and share.
test('Shamir’s shares of draft-mcgrew-tss-03', () => {
  const shares = [
    { x: 1, bytes: hex('b9fa07e185') },
    { x: 2, bytes: hex('f5409b4511') },
  ];
  expect(Buffer.from(combine(shares)).toString('hex')).toBe('7465737400');
  // The only line through the secret and the first share gives the second: what is random in `split` is the slope.
  const slope = shares[0].bytes.map((y, i) => y ^ hex('7465737400')[i]);
  const again = split(hex('7465737400'), 2, [1, 2], (out) => out.set(slope));
  expect(again.map((share) => Buffer.from(share).toString('hex'))).toEqual(['b9fa07e185', 'f5409b4511']);
});

// FIPS 197, section 4.2: 57 times 83 is c1, and 57 times 13 is fe.
test('the field is that of AES', () => {
  expect(multiply(0x57, 0x83)).toBe(0xc1);
  expect(multiply(0x57, 0x13)).toBe(0xfe);
  for (let a = 1; a < 256; a++) expect(multiply(a, divide(1, a))).toBe(1);
});

// McGrew and Viega, "The Galois/Counter Mode of Operation": test cases 13 and 14 have AES-256 under the zero key of the
// counters 0 (H), 1 (its tag, nothing else being in it) and 2 (the first block).
test('a mask is the keystream of AES-256-CTR, little-endian', () => {
  const blocks = [
    'dc95c078a2408989ad48a21492842087',
    '530f8afbc74536b9a963b4f1c4cb738b',
    'cea7403d4d606b6e074ec5d3baf39d18',
  ];
  const stream = hex(blocks.join(''));
  const wanted = Uint32Array.from({ length: 12 }, (_, i) => stream.readUInt32LE(4 * i));
  const values = new Uint32Array(12);
  addMasks(values, [{ seed: new Uint8Array(32), sign: 1 }]);
  expect(values).toEqual(wanted);
  addMasks(values, [{ seed: new Uint8Array(32), sign: -1 }]);
  expect(values).toEqual(new Uint32Array(12));
});

// Bonawitz et al. 2017: 2t > n + c, and a sum of three at least.
test('how many must agree', () => {
  expect([thresholdOf(3, 0), thresholdOf(3, 1), thresholdOf(5, 0), thresholdOf(5, 1), thresholdOf(20, 4)]).toEqual([
    2, 3, 3, 4, 13,
  ]);
  expect([leastSurvivors(0), leastSurvivors(1), leastSurvivors(2)]).toEqual([3, 3, 4]);
});

// Bell et al. 2020, section 3.2, by exact hypergeometric tails at 2^-40 and 2^-30: about 13 of 32, 40 of 100, 80 of 300
// and 109 of 1,000 with a fifth corrupt and a fifth vanishing.
test.each([
  [32, 13],
  [100, 41],
  [300, 80],
  [1000, 109],
])('neighbours of %i sites', async (sites, degree) => {
  const terms = { sites, colluders: Math.floor(sites / 5), dropouts: Math.floor(sites / 5) };
  expect(checkedGraph(terms).degree).toBe(degree);
  expect(checkedGraph(terms, degree).threshold).toBe(checkedGraph(terms).threshold);
  expect(await codeOf(async () => checkedGraph(terms, degree - 1))).toBe('PARAMETER_INVALID');
  expect(await codeOf(async () => checkedGraph(terms, 3))).toBe('PARAMETER_INVALID');
});

test('nothing holds when nobody honest stays', async () => {
  expect(await codeOf(async () => checkedGraph({ sites: 100, colluders: 60, dropouts: 40 }))).toBe('PARAMETER_INVALID');
  expect(await codeOf(async () => checkedGraph({ sites: 100, colluders: -1, dropouts: 40 }))).toBe('PARAMETER_INVALID');
});

test('hypergeometric tails by hand: 4 of 10 marked, 3 drawn', () => {
  expect(2 ** log2TailAtLeast(10, 4, 3, 1)).toBeCloseTo(1 - 20 / 120, 12);
  expect(2 ** log2TailAtLeast(10, 4, 3, 3)).toBeCloseTo(4 / 120, 12);
  expect(log2TailAtLeast(10, 4, 3, 0)).toBe(0);
  expect(log2TailAtLeast(10, 4, 3, 4)).toBe(-Infinity);
});

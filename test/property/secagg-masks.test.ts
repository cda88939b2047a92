/** What masks are for: they cancel in every sum that may be opened, and in no other; what is masked looks like noise. */
import { webcrypto } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { packBits } from '../../shared/aggregation/bit-pack.ts';
import { addMasks } from '../../shared/aggregation/secagg/mask.ts';
import { decodeSecret } from '../../shared/aggregation/secagg/secret.ts';
import { pairSeed } from '../../shared/aggregation/secagg/seeds.ts';
import { combine, split } from '../../shared/aggregation/secagg/shamir.ts';
import { codecOf } from '../../shared/aggregation/secagg/values.ts';
import { agree } from '../../shared/aggregation/secagg/x25519.ts';
import { canonicalJson, hashJson } from '../../shared/audit/canonical.ts';
import { secureBytes } from '../../shared/random.ts';
import { LENGTH, maskedPolicy, play, sceneOf, updateOf } from '../support/secagg-rig.ts';

const { subtle } = webcrypto;
const STEP = 2 / 65535;
const isSumOf = (sum: Float64Array | null, indices: readonly number[]): boolean =>
  sum !== null &&
  sum.every((v, i) => {
    const exact = indices.reduce((total, k) => total + updateOf(k)[i], 0);
    return Math.abs(v - exact) <= indices.length * STEP * (1 + 1e-9);
  });
const subsets = (of: readonly number[]): number[][] =>
  Array.from({ length: 2 ** of.length }, (_, bits) => of.filter((_, i) => bits & (1 << i)));

test('five sites, three enough: masks cancel for every set that uploads and every set that then reveals', async () => {
  const scene = sceneOf(5, maskedPolicy({ minSites: 5, maxDropouts: 2, maxSites: 5 }));
  const ids = scene.plan.invited;
  const index = (siteId: string) => ids.indexOf(siteId);
  let opened = 0;
  for (const uploads of subsets([0, 1, 2, 3, 4])) {
    if (uploads.length < 3) continue;
    for (const reveals of subsets(uploads)) {
      if (reveals.length < 3) continue;
      const played = await play(scene, {
        gone: (at, siteId) =>
          (at.kind === 'upload' && !uploads.includes(index(siteId))) ||
          (at.kind === 'reveal' && !reveals.includes(index(siteId))),
      });
      expect(played.failed).toBeNull();
      expect(played.contributors.map(index)).toEqual(uploads);
      expect(isSumOf(played.sum, uploads)).toBe(true);
      opened += 1;
    }
  }
  // 10 of three, 5 of four with 5 sets each, 1 of five with 16.
  expect(opened).toBe(10 * 1 + 5 * 5 + 1 * 16);
});

test('shares: any threshold of them give the secret, in any order; one fewer says nothing', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.integer({ min: 2, max: 12 }),
      fc.nat(),
      (secret, n, pick) => {
        const threshold = 1 + (pick % n);
        const places = Array.from({ length: n }, (_, i) => 1 + ((i * 37 + pick) % 255));
        const shares = split(secret, threshold, places, secureBytes).map((bytes, i) => ({ x: places[i], bytes }));
        const order = shares.toSorted((a, b) => ((a.x * 7919 + pick) % 31) - ((b.x * 7919 + pick) % 31));
        const back = combine(order.slice(0, threshold));
        return Buffer.compare(back, Buffer.from(secret)) === 0;
      },
    ),
    { numRuns: 300 },
  );
  // With one share too few, the share that is left may turn any secret out: all 256 values of a byte, once each.
  const [first] = split(Uint8Array.of(77), 2, [1, 2], secureBytes);
  const possible = Array.from(
    { length: 256 },
    (_, y) =>
      combine([
        { x: 1, bytes: first },
        { x: 2, bytes: Uint8Array.of(y) },
      ])[0],
  );
  expect(new Set(possible).size).toBe(256);
});

/** Chi-square of the upper eight bits of `width`-bit words over 256 boxes; 255 degrees of freedom. */
function chiSquare(words: Uint32Array, width: number): number {
  const boxes = new Float64Array(256);
  for (const w of words) boxes[((w & (2 ** width - 1)) >>> (width - 8)) & 255] += 1;
  const expected = words.length / 256;
  return boxes.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
}
/** Chance of more is below 10^-6 (255 degrees: mean 255, deviation 22.6). */
const UNIFORM = 385;

test('under any one mask an update is uniform noise; without any, it is seen', async () => {
  const length = 40_000;
  const scene = sceneOf(3, maskedPolicy());
  const played = await play(scene, { length, update: (index) => updateOf(index, length) });
  const { width } = codecOf(scene.policy, scene.plan);
  const siteId = scene.plan.invited[0];
  const upload = played.said.find((s) => s.siteId === siteId && s.at.kind === 'upload')!.tensor!;
  const secret = decodeSecret(played.secrets.get(siteId)!);
  const { runId, round, attempt, checkpoint } = scene.plan;
  const context = { runId, round, attempt, checkpoint, planSha256: hashJson(scene.plan) };
  const pairs = [...secret.peers].map(([other, peer]) => {
    const ends = [
      { siteId, key: secret.own.masking[0] },
      { siteId: other, key: peer.masking[0] },
    ] as const;
    const seed = pairSeed(agree(secret.masking[0], peer.masking[0]), context, 0, ...ends);
    return { seed, sign: siteId < other ? (1 as const) : (-1 as const) };
  });
  const masks = [{ seed: Buffer.from(secret.seeds[0]), sign: 1 as const }, ...pairs];
  expect(masks.length).toBe(3);
  /** The upload with these masks taken off. */
  const without = (off: typeof masks): Uint32Array => {
    const words = unpack(upload, width, length);
    for (const { seed, sign } of off) addMasks(words, [{ seed, sign: sign === 1 ? -1 : 1 }]);
    return words;
  };
  expect(chiSquare(without([]), width)).toBeLessThan(UNIFORM);
  // Whichever one mask is left on.
  for (const left of masks) expect(chiSquare(without(masks.filter((m) => m !== left)), width)).toBeLessThan(UNIFORM);
  // Positive control: with all of them off it is the plain update, and the test says so.
  const plain = without(masks);
  expect(chiSquare(plain, width)).toBeGreaterThan(100 * UNIFORM);
  const exact = codecOf(scene.policy, scene.plan).encode(updateOf(0, length), (out) => out.fill(0));
  expect(plain.every((w, i) => Math.abs((w & (2 ** width - 1)) - exact[i]) <= 1)).toBe(true);
});

function unpack(bytes: Uint8Array, width: number, length: number): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(length);
  for (let i = 0; i < length; i++)
    for (let bit = 0; bit < width; bit++) {
      const at = i * width + bit;
      if (bytes[at >> 3] & (1 << (at & 7))) out[i] |= 1 << bit;
    }
  expect(Buffer.compare(packBits(out, width), bytes)).toBe(0);
  return out;
}

const AT = { runId: 'r', round: 1, attempt: 0, planSha256: 'p', checkpoint: { size: 0, root: 'x' } };
const ENDS = [
  { siteId: 'a', key: 'ka' },
  { siteId: 'b', key: 'kb' },
] as const;
const wordsOf = (seed: Uint8Array): Uint32Array => {
  const out = new Uint32Array(LENGTH);
  addMasks(out, [{ seed, sign: 1 }]);
  return out;
};

/** A mask by WebCrypto: HKDF to 256 bits, all of them the key of AES-256-CTR. */
async function referenceMask(shared: Uint8Array<ArrayBuffer>): Promise<Uint32Array> {
  const [low, high] = ENDS;
  const context = canonicalJson({ purpose: 'veilgan/secagg/mask/1', ...AT, step: 0, low, high });
  const info = await subtle.digest('SHA-256', Buffer.from(context));
  const ikm = await subtle.importKey('raw', shared, 'HKDF', false, ['deriveBits']);
  const seed = await subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info }, ikm, 256);
  const key = await subtle.importKey('raw', seed, 'AES-CTR', false, ['encrypt']);
  const zeros = new Uint8Array(4 * LENGTH);
  return new Uint32Array(
    await subtle.encrypt({ name: 'AES-CTR', counter: new Uint8Array(16), length: 64 }, key, zeros),
  );
}

test('seeds keep their 256 bits: a mask is what WebCrypto makes of all of them; a seed folded to 32 bits is caught', async () => {
  const keepsItsBits = async (seedOf: (shared: Uint8Array) => Uint8Array) => {
    for (let i = 0; i < 20; i++) {
      const shared = new Uint8Array(32);
      secureBytes(shared);
      if ((await referenceMask(shared)).join() !== wordsOf(seedOf(shared)).join()) return false;
    }
    return true;
  };
  expect(await keepsItsBits((shared) => pairSeed(shared, AT, 0, ...ENDS))).toBe(true);
  // Positive controls: a number of 32 bits made of the seed, as generators with small seeds want it; and 32 bits kept.
  const folded = (shared: Uint8Array): Uint8Array => {
    const seed = pairSeed(shared, AT, 0, ...ENDS);
    const narrow = Buffer.alloc(32);
    for (let i = 0; i < 32; i++) narrow[i % 4] ^= seed[i];
    return narrow;
  };
  expect(await keepsItsBits(folded)).toBe(false);
  const cut = (shared: Uint8Array): Uint8Array => pairSeed(shared, AT, 0, ...ENDS).fill(0, 4);
  expect(await keepsItsBits(cut)).toBe(false);
});

test('every bit of a shared secret changes the whole mask, and so does every part of its context', () => {
  const shared = Buffer.alloc(32, 7);
  const at = AT;
  const [a, b] = ENDS;
  const base = wordsOf(pairSeed(shared, at, 0, a, b));
  expect(wordsOf(pairSeed(shared, at, 0, b, a))).toEqual(base);
  const others: Buffer[] = [];
  for (let bit = 0; bit < 256; bit++) {
    const flipped = Buffer.from(shared);
    flipped[bit >> 3] ^= 1 << (bit & 7);
    others.push(pairSeed(flipped, at, 0, a, b));
  }
  others.push(
    pairSeed(shared, { ...at, runId: 's' }, 0, a, b),
    pairSeed(shared, { ...at, round: 2 }, 0, a, b),
    pairSeed(shared, { ...at, attempt: 1 }, 0, a, b),
    pairSeed(shared, { ...at, planSha256: 'q' }, 0, a, b),
    pairSeed(shared, { ...at, checkpoint: { size: 0, root: 'y' } }, 0, a, b),
    pairSeed(shared, at, 1, a, b),
    pairSeed(shared, at, 0, a, { ...b, siteId: 'c' }),
    pairSeed(shared, at, 0, a, { ...b, key: 'kc' }),
  );
  for (const seed of others) expect(wordsOf(seed).filter((w, i) => w === base[i]).length).toBe(0);
  expect(() => addMasks(new Uint32Array(1), [{ seed: new Uint8Array(4), sign: 1 }])).toThrow(
    /^PARAMETER_INVALID: a seed of 32 bits/,
  );
});

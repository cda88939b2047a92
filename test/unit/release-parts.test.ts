import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { contradictions, type SignedManifest, recipeId, type ReleaseRecipe, signRelease, verifyRelease } from '../../shared/release/manifest.ts'; // prettier-ignore
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { encodePng, PNG_ENCODER, textChunk } from '../../shared/imaging/png.ts';
import { drawMark, quantise } from '../../shared/imaging/quantise.ts';
import { dicomBytes, elementBytes, fitText } from '../../shared/imaging/dicom-elements.ts';
import { classCounts, labelsInTurn, oversampling } from '../../shared/release/counts.ts';
import { xmpPacket } from '../../shared/release/provenance.ts';
import { syntheticUid } from '../../shared/release/uid.ts';

const HASH = 'ab'.repeat(32);
const recipe: ReleaseRecipe = {
  format: 'veilgan-recipe/1',
  runId: '01234567-89ab-4cde-8f01-23456789abcd',
  ...{ policySha256: HASH, generatorSha256: HASH, modelSha256: HASH },
  ...{ seed: 'seed', batch: 64, classes: [{ name: 'a', images: 2 }], files: 'png', bits: 8, mark: 'none' },
  ...{ licence: 'CC-BY-4.0', tool: 'VeilGAN 0.1.0' },
};

describe('class counts', () => {
  const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 12 });

  test('add up, follow the shares within one, and leave no wanted class out', () => {
    fc.assert(
      fc.property(shares, fc.integer({ min: 1, max: 5000 }), (weights, total) => {
        const sum = weights.reduce((a, b) => a + b, 0);
        fc.pre(sum > 1e-6);
        const names = weights.map((_, k) => `c${k}`);
        const counts = classCounts(names, weights, { kind: 'policy' }, total);
        expect(counts.reduce((a, b) => a + b, 0)).toBe(total);
        expect(counts.every((n, k) => (weights[k] === 0 ? n === 0 : total < names.length || n >= 1))).toBe(true);
        const worst = Math.max(...counts.map((n, k) => Math.abs(n - (total * weights[k]) / sum)));
        expect(worst).toBeLessThan(1 + names.length);
      }),
    );
  });

  test('uniform draws rare classes more often, and that is said', () => {
    const counts = classCounts(['common', 'rare'], [0.99, 0.01], { kind: 'uniform' }, 100);
    expect(counts).toEqual([50, 50]);
    expect(oversampling(counts, [0.99, 0.01])).toEqual([0.5 / 0.99, 50]);
    expect(oversampling([1, 1], [1, 0])).toEqual([0.5, null]);
    expect(() => classCounts(['a'], [1], { kind: 'weights', weights: { b: 1 } }, 5)).toThrow(/no class "b"/);
    expect(() => classCounts(['a'], [1], { kind: 'weights', weights: { a: 0 } }, 5)).toThrow(/no class has a share/);
  });

  test('labels go by turns, as many as asked for', () => {
    expect([...labelsInTurn([3, 1, 0, 2])]).toEqual([0, 1, 3, 0, 3, 0]);
  });
});

test('UIDs are UUIDs under 2.25, of version 8, the same for the same release and for no other', () => {
  const uid = syntheticUid(HASH, 'study');
  expect(uid).toMatch(/^2\.25\.[1-9]\d{0,38}$/);
  const hex = BigInt(uid.slice(5)).toString(16).padStart(32, '0');
  expect([hex[12], /[89ab]/.test(hex[16])]).toEqual(['8', true]);
  expect(syntheticUid(HASH, 'study')).toBe(uid);
  const many = new Set(Array.from({ length: 2000 }, (_, i) => syntheticUid(HASH, `image 0 ${i}`)));
  expect(many.size).toBe(2000);
  expect(syntheticUid('cd'.repeat(32), 'study')).not.toBe(uid);
});

test('the encoder is named with the version that is installed', () => {
  const { dependencies } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { dependencies: Record<string, string> }; // prettier-ignore
  expect(PNG_ENCODER).toBe(`veilgan-png/1 fflate/${dependencies['fflate']}`);
});

test('the encoder’s bytes follow from the pixels alone: a digest made on another day', () => {
  const pixels = Uint8Array.from({ length: 784 }, (_, i) => (i * i) & 255);
  const png = encodePng(pixels, 28, 28, 1, { chunks: [textChunk('Title', 'Grün')] });
  // Snapshot, of fflate 0.8.3: no processor and no zlib of the system has a part in it.
  expect(createHash('sha256').update(png).digest('hex').slice(0, 16)).toBe('a708d0a33e17d6a9');
});

test('text in a PNG is where other tools look for it, and the pixels stay', async () => {
  const pixels = Uint8Array.from({ length: 12 }, (_, i) => 20 * i);
  const png = encodePng(pixels, 4, 3, 1, { chunks: [textChunk('XML:com.adobe.xmp', xmpPacket({ recipe, kid: 'K' }))] });
  const { xmp } = await sharp(png).metadata();
  const text = Buffer.from(xmp!).toString();
  expect(text).toContain('digitalsourcetype/trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>');
  expect(text).toContain(`<veilgan:release>${recipeId(recipe)}</veilgan:release>`);
  expect(await sharp(png).toColourspace('b-w').raw().toBuffer()).toEqual(Buffer.from(pixels));
  expect(xmpPacket({ recipe: { ...recipe, licence: '<b>&' }, kid: 'K' })).toContain('&lt;b&gt;&amp;');
});

test('quantising is the inverse of reading, at 8 and at 16 bits', () => {
  for (const bits of [8, 16] as const) {
    const top = 2 ** bits - 1;
    const levels = Array.from({ length: 256 }, (_, i) => Math.round((i * top) / 255));
    const values = Float32Array.from(levels, (x) => (x / top) * 2 - 1);
    expect([...quantise(values, bits)]).toEqual(levels);
    expect([...quantise(Float32Array.of(NaN, -2, 2), bits)]).toEqual([0, 0, top]);
  }
});

test('the visible mark is in its corner and nowhere else', () => {
  const grey = new Uint8Array(28 * 28).fill(100);
  drawMark(grey, 28, 1);
  const at = (x: number, y: number) => grey[y * 28 + x];
  const touched = [...grey.keys()].filter((i) => grey[i] !== 100);
  expect(touched.every((i) => i % 28 >= 9 && Math.floor(i / 28) >= 19)).toBe(true);
  expect([at(9, 19), at(11, 20), at(27, 27)]).toEqual([0, 255, 0]);
  const deep = new Uint16Array(3 * 28 * 28).fill(100);
  drawMark(deep, 28, 3);
  expect(new Set(deep)).toEqual(new Set([100, 0, 65_535]));
});

test('DICOM elements: order, padding, nesting, and no text that is too long', () => {
  const bytes = elementBytes([
    ['00100020', 'LO', 'abc'],
    ['00080060', 'CS', 'OT'],
    ['0018a001', 'SQ', [[['00080070', 'LO', 'x']]]],
  ]);
  expect(bytes.toString('hex')).toBe(
    '08006000435302004f54' +
      '100020004c4f040061626320' +
      '180001a05351000012000000' +
      'feff00e00a000000' +
      '080070004c4f02007820',
  );
  expect(() => elementBytes([['00100020', 'LO', 'x'.repeat(65)]])).toThrow(/PARAMETER_INVALID/);
  expect(fitText('LO', `a\\b\n${'x'.repeat(80)}`)).toBe(`a/b ${'x'.repeat(60)}`);
  const file = dicomBytes([], { sopClass: '1.2', sopInstance: '2.25.1', implementation: { uid: '2.25.2', name: 'N' } });
  expect(file.subarray(128, 132).toString()).toBe('DICM');
});

describe('the manifest', () => {
  const keys = createSigningKeys();
  const manifest: SignedManifest = {
    format: 'veilgan-release/2',
    ...{ runId: recipe.runId, policySha256: HASH, generatorSha256: HASH, images: 2 },
    ...{ recipe, recipeSha256: recipeId(recipe) },
    made: { software: 's', engine: 'e', processor: 'p', encoder: 'c', date: '2026-01-31' },
    log: { entries: 1, root: HASH, checkpoint: null, outcome: 'completed', rounds: 1 },
    epsilon: { bound: 1, delta: 1e-5, sites: [] },
    ...{ metrics: [], gate: null, signer: { kid: keys.kid, key: publicPart(keys.signing) } },
    files: [{ name: 'generator.onnx', sha256: HASH, bytes: 1 }],
  };

  test('is signed as a release, and for nothing else', async () => {
    const { text, jws } = await signRelease(manifest, keys);
    await verifyRelease(text, jws, keys.signing);
    await expect(verifyRelease(`${text} `, jws, keys.signing)).rejects.toThrow(/SIGNATURE_INVALID/);
    await expect(verifyRelease(text, jws, createSigningKeys().signing)).rejects.toThrow(/SIGNATURE_INVALID/);
    await expect(signRelease(manifest, createSigningKeys())).rejects.toThrow(/another signer/);
  });

  test.each([
    [{}, 0],
    [{ images: 3 }, 1],
    [{ policySha256: '0'.repeat(64) }, 1],
    [{ recipe: { ...recipe, seed: 'other' } }, 1],
    [{ files: [] }, 1],
    [{ files: [...manifest.files, ...manifest.files] }, 1],
    [{ signer: { ...manifest.signer, kid: createSigningKeys().kid } }, 1],
  ])('contradictions of %j: %i', (change, found) => {
    expect(contradictions({ ...manifest, ...change })).toHaveLength(found);
  });
});

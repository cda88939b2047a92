import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FedError } from '../../shared/errors.ts';
import { encodeNpy, type NumberArray, parseNpy } from '../../shared/imaging/npy.ts';
import { seeded } from '../../shared/imaging/seeded.ts';
import { encodeNpz } from '../../shared/imaging/write-dataset.ts';
import { readDataset } from '../../site-agent/imaging/read-dataset.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'imaging-damage-'));
});
afterAll(() => rm(folder, { recursive: true }));

const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 });
const count = (shape: number[]) => shape.reduce((a, b) => a * b, 1);

test('npy: every number type survives writing and reading', () => {
  const types = [Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, Float32Array, Float64Array, BigInt64Array, BigUint64Array]; // prettier-ignore
  const anyArray = fc
    .tuple(fc.constantFrom(...types), shapes, fc.infiniteStream(fc.double()))
    .map(([type, shape, values]) => {
      const data = new type(count(shape)) as NumberArray;
      for (let i = 0; i < data.length; i++) {
        const x = values.next().value as number;
        if (typeof data[i] === 'bigint') data[i] = BigInt(Math.trunc(Number.isFinite(x) && Math.abs(x) < 1e18 ? x : 7));
        else data[i] = x;
      }
      return { data, shape };
    });
  fc.assert(
    fc.property(anyArray, ({ data, shape }) => {
      const back = parseNpy(encodeNpy(data, shape));
      expect(back.shape).toEqual(shape);
      expect(back.data).toEqual(data);
    }),
    { numRuns: 300 },
  );
});

test('npy: text survives, whatever its script', () => {
  // numpy itself drops trailing zeros, and lone surrogates are not text.
  const text = fc.string({ unit: 'grapheme', maxLength: 12 }).filter((s) => !s.endsWith('\0') && s.isWellFormed());
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 9 }), (words) => {
      expect(parseNpy(encodeNpy(words, [words.length])).data).toEqual(words);
    }),
  );
});

/** One of: a flipped byte, several, a cut, zeros or large numbers written over a run, bytes taken out. */
function damage(bytes: Buffer, seed: string): Buffer {
  const random = seeded(seed);
  const out = Buffer.from(bytes);
  const at = random.below(out.length);
  // Half of all damage goes to the first and last bytes, where headers and directories are.
  const spot = () => (random.below(2) === 0 ? random.below(out.length) : random.below(2) === 0 ? random.below(Math.min(128, out.length)) : out.length - 1 - random.below(Math.min(256, out.length))); // prettier-ignore
  const kind = random.below(5);
  if (kind === 0) return out.subarray(0, at);
  if (kind === 1) return Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + random.below(40))]);
  if (kind === 2) return out.fill(random.below(2) * 255, at, Math.min(out.length, at + 1 + random.below(8)));
  for (let k = 0; k < (kind === 3 ? 1 : 6); k++) out[spot()] = random.below(256);
  return out;
}

/** Reads a damaged file; anything but a result or a named refusal is a crash. */
async function outcome(target: string): Promise<'read' | 'refused'> {
  try {
    await readDataset(target, { size: 28, channels: 1, onBadFile: 'refuse' });
    return 'read';
  } catch (error) {
    expect(error).toBeInstanceOf(FedError);
    expect((error as FedError).code).toBe('DATASET_INVALID');
    return 'refused';
  }
}

async function tally(runs: number, target: string, file: string, original: Buffer) {
  const seen = { read: 0, refused: 0 };
  for (let k = 0; k < runs; k++) {
    await writeFile(file, damage(original, `${path.basename(file)} ${k}`));
    seen[await outcome(target)]++;
  }
  return seen;
}

const pixels = (n: number) => Uint8Array.from({ length: n * 784 }, (_, i) => (i * 31) & 255);

test('npz: 300 damaged files are read or refused, never worse', async () => {
  const good = await encodeNpz({
    images: encodeNpy(pixels(6), [6, 28, 28]),
    labels: encodeNpy(Int32Array.of(0, 1, 0, 1, 0, 1), [6]),
    classes: encodeNpy(['a', 'b'], [2]),
  });
  const file = path.join(folder, 'damaged.npz');
  await writeFile(file, good);
  expect(await outcome(file)).toBe('read');
  const seen = await tally(300, file, file, good);
  // CRCs cover the arrays, so that most damage is noticed: the control that this test damages anything.
  expect(seen.refused).toBeGreaterThan(200);
});

test.each(['', '.gz'])('idx%s: 300 damaged files are read or refused, never worse', async (extension) => {
  const sub = path.join(folder, `idx${extension}`);
  await mkdir(sub);
  const header = Buffer.from([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 28, 0, 0, 0, 28]);
  const raw = Buffer.concat([header, pixels(4)]);
  const good = extension ? gzipSync(raw) : raw;
  await writeFile(path.join(sub, 'train-labels-idx1-ubyte'), Buffer.from([0, 0, 8, 1, 0, 0, 0, 4, 3, 1, 2, 0]));
  const file = path.join(sub, `train-images-idx3-ubyte${extension}`);
  await writeFile(file, good);
  expect(await outcome(sub)).toBe('read');
  const seen = await tally(300, sub, file, good);
  expect(seen.refused).toBeGreaterThan(100);
});

test.each(['png', 'jpeg', 'tiff'] as const)('%s: 100 damaged files are read or refused, never worse', async (kind) => {
  const sub = path.join(folder, kind);
  await mkdir(path.join(sub, 'a'), { recursive: true });
  const file = path.join(sub, 'a', `x.${kind}`);
  await sharp(pixels(1), { raw: { width: 28, height: 28, channels: 1 } })
    .toFormat(kind)
    .toFile(file);
  const good = await readFile(file);
  expect(await outcome(sub)).toBe('read');
  const seen = await tally(100, sub, file, good);
  expect(seen.refused).toBeGreaterThan(20);
});

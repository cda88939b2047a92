import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { imageAt, type LabelledImages, toBytes } from '../../shared/imaging/images.ts';
import { parseIdx } from '../../shared/imaging/idx-source.ts';
import { encodeNpy, type NumberArray, parseNpy } from '../../shared/imaging/npy.ts';
import { toUnitImage } from '../../shared/imaging/picture.ts';
import { encodePng } from '../../shared/imaging/png.ts';
import { resamplePlane } from '../../shared/imaging/resample.ts';
import { encodeNpz } from '../../shared/imaging/write-dataset.ts';
import { readDataset, readPrivateImages } from '../../site-agent/imaging/read-dataset.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'imaging-read-'));
});
afterAll(() => rm(root, { recursive: true }));

const AREA = 28 * 28;
const grey = { size: 28, channels: 1, onBadFile: 'refuse' } as const;
const ramp = Uint8Array.from({ length: AREA }, (_, i) => i & 255);
const bytesOf = (images: LabelledImages, i: number) => toBytes(imageAt(images, i));
const refused = (detail: RegExp): unknown =>
  expect.objectContaining({ code: 'DATASET_INVALID', message: expect.stringMatching(detail) });

async function npz(name: string, arrays: Record<string, [NumberArray | string[], number[]]>): Promise<string> {
  const encoded = Object.entries(arrays).map(([key, [data, shape]]) => [key, encodeNpy(data, shape)] as const);
  const file = path.join(root, name);
  await writeFile(file, await encodeNpz(Object.fromEntries(encoded)));
  return file;
}

describe('values', () => {
  test('every byte from 0 to 255 comes back as it was', () => {
    const picture = {
      width: 16,
      height: 16,
      channels: 1,
      data: ramp.slice(0, 256),
      range: [0, 255],
      outside: 'cut',
    } as const;
    const unit = toUnitImage(picture, 16, 1, 'crop');
    expect([unit[0], unit[255]]).toEqual([-1, 1]);
    expect(toBytes(unit)).toEqual(ramp.slice(0, 256));
  });

  test('shrinking averages the area, enlarging keeps a constant and stays inside the range', () => {
    const plane = Float64Array.from([0, 1, 1, 0, 1, 1, 0.5, 0.5, 0.5]);
    expect(resamplePlane(plane, 3, 3, 1)[0]).toBeCloseTo(plane.reduce((a, b) => a + b, 0) / 9, 12);
    const thirds = resamplePlane(plane, 3, 3, 2);
    expect(thirds[0]).toBeCloseTo((1 * 0 + 0.5 * 1 + 0.5 * 0 + 0.25 * 1) / 2.25, 12);
    for (const x of resamplePlane(new Float64Array(AREA).fill(0.3), 28, 28, 32)) expect(x).toBeCloseTo(0.3, 12);
    const step = Float64Array.from({ length: AREA }, (_, i) => (i % 28 < 14 ? -1 : 1));
    for (const x of resamplePlane(step, 28, 28, 64)) expect(Math.abs(x)).toBeLessThanOrEqual(1);
  });

  test('pictures that are not square are cropped, padded or stretched', () => {
    const picture = { width: 4, height: 2, channels: 1, data: Uint8Array.from([0, 255, 255, 0, 0, 255, 255, 0]), range: [0, 255], outside: 'cut' } as const; // prettier-ignore
    expect(Array.from(toUnitImage(picture, 2, 1, 'crop'))).toEqual([1, 1, 1, 1]);
    expect(Array.from(toUnitImage(picture, 4, 1, 'pad'))).toEqual([-1, -1, -1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, -1, -1, -1]); // prettier-ignore
    expect(Array.from(toUnitImage(picture, 2, 1, 'stretch'))).toEqual([0, 0, 0, 0]);
  });

  test('grey to colour repeats, colour to grey is BT.601 luma and keeps equal channels', () => {
    const red = {
      width: 1,
      height: 1,
      channels: 3,
      data: Uint8Array.of(255, 0, 0),
      range: [0, 255],
      outside: 'cut',
    } as const;
    expect(toUnitImage(red, 1, 1, 'crop')[0]).toBeCloseTo(0.299 * 2 - 1, 6);
    expect(Array.from(toBytes(toUnitImage({ ...red, data: Uint8Array.of(93, 93, 93) }, 1, 1, 'crop')))).toEqual([93]);
    expect(Array.from(toBytes(toUnitImage({ ...red, channels: 1, data: Uint8Array.of(93) }, 1, 3, 'crop')))).toEqual([
      93, 93, 93,
    ]);
  });
});

describe('npz', () => {
  const two = Uint8Array.from([...ramp, ...ramp.toReversed()]);

  test('plain keys with class names and patients', async () => {
    const file = await npz('plain.npz', {
      images: [two, [2, 28, 28]],
      labels: [BigInt64Array.of(1n, 0n), [2]],
      classes: [['hand', 'head'], [2]],
      patients: [['p1', 'p1'], [2]],
    });
    const { images, patientsKnown } = await readDataset(file, grey);
    expect([images.n, patientsKnown, images.patients, images.classNames]).toEqual([
      2,
      true,
      ['p1', 'p1'],
      ['hand', 'head'],
    ]);
    expect(bytesOf(images, 0)).toEqual(ramp);
    const reordered = await readDataset(file, { ...grey, classes: ['head', 'other', 'hand'] });
    expect(Array.from(reordered.images.labels)).toEqual([0, 2]);
    await expect(readDataset(file, { ...grey, classes: ['head'] })).rejects.toEqual(
      refused(/label "hand" \(1 images\)/),
    );
    await expect(readDataset(file, { ...grey, split: 'test' })).rejects.toEqual(refused(/plain\.npz: no test_images/));
  });

  test('16-bit, float and colour arrays', async () => {
    const labels: [NumberArray, number[]] = [Uint8Array.of(0), [1, 1]];
    const wide = await npz('u2.npz', { images: [new Uint16Array(AREA).fill(65_535), [1, 28, 28]], labels });
    expect((await readDataset(wide, grey)).images.pixels[0]).toBe(1);
    const window = await readDataset(wide, { ...grey, valueRange: [0, 131_070] });
    expect(window.images.pixels[0]).toBeCloseTo(0, 5);
    const float = await npz('f4.npz', { images: [new Float32Array(AREA).fill(0.5), [1, 28, 28]], labels });
    expect((await readDataset(float, grey)).images.pixels[0]).toBe(0);
    const colour = await npz('rgb.npz', { images: [Uint8Array.from({ length: AREA * 3 }, (_, i) => (i % 3) * 100), [1, 28, 28, 3]], labels }); // prettier-ignore
    const { images } = await readDataset(colour, { ...grey, channels: 3 });
    expect([0, AREA, 2 * AREA].map((i) => toBytes(images.pixels)[i])).toEqual([0, 100, 200]);
    const signed = await npz('i2.npz', { images: [new Int16Array(AREA), [1, 28, 28]], labels });
    await expect(readDataset(signed, grey)).rejects.toEqual(refused(/need a value range/));
  });

  test('one bad image is refused by name, or skipped and reported', async () => {
    const data = new Float32Array(2 * AREA).fill(0.25);
    data[AREA + 3] = NaN;
    const file = await npz('nan.npz', { images: [data, [2, 28, 28]], labels: [Uint8Array.of(0, 1), [2]] });
    await expect(readDataset(file, grey)).rejects.toEqual(refused(/nan\.npz#1: a pixel is outside/));
    const seen: unknown[] = [];
    const { images, bad } = await readDataset(file, { ...grey, onBadFile: 'skip', report: (b) => seen.push(b) });
    expect([images.n, bad.map((b) => b.file)]).toEqual([1, ['nan.npz#1']]);
    expect(seen).toEqual(bad);
  });

  test('integer labels: an index into names, or digits by name', async () => {
    const file = await npz('digits.npz', { images: [two, [2, 28, 28]], labels: [Uint8Array.of(1, 0), [2]] });
    const label = async (classes: string[]) =>
      Array.from((await readDataset(file, { ...grey, classes })).images.labels);
    expect(await label(['normal', 'pneumonia'])).toEqual([1, 0]);
    expect(await label(['1', '0'])).toEqual([0, 1]);
    await expect(label(['normal'])).rejects.toEqual(refused(/label "1"/));
  });

  test('cut off, wrong count, impossible sizes: refused with file and reason', async () => {
    const file = await npz('short.npz', { images: [two, [2, 28, 28]], labels: [Uint8Array.of(0), [1]] });
    await expect(readDataset(file, grey)).rejects.toEqual(refused(/short\.npz: labels has shape \(1\)/));
    await expect(readDataset(file, { ...grey, maxBytes: 1000 })).rejects.toEqual(
      refused(/more than the limit of 1000/),
    );
    await writeFile(path.join(root, 'cut.npz'), Buffer.from('PK\x03\x04 and no more'));
    await expect(readDataset(path.join(root, 'cut.npz'), grey)).rejects.toEqual(refused(/cut\.npz: .*end is cut off/));
    await expect(readDataset(path.join(root, 'absent.npz'), grey)).rejects.toEqual(refused(/no such file/));
    const bomb = encodeNpy(Uint8Array.of(1), [1]);
    const lie = Buffer.from(Buffer.from(bomb).toString('latin1').replace('(1,), }             ', '(999999999999999,), }'), 'latin1'); // prettier-ignore
    expect(() => parseNpy(lie)).toThrow(/needs 999999999999999 bytes/);
    const pickled = Buffer.from(Buffer.from(bomb).toString('latin1').replace('|u1', '|O8'), 'latin1');
    expect(() => parseNpy(pickled)).toThrow(/could run code/);
  });

  test('zip and gzip bombs are refused without being unpacked', async () => {
    const zeros = await encodeNpz({ images: new Uint8Array(2 ** 24), labels: encodeNpy(Uint8Array.of(0), [1]) });
    const entry = zeros.indexOf('PK\x01\x02', 0, 'latin1');
    const file = path.join(root, 'bomb.npz');
    for (const [declared, reason] of [
      [1000, /cannot be decompressed/],
      [2 ** 31, /which is impossible/],
    ] as const) {
      // prettier-ignore
      zeros.writeUInt32LE(declared, entry + 24);
      await writeFile(file, zeros);
      await expect(readDataset(file, grey)).rejects.toEqual(refused(reason));
    }
    const gz = gzipSync(
      Buffer.concat([Buffer.from([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28]), new Uint8Array(2 ** 24)]),
    );
    expect(() => parseIdx(gz, 'bomb.gz')).toThrow(/DATASET_INVALID: bomb\.gz: cannot be decompressed/);
    expect(() => parseIdx(gz, 'bomb.gz', 100)).toThrow(/more than the limit of 100/);
  });

  test('maxImages is taken evenly, so that sorted classes all stay', async () => {
    const data: [NumberArray, number[]] = [new Uint8Array(40 * AREA), [40, 28, 28]];
    const file = await npz('sorted.npz', { images: data, labels: [Uint8Array.from({ length: 40 }, (_, i) => Math.floor(i / 10)), [40]] }); // prettier-ignore
    const { images } = await readDataset(file, { ...grey, maxImages: 8 });
    expect(Array.from(images.labels)).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
  });
});

describe('folders', () => {
  test('a folder per class: PNG of 8 and 16 bits keeps its values, JPEG nearly, hidden files are left out', async () => {
    const dir = path.join(root, 'classes');
    for (const name of ['hand', 'head/deeper']) await mkdir(path.join(dir, name), { recursive: true });
    await writeFile(path.join(dir, 'README.txt'), 'not in a class folder');
    await writeFile(path.join(dir, 'hand', '.DS_Store'), 'hidden');
    await writeFile(path.join(dir, 'hand', '1.png'), encodePng(ramp, 28, 28, 1));
    await writeFile(
      path.join(dir, 'hand', '2.png'),
      encodePng(
        Uint16Array.from(ramp, (x) => x * 257),
        28,
        28,
        1,
      ),
    );
    const rgb = Uint16Array.from({ length: AREA * 3 }, (_, i) => ramp[Math.floor(i / 3)] * 257);
    await writeFile(path.join(dir, 'head', 'deeper', '3.dat'), encodePng(rgb, 28, 28, 3));
    const smooth = Uint8Array.from({ length: AREA }, (_, i) => (i % 28) * 9);
    await sharp(smooth, { raw: { width: 28, height: 28, channels: 1 } })
      .jpeg({ quality: 95 })
      .toFile(path.join(dir, 'head', '4.jpg'));
    const { images, patientsKnown } = await readDataset(dir, grey);
    expect([images.n, images.classNames, patientsKnown]).toEqual([4, ['hand', 'head'], false]);
    expect(Array.from(images.labels)).toEqual([0, 0, 1, 1]);
    for (const i of [0, 1, 3]) expect(bytesOf(images, i)).toEqual(ramp);
    const jpeg = bytesOf(images, 2);
    expect(Math.max(...smooth.map((x, i) => Math.abs(x - jpeg[i])))).toBeLessThan(12);
  });

  test('a CSV gives label and patient; bad files are named', async () => {
    const dir = path.join(root, 'csv');
    await mkdir(path.join(dir, 'scans'), { recursive: true });
    for (const k of [1, 2, 3]) await writeFile(path.join(dir, 'scans', `${k}.png`), encodePng(ramp, 28, 28, 1));
    await writeFile(path.join(dir, 'scans', 'cut.png'), encodePng(ramp, 28, 28, 1).subarray(0, 300));
    await writeFile(path.join(dir, 'scans', 'empty.png'), '');
    await writeFile(path.join(root, 'secret.png'), encodePng(ramp, 28, 28, 1));
    const lines = ['scans/1.png,A,knee', 'scans\\2.png,A,knee', 'scans/3.png,B,"hip, left"', 'scans/cut.png,B,knee', 'scans/empty.png,C,knee', '../secret.png,D,knee', 'gone.png,E,knee']; // prettier-ignore
    await writeFile(path.join(dir, 'labels.csv'), `\uFEFFfile,patient,label\r\n${lines.join('\r\n')}\r\n`);
    const { images, bad, patientsKnown } = await readDataset(dir, { ...grey, onBadFile: 'skip' });
    expect([images.patients, patientsKnown]).toEqual([['A', 'A', 'B'], true]);
    expect(images.classNames).toEqual(['hip, left', 'knee']);
    expect(bad.map((b) => b.file)).toEqual(['scans/cut.png', 'scans/empty.png', '../secret.png', 'gone.png']);
    expect(bad[2].reason).toMatch(/outside the dataset folder/);
    await expect(readDataset(dir, grey)).rejects.toEqual(refused(/cut\.png/));
    await writeFile(path.join(root, 'other.csv'), 'name,class\nx,y\n');
    await expect(readDataset(dir, { ...grey, labels: path.join(root, 'other.csv') })).rejects.toEqual(refused(/no column file and label; its header is name, class/)); // prettier-ignore
  });

  test('an empty patient cell is an unknown patient, not one shared by all', async () => {
    const dir = path.join(root, 'partly');
    await mkdir(dir);
    for (const k of [1, 2]) await writeFile(path.join(dir, `${k}.png`), encodePng(ramp, 28, 28, 1));
    await writeFile(path.join(dir, 'labels.csv'), 'file,patient,label\n1.png,,a\n2.png,,a\n');
    const { images, patientsKnown } = await readDataset(dir, grey);
    expect([new Set(images.patients).size, patientsKnown]).toEqual([2, false]);
  });
});

describe('private images', () => {
  test('are grouped by patient, do not serialise, and print no counts', async () => {
    const file = await npz('private.npz', {
      images: [new Uint8Array(3 * AREA), [3, 28, 28]],
      labels: [Uint8Array.of(0, 0, 0), [3]],
      patients: [['a', 'b', 'a'], [3]],
    });
    const { images } = await readPrivateImages(file, grey);
    expect(images.patientGroups.map((p) => p.images)).toEqual([[0, 2], [1]]);
    for (const { id } of images.patientGroups) expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(() => JSON.stringify({ images })).toThrow(/never serialised/);
    expect(inspect({ images })).toBe('{ images: PrivateImages { 1 x 28 x 28 } }');
  });
});

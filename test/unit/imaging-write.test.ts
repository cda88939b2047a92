import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { drawText, newSheet } from '../../shared/imaging/font.ts';
import { gridPng, twoPanelPng } from '../../shared/imaging/grid.ts';
import { checkImages, concatImages, type LabelledImages, selectImages } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { encodePng } from '../../shared/imaging/png.ts';
import { writeDataset } from '../../shared/imaging/write-dataset.ts';
import { readDataset } from '../../site-agent/imaging/read-dataset.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'imaging-write-'));
});
afterAll(() => rm(root, { recursive: true }));

const greyed = phantomImages({ size: 28, channels: 1, patients: 20, seed: 'write' });
const coloured = phantomImages({ size: 32, channels: 3, patients: 6, classes: ['naevus', 'melanoma'], seed: 'write' });

/** As folders are read: class names in alphabetical order. */
const byClassName = ({ labels, classNames, ...rest }: LabelledImages) => {
  const order = Array.from(labels, (_, i) => i);
  const before = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
  order.sort((i, j) => before(classNames[labels[i]], classNames[labels[j]]) || i - j);
  return selectImages({ labels, classNames, ...rest }, order);
};

test.each([
  ['grey', greyed],
  ['colour', coloured],
] as const)('%s: folder and npz come back pixel for pixel, twice the same bytes', async (name, images) => {
  const dir = path.join(root, name);
  const progress: number[] = [];
  const written = await writeDataset(dir, images, { progress: (done) => progress.push(done) });
  expect(progress.at(-1)).toBe(images.n);
  expect(written.length).toBe(images.n + 2);
  const options = {
    size: images.size as 28 | 32,
    channels: images.channels,
    onBadFile: 'refuse',
    classes: images.classNames,
  } as const;
  for (const target of [dir, path.join(dir, 'synthetic.npz')]) {
    const { images: back } = await readDataset(target, options);
    expect([back.pixels, back.labels]).toEqual([images.pixels, images.labels]);
  }
  await rm(path.join(dir, 'labels.csv'));
  await rm(path.join(dir, 'synthetic.npz'));
  const byFolder = (await readDataset(dir, options)).images;
  expect(byFolder.pixels).toEqual(byClassName(images).pixels);
  expect(await writeDataset(`${dir} again`, images)).toEqual(written);
  await expect(writeDataset(dir, images)).rejects.toThrow(/not empty/);
});

test('class names cannot leave the folder, collide, or break the CSV', async () => {
  const classNames = ['../up', 'Hand', 'hand', 'a "quoted", one'];
  const dir = path.join(root, 'names');
  const written = await writeDataset(dir, { ...greyed, classNames });
  const folders = new Set(written.filter((f) => f.path.endsWith('.png')).map((f) => f.path.split('/')[0]));
  expect([...folders]).toEqual(['_up', 'Hand', 'hand_2', 'a_quoted_one']);
  const { images } = await readDataset(dir, { size: 28, channels: 1, onBadFile: 'refuse', classes: classNames });
  expect(images.labels).toEqual(greyed.labels);
});

const hasNumpy = (() => {
  try {
    execFileSync('python3', ['-c', 'import numpy'], { stdio: 'ignore' });
    return true;
  } catch {
    console.warn('skipped: python3 with numpy is not here');
    return false;
  }
})();

test.skipIf(!hasNumpy)('numpy opens our npz', async () => {
  const dir = path.join(root, 'numpy');
  await writeDataset(dir, coloured);
  const script = 'import numpy as np,sys; z=np.load(sys.argv[1]); print(z["images"].shape, z["images"].dtype, int(z["images"].sum()), z["labels"].tolist(), z["classes"].tolist())'; // prettier-ignore
  const sum = coloured.pixels.reduce((total, x) => total + Math.round((x + 1) * 127.5), 0);
  expect(execFileSync('python3', ['-c', script, path.join(dir, 'synthetic.npz')], { encoding: 'utf8' }).trim()).toBe(
    `(6, 32, 32, 3) uint8 ${sum} [0, 1, 0, 1, 0, 1] ['naevus', 'melanoma']`,
  );
});

test('PNG: sharp reads 8 and 16 bits, grey and colour, as they were', async () => {
  for (const channels of [1, 3] as const) {
    const data = Uint16Array.from({ length: 35 * channels }, (_, i) => (i * 7919) & 65_535);
    const space = channels === 1 ? 'grey16' : 'rgb16';
    const raw = await sharp(encodePng(data, 7, 5, channels))
      .toColourspace(space)
      .raw({ depth: 'ushort' })
      .toBuffer();
    expect(new Uint16Array(Uint8Array.from(raw).buffer)).toEqual(data);
  }
  expect(() => encodePng(new Uint8Array(3), 2, 2, 1)).toThrow(/PARAMETER_INVALID/);
});

test('contact sheets: pixels stand where they should, enlarged by whole numbers', async () => {
  const { data, info } = await sharp(gridPng(greyed, { columns: 3, scale: 2 }))
    .raw()
    .toBuffer({ resolveWithObject: true });
  expect(info.height).toBe(8 + 4 * 58 + 8);
  const names = 7 * 12 - 2 + 16; // the longest name is head-ct, at scale 2, with its margins
  const first = (x: number, y: number) => data[((8 + y) * info.width + names + x) * info.channels];
  const byte = (x: number, y: number) => Math.round((greyed.pixels[y * 28 + x] + 1) * 127.5);
  for (const [x, y] of [[0, 0], [13, 5], [27, 27]]) for (const d of [0, 1]) expect(first(2 * x + d, 2 * y + d)).toBe(byte(x, y)); // prettier-ignore
  const two = await sharp(twoPanelPng({ images: greyed, title: 'Synthetic' }, { images: coloured, title: 'Public' }, { title: 'Both' })).metadata(); // prettier-ignore
  expect(two.width).toBeGreaterThan(1700);
  expect(() => gridPng(greyed, { scale: 0 })).toThrow(/scale=0/);
});

test('the font has a glyph of its own for every letter and digit', () => {
  const drawn = (c: string) => {
    const sheet = newSheet(6, 9, [255, 255, 255]);
    drawText(sheet, c, 0, 0, 1, [0, 0, 0]);
    return Buffer.from(sheet.rgb).toString('base64');
  };
  const characters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:-_/()+=%#<>?!&'];
  const unknown = drawn('?');
  expect(new Set(characters.map(drawn)).size).toBe(characters.length);
  expect(drawn('\u00e9')).toBe(unknown);
});

test('inconsistent images are refused by name', () => {
  expect(() => checkImages({ ...greyed, n: 19 })).toThrow(/DATASET_INVALID/);
  expect(() => checkImages({ ...greyed, labels: greyed.labels.map(() => 9) })).toThrow(/image 0 has label 9 of 4/);
  const pixels = greyed.pixels.slice();
  pixels[784 * 3] = 1.01;
  expect(() => checkImages({ ...greyed, pixels })).toThrow(/image 3 has a pixel outside/);
  expect(concatImages([greyed, greyed]).n).toBe(40);
  expect(() => concatImages([greyed, coloured])).toThrow(/differ in shape/);
});

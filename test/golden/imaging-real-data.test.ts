import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { countByClass, toBytes } from '../../shared/imaging/images.ts';
import { dropDuplicates } from '../../shared/imaging/split.ts';
import { readDataset } from '../../site-agent/imaging/read-dataset.ts';

// Public sets beside the repository; their README names sources and licences. They are not part of it.
const DATA = path.resolve(import.meta.dirname, '../../../shared/data');
const absent = !existsSync(DATA);
if (absent) console.warn(`skipped: ${DATA} with the public sets is not here`);

const grey = { size: 28, channels: 1, onBadFile: 'refuse' } as const;
const meanByte = (pixels: Float32Array) => toBytes(pixels).reduce((sum, x) => sum + x, 0) / pixels.length;

describe.skipIf(absent)('real sets', () => {
  // 0.1307 · 255, the mean that every MNIST normalisation uses; counts from LeCun's page.
  test('MNIST: first label 5, mean 33.318, 60,000 and 10,000 images', async () => {
    const { images, bad, patientsKnown } = await readDataset(path.join(DATA, 'mnist'), grey);
    expect(images.n).toBe(60_000);
    expect(images.labels[0]).toBe(5);
    expect(images.classNames).toEqual([...'0123456789']);
    expect(meanByte(images.pixels)).toBeCloseTo(33.318, 3);
    expect(bad).toEqual([]);
    expect(patientsKnown).toBe(false);
    const test10k = await readDataset(path.join(DATA, 'mnist'), { ...grey, split: 'test' });
    expect(test10k.images.n).toBe(10_000);
    expect(test10k.images.labels[0]).toBe(7);
  });

  // Counts: the README beside the data and the MedMNIST v2 paper, table 2.
  test.each([
    ['train', 4708, [1214, 3494]],
    ['val', 524, [135, 389]],
    ['test', 624, [234, 390]],
  ] as const)('PneumoniaMNIST %s', async (split, n, counts) => {
    const classes = ['normal', 'pneumonia'];
    const { images } = await readDataset(path.join(DATA, 'pneumoniamnist.npz'), { ...grey, split, classes });
    expect([images.n, Array.from(countByClass(images)), images.classNames]).toEqual([n, counts, classes]);
  });

  test('MedNIST: 58,954 images of six classes, 440 exact duplicates', async () => {
    const { images } = await readDataset(path.join(DATA, 'mednist_28_gray.npz'), grey);
    expect(images.classNames).toEqual(['AbdomenCT', 'BreastMRI', 'CXR', 'ChestCT', 'Hand', 'HeadCT']);
    expect(Array.from(countByClass(images))).toEqual([10_000, 8954, 10_000, 10_000, 10_000, 10_000]);
    expect(dropDuplicates(images).dropped.length).toBe(440);
  });

  test('blood cells: colour, 64 to 32 pixels, and a policy order for the classes', async () => {
    const classes = ['5', '4', '3', '2', '1'];
    const { images } = await readDataset(path.join(DATA, 'wbc1_64.npz'), { ...grey, size: 32, channels: 3, classes });
    expect([images.n, images.pixels.length]).toEqual([300, 300 * 3 * 32 * 32]);
    expect(Array.from(countByClass(images))).toEqual([1, 22, 48, 53, 176]);
  });
});

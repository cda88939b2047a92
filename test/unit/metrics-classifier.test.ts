/** The classifier that utility is measured with: it learns, the same way every time, from what it is given alone. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { type LabelledImages, selectImages } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { Classifier, FEATURES } from '../../shared/metrics/classifier.ts';
import { accuracy, utility } from '../../shared/metrics/utility.ts';

const phantoms = (seed: string, patients: number, channels: 1 | 3 = 1) =>
  phantomImages({ size: 28, channels, patients, seed });
const training = { epochs: 8, seed: 'test' };

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

/** Trains, predicts, disposes. */
async function predictions(train: LabelledImages, test: LabelledImages, options = training) {
  const classifier = await Classifier.train(engine, train, options);
  const found = await classifier.predict(test);
  await classifier.dispose();
  return found;
}

test('learns phantoms, tells held-out ones apart, and is the same classifier every time', async () => {
  const [train, held] = [phantoms('train', 256), phantoms('held out', 100)];
  const first = await predictions(train, held);
  const { accuracy: share, perClass } = accuracy(held, first.labels);
  expect(share).toBeGreaterThan(0.9);
  expect(Math.min(...perClass)).toBeGreaterThan(0.7);
  expect(first.features.length).toBe(100 * FEATURES);
  expect(await predictions(train, held)).toEqual(first);
  // Another seed is another order and other first weights.
  expect((await predictions(train, held, { ...training, seed: 'other' })).features).not.toEqual(first.features);
});

test('positive control: labels that mean nothing teach nothing', async () => {
  const train = phantoms('train', 256);
  const shuffled = { ...train, labels: train.labels.map((_, i) => Math.floor(i / 4) % 4) };
  const held = phantoms('held out', 100);
  expect((await utility(engine, shuffled, held, training)).accuracy).toBeLessThan(0.6);
});

test('sets that are no whole number of batches, in colour, and smaller than one batch', async () => {
  const shares: number[] = [];
  const progress = (share: number) => shares.push(share);
  const few = phantoms('few', 10, 3);
  const { labels, features } = await predictions(few, phantoms('odd', 67, 3), {
    ...training,
    epochs: 2,
    ...{ progress },
  });
  expect(labels.length).toBe(67);
  expect(features.every(Number.isFinite)).toBe(true);
  expect(shares).toEqual([0.5, 1]);
});

test('no images to learn from are refused', async () => {
  const none = selectImages(phantoms('few', 10), []);
  await expect(Classifier.train(engine, none, training)).rejects.toThrow(/PARAMETER_INVALID/);
});

test('accuracy counts by class, and says so where a class is missing', () => {
  const test = { ...phantoms('x', 4), labels: Int32Array.of(0, 0, 1, 1) };
  expect(accuracy(test, Int32Array.of(0, 1, 1, 1))).toEqual({ accuracy: 0.75, perClass: [0.5, 1, NaN, NaN] });
});

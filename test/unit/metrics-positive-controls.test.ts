/**
 * Every measure tells a bad set from a good one: copies, one mode, noise, wrong labels, blur. The good one is fresh images of
 * the same source; each measure must be near what it says of nothing wrong there, and far from it where something is.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { type LabelledImages, selectImages } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { Classifier, FEATURES } from '../../shared/metrics/classifier.ts';
import { featureMoments, frechetDistance } from '../../shared/metrics/frechet.ts';
import { intensityDistance } from '../../shared/metrics/intensity.ts';
import { kernelDistance } from '../../shared/metrics/kid.ts';
import { withinClassSimilarity } from '../../shared/metrics/ms-ssim.ts';
import { principalComponents, projected } from '../../shared/metrics/pca.ts';
import { powerSpectrum, spectrumDistance } from '../../shared/metrics/power-spectrum.ts';
import { prdc } from '../../shared/metrics/prdc.ts';
import { meanAndStd } from '../../shared/metrics/statistics.ts';
import { slicedWasserstein } from '../../shared/metrics/sliced-wasserstein.ts';
import { twoSampleTest } from '../../shared/metrics/two-sample-test.ts';
import { accuracy, augmentation, utility, worstGroup } from '../../shared/metrics/utility.ts';
import { PublicRandom } from '../../shared/public-random.ts';

const N = 240;
const SIZE = 28;
const D = SIZE * SIZE;
const phantoms = (seed: string, n = N) => phantomImages({ size: SIZE, channels: 1, patients: n, imagesPerPatient: [1, 1], seed }); // prettier-ignore
const random = new PublicRandom('controls');
const real = phantoms('real');
const good = phantoms('good');

/** One image a class, again and again. */
const oneMode = selectImages(
  good,
  Array.from(good.labels, (label) => good.labels.indexOf(label)),
);
const withPixels = (images: LabelledImages, pixels: Float32Array) => ({ ...images, pixels });
const noise = withPixels(
  good,
  Float32Array.from(random.uniforms(N * D), (u) => 2 * u - 1),
);
const darker = withPixels(
  good,
  good.pixels.map((x) => Math.max(-1, x - 0.3)),
);
const wrongLabels = { ...good, labels: good.labels.map((label) => (label + 1) % good.classNames.length) };

let engine: Engine;
let classifier: Classifier;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
  classifier = await Classifier.train(engine, phantoms('public'), { epochs: 10, seed: 'controls' });
}, 120_000);
afterAll(async () => {
  await classifier.dispose();
  await engine.dispose();
});

const features = async (images: LabelledImages) => (await classifier.predict(images)).features;
const bad = { 'one image': selectImages(good, new Array<number>(N).fill(0)), noise } as const;

describe.each(['network features', 'principal components'])('on %s', (kind) => {
  let of: (images: LabelledImages) => Promise<Float32Array>;
  let d: number;
  beforeAll(() => {
    const pca = principalComponents(real.pixels, D, 16);
    of = kind === 'network features' ? features : (images) => projected(engine, pca, images.pixels);
    d = kind === 'network features' ? FEATURES : 16;
  });
  test('Fréchet and kernel distance are larger for every bad set', async () => {
    const [r, g] = [await of(real), await of(good)];
    const frechet = (x: Float32Array) => frechetDistance(featureMoments(r, d), featureMoments(x, d));
    const kernel = async (x: Float32Array) => (await kernelDistance(engine, r, x, d, { seed: 'controls' })).value;
    const [goodFrechet, goodKernel] = [frechet(g), await kernel(g)];
    for (const [name, set] of Object.entries(bad)) {
      const x = await of(set);
      expect(frechet(x), name).toBeGreaterThan(2 * goodFrechet);
      expect(await kernel(x), name).toBeGreaterThan(5 * Math.abs(goodKernel));
    }
  });
  test('one mode has no recall and no coverage, noise no precision', async () => {
    const r = await of(real);
    const [g, one, nothing] = await Promise.all(
      [good, oneMode, noise].map(async (set) => prdc(engine, r, await of(set), d)),
    );
    expect(Math.min(g.precision, g.recall, g.coverage)).toBeGreaterThan(0.6);
    expect(Math.max(one.recall, one.coverage)).toBeLessThan(0.2);
    expect(nothing.coverage).toBeLessThan(0.1);
    expect(nothing.density).toBeLessThan(0.2);
  });
});

test('the kernel distance of one source is zero within its spread, in blocks too', async () => {
  const [r, g] = [await features(real), await features(good)];
  const { value, std, blocks } = await kernelDistance(engine, r, g, FEATURES, {
    seed: 'b',
    blocks: 20,
    blockSize: 100,
  });
  expect(blocks).toBe(20);
  expect(Math.abs(value)).toBeLessThan(2 * std);
});

test('the kernel distance of one source has no bias by size, and is below zero about half the time', async () => {
  const d = 4;
  const draws = new PublicRandom('no bias');
  const values: number[] = [];
  for (let k = 0; k < 200; k++) {
    const [x, y] = [draws.gaussians(20 * d), draws.gaussians(20 * d)];
    values.push((await kernelDistance(engine, x, y, d, { seed: 's' })).value);
  }
  const { mean, std } = meanAndStd(values);
  expect(Math.abs(mean)).toBeLessThan((3 * std) / Math.sqrt(values.length));
  const below = values.filter((x) => x < 0).length / values.length;
  expect(Math.abs(below - 0.5)).toBeLessThan(0.2);
  // Control: the biased estimate, which counts each row with itself, is 2 E[k(x, x) - k(x, y)] / n above it.
  const diagonal = Array.from({ length: 1000 }, () => draws.gaussians(d).reduce((sum, g) => sum + g * g, 0) / d);
  const bias = (2 * meanAndStd(diagonal.map((x) => (x + 1) ** 3)).mean - 2 * (1 + 3 / d)) / 20;
  expect(bias).toBeGreaterThan((30 * std) / Math.sqrt(values.length));
});

test('sliced Wasserstein: moved by a known way it is that way over √d, and every bad set is further', async () => {
  const distance = (x: Float32Array) => slicedWasserstein(engine, real.pixels, x, D, { seed: 'controls' });
  const moved = slicedWasserstein(engine, real.pixels, real.pixels.map((x) => x + 0.1), D, { seed: 'c', directions: 2000 }); // prettier-ignore
  // Every pixel by 0.1: a way of 0.1 √d.
  expect(Math.abs((await moved) / 0.1 - 1)).toBeLessThan(0.1);
  const least = await distance(good.pixels);
  for (const set of [oneMode, noise, darker]) expect(await distance(set.pixels)).toBeGreaterThan(1.5 * least);
});

test('intensity: by 0.3 darker is 38 grey levels where nothing is cut off; noise is far', () => {
  const half = good.pixels.map((x) => x / 2);
  expect(intensityDistance(half, half.map((x) => x - 0.3))).toBeCloseTo(0.3 * 127.5, 0); // prettier-ignore
  const least = intensityDistance(real.pixels, good.pixels);
  for (const set of [noise, darker]) expect(intensityDistance(real.pixels, set.pixels)).toBeGreaterThan(3 * least);
});

test('power spectrum: blur and noise are decibels away', () => {
  const spectrum = powerSpectrum(real);
  const distance = (set: LabelledImages) => spectrumDistance(spectrum, powerSpectrum(set));
  const blurred = good.pixels.map((x, i) => (i % SIZE > 0 ? (x + good.pixels[i - 1]) / 2 : x));
  const least = distance(good);
  expect(least).toBeLessThan(1);
  for (const set of [withPixels(good, blurred), noise]) expect(distance(set)).toBeGreaterThan(2);
});

test('MS-SSIM within class: 1 for one mode, that of real images for good ones, below for noise', () => {
  const mean = (set: LabelledImages) => withinClassSimilarity(set, { seed: 'controls', pairs: 60 }).map((c) => c.similarity); // prettier-ignore
  const [r, g, n] = [mean(real), mean(good), mean(noise)];
  mean(oneMode).forEach((similarity) => expect(similarity).toBeCloseTo(1, 9));
  g.forEach((similarity, k) => expect(Math.abs(similarity - r[k])).toBeLessThan(0.12));
  n.forEach((similarity, k) => expect(similarity).toBeLessThan(r[k] - 0.1));
});

test('MS-SSIM within class: one picture a class is seen as such, also where its brightness wavers', () => {
  const wavering = oneMode.pixels.map((x, at) => Math.min(1, Math.max(-1, x + 0.1 * Math.sin(Math.floor(at / D)))));
  const found = withinClassSimilarity(withPixels(oneMode, wavering), { seed: 'controls', pairs: 60 });
  // By pixels around zero, instead of from black on, a wavering grey looks like no two pictures alike.
  found.forEach(({ similarity }) => expect(similarity).toBeGreaterThan(0.98));
});

test('MS-SSIM within class: the standard error holds for few images, which many pairs are drawn of', () => {
  const size = 11;
  const draw = (k: number): LabelledImages => {
    const own = new PublicRandom(`few ${k}`);
    const pixels = own.gaussians(5 * size * size);
    // Some images are smoother than others: what two pairs with one image in common have in common.
    const smooth = own.uniforms(5);
    const at = (i: number) => smooth[Math.floor(i / size ** 2)];
    return { ...real, n: 5, size, pixels: pixels.map((g, i) => at(i) * g * 0.3), labels: new Int32Array(5), classNames: ['a'] }; // prettier-ignore
  };
  const pairs = 200;
  const found = Array.from({ length: 80 }, (_, k) => withinClassSimilarity(draw(k), { seed: 's', pairs })[0]);
  const { std } = meanAndStd(found.map((c) => c.similarity));
  const said = meanAndStd(found.map((c) => c.standardError)).mean;
  expect(said).toBeGreaterThan(std);
  // Control: taken as independent, so many pairs would say less than a third of it.
  expect(said * Math.sqrt(1 / pairs / (1 / pairs + 2 / 3))).toBeLessThan(std / 3);
  const two = withinClassSimilarity(selectImages(draw(0), [0, 1]), { seed: 's' })[0];
  expect(two.standardError).toBeNaN();
  expect(two.similarity).toBeLessThan(1);
});

test('none of what is averaged over is refused: the mean of nothing is no figure', async () => {
  const rows = real.pixels.subarray(0, 8 * D);
  const seed = 'none';
  expect(() => withinClassSimilarity(real, { seed, pairs: 0 })).toThrow(/PARAMETER_INVALID/);
  const refused = [
    kernelDistance(engine, rows, rows, D, { seed, blocks: 0, blockSize: 4 }),
    slicedWasserstein(engine, rows, rows, D, { seed, directions: 0 }),
  ];
  await Promise.all(refused.map((refusal) => expect(refusal).rejects.toThrow(/PARAMETER_INVALID/)));
});

test('MS-SSIM within class: a class with one image has none', () => {
  const [first] = withinClassSimilarity(selectImages(real, [0]), { seed: 'x' });
  expect(withinClassSimilarity(selectImages(real, []), { seed: 'x' }).every((c) => Number.isNaN(c.similarity))).toBe(
    true,
  );
  expect(first.pairs).toBe(0);
});

test('two-sample test: coins for one source; noise, and a shift of brightness alone, are told apart', async () => {
  const judge = (set: LabelledImages) => twoSampleTest(engine, real, set, { seed: 'controls', epochs: 12 });
  const same = await judge(good);
  expect(same.images).toBe(N);
  expect(Math.abs(same.accuracy - 0.5)).toBeLessThan(4 * same.nullStd);
  expect(same.pValue).toBeGreaterThan(1e-4);
  expect(Math.abs(same.area - 0.5)).toBeLessThan(0.15);
  for (const set of [noise, darker]) {
    const found = await judge(set);
    expect(found.accuracy).toBeGreaterThan(0.8);
    expect(found.area).toBeGreaterThan(0.9);
    expect(found.pValue).toBeLessThan(1e-10);
  }
}, 120_000);

test('utility: wrong labels teach the wrong thing, noise teaches nothing', async () => {
  const tstr = async (set: LabelledImages) => (await utility(engine, set, real, { epochs: 6, seed: 'u' })).accuracy;
  expect(await tstr(good)).toBeGreaterThan(0.9);
  expect(await tstr(wrongLabels)).toBeLessThan(0.2);
  expect(await tstr(noise)).toBeLessThan(0.6);
}, 120_000);

test('augmentation: synthetic images of classes that real ones lack help; class and group say so', async () => {
  const some = phantoms('few', 64);
  const few = selectImages(
    some,
    [...some.labels.keys()].filter((i) => some.labels[i] < 2),
  );
  const groups = Array.from(real.labels, (label, i) => (label === 3 ? 'last class' : i % 2 === 0 ? 'even' : 'odd'));
  const sets = { synthetic: good, real: few, test: real };
  const found = await augmentation(engine, sets, { seed: 'aug', groups, epochs: 20 });
  expect(found.gain).toBeCloseTo(found.onBoth.accuracy - found.onReal.accuracy, 9);
  expect(found.gain).toBeGreaterThan(3 * found.gainStandardError);
  expect(found.gainStandardError).toBeGreaterThan(0);
  expect(found.perClassGain[3]).toBeGreaterThan(0.9);
  expect(found.perGroupGain?.map((g) => g.name)).toEqual(['even', 'last class', 'odd']);
  expect(found.perGroupGain?.[1].gain).toBeCloseTo(found.perClassGain[3], 9);
  expect(worstGroup(found.onReal)).toMatchObject({ name: 'last class', accuracy: 0 });
}, 120_000);

test('subgroups: by hand, the worst one named; labels for other images are refused', () => {
  const test = selectImages(real, [0, 1, 2, 3]);
  const predicted = Int32Array.from(test.labels, (label, i) => (i === 2 ? (label + 1) % 4 : label));
  const found = accuracy(test, predicted, ['f', 'm', 'f', 'm']);
  expect(found.perGroup).toEqual([
    { name: 'f', images: 2, accuracy: 0.5 },
    { name: 'm', images: 2, accuracy: 1 },
  ]);
  expect(worstGroup(found)?.name).toBe('f');
  expect(worstGroup(accuracy(test, predicted))).toBeNull();
  expect(() => accuracy(test, predicted, ['f'])).toThrow(/PARAMETER_INVALID/);
});

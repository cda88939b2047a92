import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { countByClass, groupByPatient, imageAt, type LabelledImages, toBytes, valuesPerImage } from '../../shared/imaging/images.ts'; // prettier-ignore
import {
  DEFAULT_PHANTOM_CLASSES,
  PHANTOM_CLASSES,
  type PhantomOptions,
  phantomImages,
} from '../../shared/imaging/phantom.ts';
import { seeded } from '../../shared/imaging/seeded.ts';
import { dropDuplicates, groupAsPatients, splitBySite } from '../../shared/imaging/split.ts';

const digest = (images: LabelledImages) =>
  createHash('sha256').update(toBytes(images.pixels)).digest('hex').slice(0, 16);
const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a as number[]).reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0);

function centroids(images: LabelledImages): Float64Array[] {
  const counts = countByClass(images);
  const sums = images.classNames.map(() => new Float64Array(valuesPerImage(images)));
  for (let i = 0; i < images.n; i++)
    imageAt(images, i).forEach((x, j) => (sums[images.labels[i]][j] += x / counts[images.labels[i]]));
  return sums;
}

function accuracy(train: LabelledImages, test: LabelledImages): number {
  const means = centroids(train);
  let right = 0;
  for (let i = 0; i < test.n; i++) {
    const far = means.map((mean) => distance(mean, imageAt(test, i)));
    if (far.indexOf(Math.min(...far)) === test.labels[i]) right++;
  }
  return right / test.n;
}

describe('phantoms', () => {
  const base: PhantomOptions = { size: 28, channels: 1, patients: 80, seed: 'test' };

  test.each([28, 32, 64] as const)('nearest class mean is right for more than 0.9 at another site, %i px', (size) => {
    const classes = [...DEFAULT_PHANTOM_CLASSES, 'abdomen-ct'] as const;
    const [a, b] = ['north', 'south'].map((site) => phantomImages({ ...base, size, classes, site }));
    expect(accuracy(a, b)).toBeGreaterThan(0.9);
    // Control: with the labels shifted the same measure finds nothing.
    expect(accuracy({ ...a, labels: a.labels.map((c) => (c + 1) % 5) }, b)).toBeLessThan(0.1);
  });

  test('the harder pairs differ too: healthy and pneumonia, naevus and melanoma', () => {
    const pair = (classes: PhantomOptions['classes'] & object, channels: 1 | 3) =>
      accuracy(
        phantomImages({ ...base, classes, channels, patients: 120 }),
        phantomImages({ ...base, classes, channels, seed: 'other' }),
      );
    expect(pair(['chest', 'pneumonia'], 1)).toBeGreaterThan(0.7);
    expect(pair(['naevus', 'melanoma'], 3)).toBeGreaterThan(0.9);
  });

  test('images of one patient are closer to each other than to other patients of the class', () => {
    const images = phantomImages({ ...base, classes: ['hand'], patients: 30, imagesPerPatient: 3 });
    const groups = groupByPatient(images);
    expect(groups.map((g) => g.images.length)).toEqual(new Array(30).fill(3));
    const mean = (pairs: [number, number][]) =>
      pairs.reduce((sum, [i, j]) => sum + distance(imageAt(images, i), imageAt(images, j)), 0) / pairs.length;
    const same = mean(groups.map((g) => [g.images[0], g.images[1]]));
    const other = mean(groups.map((g, k) => [g.images[0], groups[(k + 1) % 30].images[0]]));
    expect(same).toBeLessThan(0.75 * other);
    expect(dropDuplicates(images).dropped).toEqual([]);
  });

  test('sites have other patients and other scanners; pixels are whole bytes', () => {
    const [a, b] = ['north', 'south'].map((site) => phantomImages({ ...base, patients: 8, site }));
    expect(digest(a)).not.toBe(digest(b));
    expect(a.patients.filter((id) => b.patients.includes(id))).toEqual([]);
    expect(Float32Array.from(toBytes(a.pixels), (x) => x / 127.5 - 1)).toEqual(a.pixels);
  });

  test('snapshot: the same seed draws the same bytes', () => {
    const all = {
      patients: 16,
      imagesPerPatient: [1, 3],
      classes: PHANTOM_CLASSES,
      seed: 'snapshot',
      site: 'a',
    } as const;
    expect(digest(phantomImages({ ...all, size: 28, channels: 1 }))).toMatchInlineSnapshot(`"f3b8d2dd7dc70e50"`);
    expect(digest(phantomImages({ ...all, size: 64, channels: 3 }))).toMatchInlineSnapshot(`"93e550133a8d81a6"`);
  });
});

describe('seeded', () => {
  test('uniform, normal and gamma have their moments; forks do not depend on what was drawn', () => {
    const random = seeded('moments');
    const draws = (f: () => number) => Array.from({ length: 20_000 }, f);
    const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;
    expect(mean(draws(() => random.uniform(2, 4)))).toBeCloseTo(3, 1);
    const z = draws(() => random.normal(1, 2));
    expect([mean(z), Math.sqrt(mean(z.map((x) => (x - 1) ** 2)))].map((x) => Math.round(x * 10) / 10)).toEqual([1, 2]);
    for (const shape of [0.3, 1, 5])
      expect(Math.abs(mean(draws(() => random.gamma(shape))) / shape - 1)).toBeLessThan(0.06);
    const fresh = seeded('moments');
    expect(random.fork('x').uint32()).toBe(fresh.fork('x').uint32());
    expect(fresh.fork('y').uint32()).not.toBe(fresh.fork('x').uint32());
  });
});

describe('split by site', () => {
  const images = phantomImages({ size: 28, channels: 1, patients: 240, imagesPerPatient: [1, 3], seed: 'split' });

  test.each([{ kind: 'iid' } as const, { kind: 'dirichlet', alpha: 0.5 } as const, { kind: 'missing-class' } as const])(
    '$kind: every image once, no patient in two parts, the same again',
    (skew) => {
      const split = splitBySite(images, { sites: 4, seed: 's', skew, testFraction: 0.25 });
      const parts = [...split.sites, split.test];
      expect(parts.reduce((sum, p) => sum + p.n, 0)).toBe(images.n);
      const owners = parts.flatMap((p) => [...new Set(p.patients)]);
      expect(new Set(owners).size).toBe(owners.length);
      expect(new Set(split.test.patients).size).toBe(60);
      const again = splitBySite(images, { sites: 4, seed: 's', skew, testFraction: 0.25 });
      expect([...again.sites, again.test].map(digest)).toEqual(parts.map(digest));
      expect(splitBySite(images, { sites: 4, seed: 't', skew, testFraction: 0.25 }).test.patients).not.toEqual(
        split.test.patients,
      );
    },
  );

  test('iid is even, dirichlet is not, and missing-class misses one class at each site', () => {
    const counts = (skew: Parameters<typeof splitBySite>[1]['skew'] & object) =>
      splitBySite(images, { sites: 4, seed: 's', skew }).sites.map((s) => Array.from(countByClass(s)));
    const spread = (rows: number[][]) => Math.max(...rows.flat()) - Math.min(...rows.flat());
    expect(spread(counts({ kind: 'iid' }))).toBeLessThan(16);
    expect(spread(counts({ kind: 'dirichlet', alpha: 0.5 }))).toBeGreaterThan(40);
    counts({ kind: 'missing-class' }).forEach((row, s) =>
      expect(row.map((n) => n === 0)).toEqual([0, 1, 2, 3].map((c) => c === s)),
    );
    expect(() => splitBySite(images, { sites: 1000, seed: 's' })).toThrow(/would have no patient/);
  });

  test('duplicates go, made-up patients hold so many images of one class', () => {
    const doubled: LabelledImages = { ...images, n: 4, pixels: Float32Array.from([0, 1, 0, 2].flatMap((i) => [...imageAt(images, i)])), labels: Int32Array.of(0, 1, 1, 0), patients: ['a', 'b', 'c', 'd'] }; // prettier-ignore
    const { images: kept, dropped } = dropDuplicates(doubled);
    expect([dropped, kept.patients]).toEqual([[2], ['a', 'b', 'd']]);
    const grouped = groupAsPatients(images, 5);
    for (const g of groupByPatient(grouped)) {
      expect(g.images.length).toBeLessThanOrEqual(5);
      expect(new Set(g.images.map((i) => images.labels[i])).size).toBe(1);
    }
  });
});

/** All measures together: what each group needs, what it says of copies and of fresh images, and how it is told. */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GROUP_NAMES } from '../../cli/commands/evaluate.ts';
import { evaluationSections } from '../../cli/evaluation-report.ts';
import { html, markdown, terminal } from '../../cli/document.ts';
import { readSubgroups } from '../../cli/subgroups.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { type LabelledImages, selectImages } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { encodeImagesNpz } from '../../shared/imaging/write-dataset.ts';
import { type Evaluation, evaluateSets, METRIC_GROUPS, missing } from '../../shared/metrics/evaluate-sets.ts';
import { withinClassSimilarity } from '../../shared/metrics/ms-ssim.ts';
import { PublicRandom } from '../../shared/public-random.ts';
import { temporaryFolder } from '../support/cli-rig.ts';

const phantoms = (seed: string, n: number) => phantomImages({ size: 28, channels: 1, patients: n, imagesPerPatient: [1, 1], seed }); // prettier-ignore
const [fresh, real, reference] = [phantoms('fresh', 100), phantoms('test', 100), phantoms('reference', 120)];
const options = { seed: 'test', epochs: 2 };
const root = temporaryFolder();

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(async () => {
  root[Symbol.dispose]();
  await engine.dispose();
});

test('the command offers the groups that there are', () => {
  expect([...GROUP_NAMES]).toEqual([...METRIC_GROUPS]);
});

describe('everything, on fresh images', () => {
  let found: Evaluation;
  const seen: string[] = [];
  beforeAll(async () => {
    const subgroups = Array.from(real.labels, (_, i) => (i % 3 === 0 ? 'm' : 'f'));
    found = await evaluateSets(
      engine,
      { synthetic: fresh, test: real, reference },
      {
        ...options,
        groups: METRIC_GROUPS,
        subgroups,
        around: async (measure, work) => {
          seen.push(measure);
          return work(() => undefined);
        },
      },
    );
  }, 120_000);
  test('each group is there, of finite figures, and says nothing bad', () => {
    expect(found.compared).toEqual({ synthetic: 100, test: 100, reference: 120 });
    expect(found.fidelity).toMatchObject({ featuresLearntOn: 'reference', axesFittedTo: 'reference', axes: 64 });
    expect(found.memorisation!.copyShare).toBeLessThan(0.1);
    expect(Math.abs(found.memorisation!.copyingZ)).toBeLessThan(4);
    expect(found.membership!.pValue).toBeGreaterThan(1e-4);
    expect(found.twoSample!.images).toBeGreaterThan(50);
    expect(seen).toHaveLength(14);
    const nameless = JSON.stringify(found).replaceAll(/"[^"]*":/g, '');
    expect(nameless).not.toContain('null');
  });
  test('it is told in words, on a terminal, in Markdown and as a page that escapes names', () => {
    const names = ['<b>', 'a|b', 'line\nbreak', 'bell\u0007'];
    const sections = evaluationSections(found, names);
    expect(sections).toHaveLength(6);
    const text = terminal(sections);
    expect(text).toContain('Worst subgroup on synthetic:');
    // All images make one block, of which nothing is known but its value.
    expect(text).toMatch(/kernel distance, KID’s \(0 is best\).*\(one block\)/);
    expect(text).not.toContain('±');
    expect(text).not.toContain('\u0007');
    const written = { title: 'T', lead: [], sections };
    expect(markdown(written)).toContain('a\\|b');
    expect(markdown(written)).toContain('| line break |');
    const page = html(written);
    expect(page).toContain('&lt;b&gt;');
    expect(page).not.toContain('<b>');
    expect(page).not.toMatch(/https?:/);
  });
});

test('positive control: copies of the reference are found as such', async () => {
  const copies = selectImages(reference, [...Array(100).keys()]);
  const sets = { synthetic: copies, test: real, reference };
  const found = await evaluateSets(engine, sets, { ...options, groups: ['memorisation', 'membership'] });
  expect(found.memorisation).toMatchObject({ copyShare: 1, synthetic: { authenticity: 0 } });
  expect(found.memorisation!.copyingZ).toBeLessThan(-8);
  expect(found.membership!.points.at(-1)!.truePositiveInterval[0]).toBeGreaterThan(0.7);
  expect(found.utility).toBeUndefined();
});

test('a draw bounds what is compared, and no copy of an image that was not drawn is missed', async () => {
  const sets = { synthetic: selectImages(reference, [...Array(100).keys()]), test: real, reference };
  const found = await evaluateSets(engine, sets, { ...options, groups: ['memorisation'], most: 40 });
  expect(found.compared).toEqual({ synthetic: 40, test: 40, reference: 40 });
  expect(found.memorisation).toMatchObject({ copyShare: 1, synthetic: { images: 40, authenticity: 0 } });
});

test('fidelity alone, without a reference, trains on the synthetic images and says so; a draw bounds what is compared', async () => {
  const sets = { synthetic: fresh, test: real };
  const found = await evaluateSets(engine, sets, { ...options, groups: ['fidelity'], most: 40 });
  expect(found.fidelity).toMatchObject({ featuresLearntOn: 'synthetic', axesFittedTo: 'test', axes: 39 });
  expect(found.compared).toEqual({ synthetic: 40, test: 40, reference: 0 });
});

test('sliced Wasserstein: images of the very same distribution are as far as two halves of the real ones', async () => {
  const grain = (seed: string): LabelledImages => ({ ...fresh, pixels: Float32Array.from(new PublicRandom(seed).uniforms(fresh.pixels.length), (u) => 2 * u - 1) }); // prettier-ignore
  const sets = { synthetic: grain('a'), test: grain('b') };
  const { fidelity } = await evaluateSets(engine, sets, { ...options, groups: ['fidelity'], epochs: 1 });
  // Of all images at once instead of half of them, it would be 0.7.
  expect(Math.abs(fidelity!.slicedWasserstein / fidelity!.slicedWassersteinOfReal - 1)).toBeLessThan(0.1);
});

test('refused, by name: a group without its reference, sets too small, sets of two shapes', async () => {
  const few = selectImages(real, [0, 1, 2]);
  expect(missing(['membership'], { synthetic: fresh, test: real }, options)).toMatch(/membership needs .*--reference/);
  expect(missing(['fidelity'], { synthetic: fresh, test: few }, options)).toMatch(/3 images is too small/);
  expect(missing(['utility'], { synthetic: fresh, test: few }, options)).toBeNull();
  const measure = (sets: Parameters<typeof missing>[1], groups: Parameters<typeof missing>[0]) =>
    evaluateSets(engine, sets, { ...options, groups });
  await expect(measure({ synthetic: fresh, test: real }, ['memorisation'])).rejects.toThrow(/PARAMETER_INVALID/);
  const onlyOf = (label: number) => selectImages(real, [...real.labels.keys()].filter((i) => real.labels[i] === label)); // prettier-ignore
  const [zero, one] = [onlyOf(0), onlyOf(1)];
  expect(missing(['two-sample'], { synthetic: zero, test: one }, options)).toMatch(/two-sample wants 4 .* there are 0/);
  expect(missing(['memorisation'], { synthetic: zero, test: one, reference }, options)).toBeNull();
  await expect(measure({ synthetic: fresh, test: few }, ['two-sample'])).rejects.toThrow(/PARAMETER_INVALID/);
  const other = { ...real, classNames: ['a', 'b', 'c', 'd'] };
  await expect(measure({ synthetic: fresh, test: other }, ['utility'])).rejects.toThrow(/PARAMETER_INVALID/);
});

test('what is missing is counted in what is drawn: a class that the lot left out is not there', async () => {
  // A class that both have, and of which a lot of ten images has next to none.
  const rare = (set: LabelledImages, label: number): LabelledImages => ({
    ...set,
    labels: Int32Array.from(set.labels, (_, i) => (i < 6 ? 0 : label)),
  });
  const sets = { synthetic: rare(fresh, 1), test: rare(real, 2) };
  const groups = ['two-sample'] as const;
  expect(missing(groups, sets, options)).toBeNull();
  expect(missing(groups, sets, { ...options, most: 10 })).toMatch(/two-sample wants 4 .* there are [0-3]$/);
  const measured = evaluateSets(engine, sets, { ...options, groups, most: 10 });
  await expect(measured).rejects.toThrow(/PARAMETER_INVALID: two-sample wants 4/);
  expect(missing(['fidelity'], sets, { ...options, most: 7 })).toMatch(/a set of 7 images is too small/);
});

describe('diversity in words', () => {
  const told = (synthetic: LabelledImages) => {
    const diversity = { synthetic: withinClassSimilarity(synthetic, { seed: 's' }), real: withinClassSimilarity(real, { seed: 's' }) }; // prettier-ignore
    const compared = { synthetic: synthetic.n, test: real.n, reference: 0 };
    const [section] = evaluationSections({ compared, diversity }, real.classNames);
    return terminal([section]).split('\n').filter((line) => /(alike than real|to tell)\s*$/.test(line)); // prettier-ignore
  };
  const of = (label: number) => [...fresh.labels.keys()].filter((i) => fresh.labels[i] === label);
  const others = [...fresh.labels.keys()].filter((i) => fresh.labels[i] !== 0);
  test('positive control: a class that is one picture again and again is marked, fresh images are not', () => {
    expect(told(fresh)).toEqual([]);
    const collapsed = selectImages(fresh, [...others, ...of(0).map(() => of(0)[0])]);
    expect(told(collapsed)).toEqual([expect.stringMatching(/1\.000.*more alike than real/)]);
  });
  test.each([
    ['two of the same picture', [0, 0]],
    ['two pictures', [0, 1]],
    ['one picture', [0]],
  ])('%s of a class are too few to tell, and say so', (_, which) => {
    const few = selectImages(fresh, [...others, ...which.map((i) => of(0)[i])]);
    expect(told(few)).toEqual([expect.stringContaining('too few images to tell')]);
  });
});

describe('subgroups', () => {
  test('of a CSV column and of an .npz key; an empty one is unknown', async () => {
    writeFileSync(root.at('s.csv'), 'sex,age\nf,40\n"m",\n , 70\n');
    expect(await readSubgroups(root.at('s.csv'), 'sex', 3)).toEqual(['f', 'm', 'unknown']);
    expect(await readSubgroups(root.at('s.csv'), 'age', 3)).toEqual(['40', 'unknown', '70']);
    writeFileSync(root.at('s.npz'), await encodeImagesNpz(real));
    expect(await readSubgroups(root.at('s.npz'), 'labels', 100)).toEqual(Array.from(real.labels, String));
  });
  test('refused: no file, no column, not one an image, an id', async () => {
    writeFileSync(root.at('id.csv'), `id\n${[...Array(101).keys()].join('\n')}\n`);
    const refusals = [
      readSubgroups(root.at('none.csv'), 'sex', 3),
      readSubgroups(root.at('s.csv'), 'site', 3),
      readSubgroups(root.at('s.csv'), 'sex', 4),
      readSubgroups(root.at('s.npz'), 'sex', 3),
      readSubgroups(root.at('id.csv'), 'id', 101),
    ];
    await Promise.all(refusals.map((refusal) => expect(refusal).rejects.toThrow(/PARAMETER_INVALID/)));
  });
});

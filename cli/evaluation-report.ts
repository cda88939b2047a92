/** An evaluation in words: what each figure is, beside what it would be for real images, and what it cannot say. */
import type { Evaluation, Fidelity } from '../shared/metrics/evaluate-sets.ts';
import type { Memorisation } from '../shared/metrics/memorisation.ts';
import type { MembershipInference } from '../shared/metrics/membership.ts';
import type { ClassSimilarity } from '../shared/metrics/ms-ssim.ts';
import type { TwoSampleTest } from '../shared/metrics/two-sample-test.ts';
import { type Augmentation, type GroupAccuracy, type Utility, worstGroup } from '../shared/metrics/utility.ts';
import { type Said, type Section, sectionOf } from './document.ts';

/** The sections of what was measured. @param classNames - of the sets. */
export function evaluationSections(e: Evaluation, classNames: readonly string[]): Section[] {
  return [
    e.utility && utilitySection(e.utility, classNames),
    e.fidelity && fidelitySection(e.fidelity),
    e.diversity && diversitySection(e.diversity),
    e.twoSample && twoSampleSection(e.twoSample),
    e.memorisation && memorisationSection(e.memorisation),
    e.membership && membershipSection(e.membership),
  ]
    .filter((section) => section !== undefined)
    .map(sectionOf);
}

/** A share as people read it; NaN is a class that the test set lacks. */
export const percent = (x: number): string => (Number.isNaN(x) ? 'none in the test set' : `${(100 * x).toFixed(1)} %`);

const figure = (x: number, digits = 3): string => (Number.isFinite(x) ? x.toFixed(digits) : 'none');
const points = (x: number): string =>
  Number.isNaN(x) ? 'none in the test set' : `${x < 0 ? '' : '+'}${(100 * x).toFixed(1)}`;
const chance = (p: number): string => (p < 1e-4 ? 'below 0.0001' : p.toFixed(4));

function utilitySection(u: Utility | Augmentation, classNames: readonly string[]): Said {
  const title = 'Utility: what a classifier learns from them';
  const worst = (of: Utility, name: string) => {
    const group = worstGroup(of);
    return group
      ? [`Worst subgroup ${name}: ${group.name}, ${percent(group.accuracy)} of ${group.images} images.`]
      : [];
  };
  const groupName = (g: GroupAccuracy) => `subgroup ${g.name} (${g.images})`;
  if (!('onBoth' in u)) {
    const rows = [
      ['all', percent(u.accuracy)],
      ...classNames.map((name, k) => [name, percent(u.perClass[k])]),
      ...(u.perGroup ?? []).map((g) => [groupName(g), percent(g.accuracy)]),
    ];
    const paragraphs = ['A classifier trained on synthetic images, tested on real ones.', ...worst(u, 'on synthetic')];
    return { title, paragraphs, table: { head: ['', 'trained on synthetic'], rows } };
  }
  const { onSynthetic, onReal, onBoth } = u;
  const row = (name: string, [s, r, b]: number[], gain: number) => [name, percent(s), percent(r), percent(b), points(gain)]; // prettier-ignore
  const three = (of: (u: Utility) => number) => [onSynthetic, onReal, onBoth].map(of);
  const rows = [
    row('all', three((x) => x.accuracy), u.gain),
    ...classNames.map((name, k) => row(name, three((x) => x.perClass[k]), u.perClassGain[k])),
    ...(onBoth.perGroup ?? []).map((g, k) => row(groupName(g), three((x) => x.perGroup![k].accuracy), u.perGroupGain![k].gain)), // prettier-ignore
  ]; // prettier-ignore
  return {
    title,
    paragraphs: [
      `Three classifiers, tested on the same real images. Gain of both over real alone: ${points(u.gain)} points, standard error ${(100 * u.gainStandardError).toFixed(1)} (over test images; another seed moves it by about a point as well).`,
      ...worst(onSynthetic, 'on synthetic'),
      ...worst(onBoth, 'on both'),
    ],
    table: { head: ['', 'on synthetic', 'on real', 'on both', 'gain in points'], rows },
  };
}

function fidelitySection(f: Fidelity): Said {
  const { onFeatures: a, onPixels: b } = f;
  const both = (name: string, of: (x: Fidelity['onFeatures']) => string) => [name, of(a), of(b)];
  const alone = (name: string, x: string) => [name, '', x];
  return {
    title: 'Fidelity: how near they are to real images',
    paragraphs: [
      `Features of a classifier trained on ${f.featuresLearntOn === 'reference' ? 'the reference images' : 'these synthetic images, so that no two generators can be compared by them'}; ${f.axes} principal components of pixels, fitted to the ${f.axesFittedTo} images. Distances have the unit of what they are measured on: compare them across generators with the same real images, never with published FID or KID. Where the classes have other shares in the two sets, that is measured too.`,
    ],
    table: {
      head: ['', 'on features', 'on pixels'],
      rows: [
        both('Fréchet distance (0 is best)', (x) => figure(x.frechet)),
        both('kernel distance, KID’s (0 is best)', (x) => kernelText(x.kernel)),
        both('precision', (x) => figure(x.prdc.precision)),
        both('recall', (x) => figure(x.prdc.recall)),
        both('density (1 is ideal)', (x) => figure(x.prdc.density)),
        both('coverage', (x) => figure(x.prdc.coverage)),
        alone('sliced Wasserstein, against half of the real images', figure(f.slicedWasserstein)),
        alone('the same of two halves of the real images', figure(f.slicedWassersteinOfReal)),
        alone('intensity, in grey levels', figure(f.intensity, 1)),
        alone('power spectrum, in decibels', figure(f.spectrum, 1)),
      ],
    },
  };
}

/** A single block has no spread: ± 0 would say that it is exact. */
const kernelText = ({ value, std, blocks }: Fidelity['onFeatures']['kernel']): string =>
  blocks > 1 ? `${figure(value, 4)} ± ${figure(std, 4)}` : `${figure(value, 4)} (one block)`;

/** More alike than real images by this much, and beyond chance: a class that may have collapsed. */
const MORE_ALIKE = 0.05;

function diversitySection({ synthetic, real }: NonNullable<Evaluation['diversity']>): Said {
  const verdict = (s: ClassSimilarity, r: ClassSimilarity) => {
    const error = Math.hypot(s.standardError, r.standardError);
    // Two images make one pair: how much another would differ nobody knows, and an empty cell would say that all is well.
    if (!Number.isFinite(error)) return 'too few images to tell';
    return s.similarity - r.similarity > Math.max(MORE_ALIKE, 3 * error) ? 'more alike than real' : '';
  };
  const say = (c: ClassSimilarity) => (c.pairs === 0 ? 'fewer than two images' : figure(c.similarity));
  return {
    title: 'Diversity: how alike images of one class are',
    paragraphs: [
      'Mean MS-SSIM of random pairs within a class: 1 is one picture again and again. Well above the real figure: the class has collapsed. Below it is no praise: noise is diverse.',
    ],
    table: {
      head: ['class', 'synthetic', 'real', ''],
      rows: synthetic.map((s, k) => [s.name, say(s), say(real[k]), verdict(s, real[k])]),
    },
  };
}

function twoSampleSection(t: TwoSampleTest): Said {
  return {
    title: 'Two-sample test: can a network tell them from real images',
    paragraphs: [
      `It is right about ${percent(t.accuracy)} of ${t.images} images it has not seen; by coins 50 %, give or take ${percent(t.nullStd)}. Chance of that by coins: ${chance(t.pValue)}. Area under the curve ${figure(t.area)}. A network finds flaws that no reader sees: hardly any generator passes, and a small p-value says that there is a difference, not that it matters.`,
    ],
  };
}

function memorisationSection(m: Memorisation): Said {
  const row = (name: string, of: (x: Memorisation['synthetic']) => number) => [
    name,
    figure(of(m.synthetic)),
    figure(of(m.heldOut)),
  ];
  return {
    title: 'Memorisation: do they repeat reference images',
    paragraphs: [
      `Distances of pixels to the nearest reference image, beside the same of test images, which cannot be copies. It speaks of memorisation where the generator was trained on the reference. ${percent(m.copyShare)} of the synthetic images are nearer to a reference image than 99 in 100 test images are, or equal to one (1 % for fresh images, 100 % for copies). Meehan’s test: ${figure(m.copyingZ, 1)} standard deviations; below -3 is copying, far above 0 means unlike the reference.`,
    ],
    table: {
      head: ['', 'synthetic', 'test images'],
      rows: [
        row('authenticity', (x) => x.authenticity),
        row('distance to the nearest, median', (x) => x.nearestMedian),
        row('distance to the nearest, 5th percentile', (x) => x.nearestLowest5Percent),
        row('nearest over second nearest, median', (x) => x.ratioMedian),
        row('nearest over second nearest, 5th percentile', (x) => x.ratioLowest5Percent),
      ],
    },
  };
}

function membershipSection(m: MembershipInference): Said {
  const interval = ([low, high]: readonly [number, number]) => `${percent(low)} to ${percent(high)}`;
  return {
    title: 'Membership: can one tell who was trained on',
    paragraphs: [
      `${m.members} reference images against ${m.others} test images, scored by the distance to the nearest synthetic one. Area ${figure(m.area)}; chance of so much or more where there is nothing to find: ${chance(m.pValue)}. Where hits are no more than false alarms, this attack finds nothing. Another may; the promise is epsilon, not this table.`,
    ],
    table: {
      head: ['false alarms allowed', 'hits', `hits, ${100 * m.confidence} % interval`, 'false alarms, upper bound'],
      rows: m.points.map((p) => [
        percent(p.aim),
        percent(p.truePositiveRate),
        interval(p.truePositiveInterval),
        percent(p.falsePositiveUpper),
      ]),
    },
  };
}

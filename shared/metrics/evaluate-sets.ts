/**
 * All measures of one synthetic set against real images that are public, in groups that can be asked for one by one. What is
 * measured here is in no ledger: real images that are not public have no place in it.
 */
import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { countByClass, type LabelledImages, selectImages, valuesPerImage } from '../imaging/images.ts';
import { PublicRandom } from '../public-random.ts';
import { Classifier, FEATURES } from './classifier.ts';
import { featureMoments, frechetDistance } from './frechet.ts';
import { intensityDistance } from './intensity.ts';
import { kernelDistance, type KernelDistance } from './kid.ts';
import { type Memorisation, memorisation, trainingDistances } from './memorisation.ts';
import { type MembershipInference, membershipInference, membershipScores } from './membership.ts';
import { type ClassSimilarity, withinClassSimilarity } from './ms-ssim.ts';
import { principalComponents, projected } from './pca.ts';
import { powerSpectrum, spectrumDistance } from './power-spectrum.ts';
import { type Prdc, prdc } from './prdc.ts';
import { slicedWasserstein } from './sliced-wasserstein.ts';
import { LEAST_TESTED, twoSampleTest, type TwoSampleTest } from './two-sample-test.ts';
import { type Augmentation, augmentation, epochsFor, type Utility, utility } from './utility.ts';

export const METRIC_GROUPS = ['utility', 'fidelity', 'diversity', 'two-sample', 'memorisation', 'membership'] as const;
export type MetricGroup = (typeof METRIC_GROUPS)[number];

export interface EvaluationSets {
  readonly synthetic: LabelledImages;
  /** Real, public, and seen by no generator: what everything is compared with. */
  readonly test: LabelledImages;
  /** Real and public, none of them in `test`: the images the generator was trained on, where those are public. */
  readonly reference?: LabelledImages;
}

export interface EvaluationOptions {
  readonly groups: readonly MetricGroup[];
  /** Of every draw; public. */
  readonly seed: string;
  /** Of every classifier; `epochsFor` when left out. */
  readonly epochs?: number;
  /** [test.n] */
  readonly subgroups?: readonly string[];
  /** Images of a set that distances are measured on, drawn by lot; 10,000 when left out. */
  readonly most?: number;
  /** Runs one measure: a caller that times them or names them passes its own. */
  readonly around?: <T>(measure: string, work: (progress: (share: number) => void) => Promise<T>) => Promise<T>;
}

/** What sets were compared by, and the figures. */
export interface Fidelity {
  /** What the network that gives features was trained on. On `synthetic` no two generators can be compared by it. */
  readonly featuresLearntOn: 'reference' | 'synthetic';
  /** What the principal axes of the pixels were fitted to. */
  readonly axesFittedTo: 'reference' | 'test';
  readonly axes: number;
  readonly onFeatures: { readonly frechet: number; readonly kernel: KernelDistance; readonly prdc: Prdc };
  readonly onPixels: { readonly frechet: number; readonly kernel: KernelDistance; readonly prdc: Prdc };
  /** Against half of the real images, by as many synthetic ones where there are: it falls with the number of images. */
  readonly slicedWasserstein: number;
  /** Of that half against as many of the other: what a perfect generator would be measured at, about. */
  readonly slicedWassersteinOfReal: number;
  readonly intensity: number;
  readonly spectrum: number;
}

export interface Evaluation {
  /** Images compared, after the draw. Copies are looked for among all of the reference. */
  readonly compared: { readonly synthetic: number; readonly test: number; readonly reference: number };
  readonly utility?: Utility | Augmentation;
  readonly fidelity?: Fidelity;
  readonly diversity?: { readonly synthetic: readonly ClassSimilarity[]; readonly real: readonly ClassSimilarity[] };
  readonly twoSample?: TwoSampleTest;
  readonly memorisation?: Memorisation;
  readonly membership?: MembershipInference;
}

/** Fewer images cannot be compared: a neighbourhood has 5. */
const LEAST = 8;
/** Images of a set that distances are measured on. */
const MOST = 10_000;
const AXES = 64;
/** Rows that principal axes are fitted to. */
const FITTED = 1000;

/**
 * Measures the groups that are asked for.
 *
 * @throws {FedError} PARAMETER_INVALID when a group needs a reference and there is none, or sets are too small or not of
 *   one shape.
 */
export async function evaluateSets(engine: Engine, sets: EvaluationSets, o: EvaluationOptions): Promise<Evaluation> {
  const asked = new Set(o.groups);
  const whole = [sets.synthetic, sets.test, ...(sets.reference ? [sets.reference] : [])];
  if (new Set(whole.map((s) => `${s.channels} ${s.size} ${s.classNames.join('\n')}`)).size > 1)
    throw new FedError('PARAMETER_INVALID', 'the sets differ in shape or classes');
  const lacking = missing(o.groups, sets, o);
  if (lacking) throw new FedError('PARAMETER_INVALID', lacking);
  const around = o.around ?? ((_, work) => work(() => undefined));
  const draw = (images: LabelledImages, name: Drawn) => rowsOf(images, drawnRows(images.n, name, o));
  const [synthetic, test] = [draw(sets.synthetic, 'synthetic'), draw(sets.test, 'test')];
  const reference = sets.reference && draw(sets.reference, 'reference');
  const d = valuesPerImage(test);
  const { seed } = o;

  let features: { real: Float32Array; fake: Float32Array } | undefined;
  const use = async (classifier: Classifier) => {
    if (asked.has('fidelity'))
      features = {
        real: (await classifier.predict(test)).features,
        fake: (await classifier.predict(synthetic)).features,
      };
  };
  const measured = asked.has('utility')
    ? await around('utility', (progress) => measureUtility(engine, sets, o, use, progress))
    : undefined;
  if (asked.has('fidelity') && features === undefined)
    await around('features', async (progress) => {
      const train = sets.reference ?? sets.synthetic;
      const classifier = await Classifier.train(engine, train, {
        epochs: o.epochs ?? epochsFor(train),
        seed,
        progress,
      });
      await use(classifier).finally(() => classifier.dispose());
    });
  const fidelity = features && (await measureFidelity(engine, { synthetic, test, reference, features }, seed, around));
  const diversity = asked.has('diversity')
    ? await around('MS-SSIM', async () => ({
        synthetic: withinClassSimilarity(synthetic, { seed }),
        real: withinClassSimilarity(test, { seed }),
      }))
    : undefined;
  const twoSample = asked.has('two-sample')
    ? await around('two-sample test', async (progress) => {
        const [real, fake] = sameShares(test, synthetic, seed);
        return twoSampleTest(engine, real, fake, { seed, epochs: o.epochs ?? epochsFor(real), progress });
      })
    : undefined;
  const copied =
    asked.has('memorisation') && sets.reference
      ? await around('memorisation', async (progress) => {
          const parts = [synthetic.pixels, test.pixels];
          const [own, heldOut] = await trainingDistances(engine, parts, sets.reference!.pixels, d, progress);
          return memorisation(own, heldOut);
        })
      : undefined;
  const membership =
    asked.has('membership') && reference
      ? await around('membership', async (progress) => {
          const half = (from: number) => ({ progress: (share: number) => progress((from + share) / 2) });
          const members = await membershipScores(engine, reference.pixels, synthetic.pixels, d, half(0));
          const others = await membershipScores(engine, test.pixels, synthetic.pixels, d, half(1));
          return membershipInference({ members, others });
        })
      : undefined;
  return {
    compared: { synthetic: synthetic.n, test: test.n, reference: reference?.n ?? 0 },
    ...(measured && { utility: measured }),
    ...(fidelity && { fidelity }),
    ...(diversity && { diversity }),
    ...(twoSample && { twoSample }),
    ...(copied && { memorisation: copied }),
    ...(membership && { membership }),
  };
}

/** Why these groups cannot be measured on what is drawn of these sets; null when they can. @param o - of the evaluation. */
export function missing(
  groups: readonly MetricGroup[],
  sets: EvaluationSets,
  o: Pick<EvaluationOptions, 'seed' | 'most'>,
): string | null {
  const needy = groups.find((group) => group === 'memorisation' || group === 'membership');
  if (needy && !sets.reference)
    return `${needy} needs real images that the generator was trained on beside those it was not (--reference)`;
  if (groups.every((group) => group === 'utility')) return null;
  const whole = [sets.synthetic, sets.test, ...(sets.reference ? [sets.reference] : [])];
  const fewest = Math.min(o.most ?? MOST, ...whole.map(({ n }) => n));
  if (fewest < LEAST) return `a set of ${fewest} images is too small for anything but utility: ${LEAST} are needed`;
  // Of what is measured: a lot of few images may leave classes out.
  const counts = (name: 'synthetic' | 'test') => {
    const { labels, classNames, n } = sets[name];
    const rows = drawnRows(n, name, o);
    return countByClass({ classNames, labels: rows === null ? labels : Int32Array.from(rows, (row) => labels[row]) });
  };
  const [ofSynthetic, ofTest] = [counts('synthetic'), counts('test')];
  const alike = ofSynthetic.reduce((sum, n, k) => sum + Math.min(n, ofTest[k]), 0);
  if (groups.includes('two-sample') && alike < LEAST_TESTED)
    return `two-sample wants ${LEAST_TESTED} images of each set in classes that both have, and there are ${alike}`;
  return null;
}

function measureUtility(
  engine: Engine,
  { synthetic, test, reference: real }: EvaluationSets,
  o: EvaluationOptions,
  use: (classifier: Classifier) => Promise<void>,
  progress: (share: number) => void,
): Promise<Utility | Augmentation> {
  const groups = o.subgroups ? { groups: o.subgroups } : {};
  const epochs = o.epochs === undefined ? {} : { epochs: o.epochs };
  const options = { ...groups, use, seed: o.seed, progress };
  if (real) return augmentation(engine, { synthetic, real, test }, { ...options, ...epochs });
  return utility(engine, synthetic, test, { ...options, epochs: o.epochs ?? epochsFor(synthetic) });
}

interface Compared {
  readonly synthetic: LabelledImages;
  readonly test: LabelledImages;
  readonly reference: LabelledImages | undefined;
  readonly features: { readonly real: Float32Array; readonly fake: Float32Array };
}

async function measureFidelity(
  engine: Engine,
  { synthetic, test, reference, features }: Compared,
  seed: string,
  around: NonNullable<EvaluationOptions['around']>,
): Promise<Fidelity> {
  const d = valuesPerImage(test);
  const { axes, pixels } = await around('principal components', async () => {
    const from = reference ?? test;
    const fitted = rowsOf(from, drawnRows(from.n, 'axes', { seed, most: FITTED }));
    const count = Math.min(AXES, d, fitted.n - 1);
    const components = principalComponents(fitted.pixels, d, count, seed);
    const real = await projected(engine, components, test.pixels);
    return { axes: count, pixels: { real, fake: await projected(engine, components, synthetic.pixels) } };
  });
  const on = async (what: string, rows: Compared['features'], width: number) => ({
    frechet: await around(`Fréchet distance on ${what}`, async () =>
      frechetDistance(featureMoments(rows.real, width), featureMoments(rows.fake, width)),
    ),
    kernel: await around(`kernel distance on ${what}`, (progress) =>
      kernelDistance(engine, rows.real, rows.fake, width, { seed, progress }),
    ),
    prdc: await around(`precision, recall, density, coverage on ${what}`, (progress) =>
      prdc(engine, rows.real, rows.fake, width, 5, progress),
    ),
  });
  const onFeatures = await on('features', features, FEATURES);
  const onPixels = await on('principal components', pixels, axes);
  const [sliced, slicedOfReal] = await around('sliced Wasserstein', async () => {
    const { first, other, fake } = halves(test, synthetic, seed);
    return [
      await slicedWasserstein(engine, first, fake, d, { seed }),
      await slicedWasserstein(engine, first, other, d, { seed }),
    ];
  });
  const [intensity, spectrum] = await around('intensity and power spectrum', async () => [
    intensityDistance(test.pixels, synthetic.pixels),
    spectrumDistance(powerSpectrum(test), powerSpectrum(synthetic)),
  ]);
  return {
    featuresLearntOn: reference ? 'reference' : 'synthetic',
    axesFittedTo: reference ? 'reference' : 'test',
    axes,
    onFeatures,
    onPixels,
    slicedWasserstein: sliced,
    slicedWassersteinOfReal: slicedOfReal,
    intensity,
    spectrum,
  };
}

type Drawn = 'synthetic' | 'test' | 'reference' | 'axes';

/**
 * Rows of at most so many images, drawn by lot: every n-th would leave out classes, whose labels may come in turn.
 * @returns null where a set is taken whole.
 */
function drawnRows(n: number, name: Drawn, o: Pick<EvaluationOptions, 'seed' | 'most'>): number[] | null {
  const { seed, most = MOST } = o;
  if (n <= most) return null;
  return Array.from(new PublicRandom(`drawn ${seed} ${name}`).permutation(n).subarray(0, most));
}
const rowsOf = (images: LabelledImages, rows: number[] | null): LabelledImages =>
  rows === null ? images : selectImages(images, rows);

/**
 * Pixels of half of the real images, of the other half, and of synthetic ones: as many of these two, where there are, since
 * the distance of small samples is larger. Classes have about the same shares in a part as in its set.
 */
function halves(real: LabelledImages, synthetic: LabelledImages, seed: string) {
  const count = Math.min(Math.floor(real.n / 2), synthetic.n);
  const byClass = (images: LabelledImages) =>
    Array.from(new PublicRandom(`halves ${seed}`).permutation(images.n)).sort((i, j) => images.labels[i] - images.labels[j]); // prettier-ignore
  const parity = (k: number) => byClass(real).filter((_, place) => place % 2 === k);
  const spread = (rows: number[]) => Array.from({ length: count }, (_, i) => rows[Math.floor((i * rows.length) / count)]); // prettier-ignore
  return {
    first: selectImages(real, parity(0)).pixels,
    other: selectImages(real, spread(parity(1))).pixels,
    fake: selectImages(synthetic, spread(byClass(synthetic))).pixels,
  };
}

/** As many images of each class from either set, drawn by lot: else a test would find the shares of the classes. */
function sameShares(a: LabelledImages, b: LabelledImages, seed: string): [LabelledImages, LabelledImages] {
  const random = new PublicRandom(`same shares ${seed}`);
  const byClass = (images: LabelledImages) => {
    const order = random.permutation(images.n);
    return images.classNames.map((_, label) => Array.from(order).filter((i) => images.labels[i] === label));
  };
  const [ofA, ofB] = [byClass(a), byClass(b)];
  const most = ofA.map((own, label) => Math.min(own.length, ofB[label].length));
  const take = (lists: number[][]) => lists.flatMap((own, label) => own.slice(0, most[label]));
  return [selectImages(a, take(ofA)), selectImages(b, take(ofB))];
}

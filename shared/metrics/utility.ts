import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { concatImages, type LabelledImages } from '../imaging/images.ts';
import { Classifier, type ClassifierTraining } from './classifier.ts';

/** How well a classifier does on a test set that the policy declares public. */
export interface Utility {
  /** Share of test images classified rightly, in [0, 1]. */
  readonly accuracy: number;
  /** The same a class; NaN for a class that the test set lacks. */
  readonly perClass: readonly number[];
  /** The same a subgroup, in order of name, where the caller named any. */
  readonly perGroup?: readonly GroupAccuracy[];
}

/** Accuracy on the test images of one subgroup: a sex, an age band, a device, as the caller has it. */
export interface GroupAccuracy {
  readonly name: string;
  readonly images: number;
  readonly accuracy: number;
}

export interface UtilityOptions extends ClassifierTraining {
  /** [test.n] the subgroup of each test image. */
  readonly groups?: readonly string[];
  /** Sees the classifier before it is disposed of: trained on `train`, or for `augmentation` on the real images alone. */
  readonly use?: (classifier: Classifier) => Promise<void>;
}

/**
 * Trains the fixed classifier on `train` and measures it on `test`. With synthetic images as `train` this is
 * train-on-synthetic, test-on-real (TSTR); with real ones, TRTR.
 *
 * @throws {FedError} PARAMETER_INVALID when there is not one group a test image.
 * @see Esteban et al. 2017, https://arxiv.org/abs/1706.02633, section 4.2
 */
export async function utility(
  engine: Engine,
  train: LabelledImages,
  test: LabelledImages,
  options: UtilityOptions,
): Promise<Utility> {
  return accuracy(test, await learnt(engine, train, test, options), options.groups);
}

/** Labels that a classifier trained on `train` gives the images of `test`. */
async function learnt(
  engine: Engine,
  train: LabelledImages,
  test: LabelledImages,
  options: UtilityOptions,
): Promise<Int32Array> {
  const classifier = await Classifier.train(engine, train, options);
  try {
    await options.use?.(classifier);
    return (await classifier.predict(test)).labels;
  } finally {
    await classifier.dispose();
  }
}

/** Accuracy of predictions [n], in all, a class, and a group where there are groups [n]. */
export function accuracy(test: LabelledImages, predicted: Int32Array, groups?: readonly string[]): Utility {
  const classes = test.classNames.length;
  const right = new Float64Array(classes);
  const all = new Float64Array(classes);
  test.labels.forEach((label, i) => {
    all[label]++;
    if (predicted[i] === label) right[label]++;
  });
  const total = right.reduce((sum, r) => sum + r, 0);
  const perClass = Array.from(right, (r, k) => r / all[k]);
  const whole = { accuracy: total / test.n, perClass };
  return groups === undefined ? whole : { ...whole, perGroup: byGroup(test, predicted, groups) };
}

function byGroup(test: LabelledImages, predicted: Int32Array, groups: readonly string[]): GroupAccuracy[] {
  if (groups.length !== test.n)
    throw new FedError('PARAMETER_INVALID', `${groups.length} subgroups for ${test.n} test images`);
  const counts = new Map<string, { images: number; right: number }>();
  groups.forEach((name, i) => {
    const own = counts.get(name) ?? { images: 0, right: 0 };
    own.images++;
    own.right += Number(predicted[i] === test.labels[i]);
    counts.set(name, own);
  });
  return [...counts]
    .map(([name, { images, right }]) => ({ name, images, accuracy: right / images }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The subgroup served worst; null where no groups were named. Small groups come out worst by chance: see `images`. */
export const worstGroup = ({ perGroup = [] }: Utility): GroupAccuracy | null =>
  perGroup.reduce<GroupAccuracy | null>(
    (worst, g) => (worst === null || g.accuracy < worst.accuracy ? g : worst),
    null,
  );

/** What synthetic images are worth alone, and what they add to real ones. */
export interface Augmentation {
  readonly onSynthetic: Utility;
  readonly onReal: Utility;
  readonly onBoth: Utility;
  /** Accuracy of both less that of real alone. */
  readonly gain: number;
  /** Of the gain, over the choice of test images: both classifiers saw the same ones. Not over first weights or seeds. */
  readonly gainStandardError: number;
  /** Gain a class; NaN where the test set lacks it. */
  readonly perClassGain: readonly number[];
  /** Gain a subgroup, where there are any. */
  readonly perGroupGain?: readonly { readonly name: string; readonly images: number; readonly gain: number }[];
}

/**
 * Train on synthetic, on real, and on both; test on the same real images. The classifier of both is shown about as many
 * images as that of real alone, in whole epochs, so that what it gains is not more training.
 *
 * @param sets.real - public images to train on, none of them in `test`.
 * @param options.epochs - of synthetic and of real images alone; `epochsFor` each when left out.
 * @see Frid-Adar et al. 2018, https://arxiv.org/abs/1803.01229, section 4, for the gain of augmentation
 */
export async function augmentation(
  engine: Engine,
  sets: { readonly synthetic: LabelledImages; readonly real: LabelledImages; readonly test: LabelledImages },
  options: Omit<UtilityOptions, 'epochs'> & { readonly epochs?: number },
): Promise<Augmentation> {
  const { synthetic, real, test } = sets;
  const { groups, progress, seed, use } = options;
  const epochs = (train: LabelledImages) => options.epochs ?? epochsFor(train);
  const both = concatImages([real, synthetic]);
  const trainings = [
    { train: synthetic, epochs: epochs(synthetic) },
    { train: real, epochs: epochs(real), ...(use ? { use } : {}) },
    { train: both, epochs: epochsOfBoth(real.n, both.n, epochs(real)) },
  ];
  const predicted: Int32Array[] = [];
  for (const [k, { train, ...own }] of trainings.entries()) {
    const part = progress ? { progress: (share: number) => progress((k + share) / trainings.length) } : {};
    predicted.push(await learnt(engine, train, test, { ...own, seed, ...part }));
  }
  return compareTrainings(test, { synthetic: predicted[0], real: predicted[1], both: predicted[2] }, groups);
}

/** How often to show real and synthetic images together: about as many images in all as `epochs` of the real ones alone. */
export const epochsOfBoth = (real: number, both: number, epochs: number): number =>
  Math.max(1, Math.round((epochs * real) / both));

/** The same from the labels [test.n] that three classifiers gave the test images. */
export function compareTrainings(
  test: LabelledImages,
  predicted: { readonly synthetic: Int32Array; readonly real: Int32Array; readonly both: Int32Array },
  groups?: readonly string[],
): Augmentation {
  const [onSynthetic, onReal, onBoth] = (['synthetic', 'real', 'both'] as const).map((set) =>
    accuracy(test, predicted[set], groups),
  );
  let [better, worse] = [0, 0];
  test.labels.forEach((label, i) => {
    const [before, after] = [predicted.real[i] === label, predicted.both[i] === label];
    better += Number(after && !before);
    worse += Number(before && !after);
  });
  const { n } = test;
  const result = {
    ...{ onSynthetic, onReal, onBoth },
    gain: (better - worse) / n,
    gainStandardError: Math.sqrt(Math.max(0, better + worse - (better - worse) ** 2 / n)) / n,
    perClassGain: onBoth.perClass.map((x, k) => x - onReal.perClass[k]),
  };
  const perGroupGain = onBoth.perGroup?.map(({ name, images, accuracy: x }, k) => ({
    ...{ name, images },
    gain: x - onReal.perGroup![k].accuracy,
  }));
  return perGroupGain === undefined ? result : { ...result, perGroupGain };
}

/** About as many steps whatever the size of the set, so that a small one is not at a disadvantage; an epoch has one. */
export const epochsFor = ({ n }: Pick<LabelledImages, 'n'>): number =>
  Math.max(3, Math.round(12_000 / Math.max(64, n)));

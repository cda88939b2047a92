import type { Engine } from '../engine/program.ts';
import type { LabelledImages } from '../imaging/images.ts';
import { Classifier, type ClassifierTraining } from './classifier.ts';

/** How well a classifier does on a test set that the policy declares public. */
export interface Utility {
  /** Share of test images classified rightly, in [0, 1]. */
  readonly accuracy: number;
  /** The same a class; NaN for a class that the test set lacks. */
  readonly perClass: readonly number[];
}

/**
 * Trains the fixed classifier on `train` and measures it on `test`. With synthetic images as `train` this is
 * train-on-synthetic, test-on-real (TSTR); with real ones, TRTR.
 *
 * @see Esteban et al. 2017, https://arxiv.org/abs/1706.02633, section 4.2
 */
export async function utility(
  engine: Engine,
  train: LabelledImages,
  test: LabelledImages,
  options: ClassifierTraining,
): Promise<Utility> {
  const classifier = await Classifier.train(engine, train, options);
  try {
    return accuracy(test, (await classifier.predict(test)).labels);
  } finally {
    await classifier.dispose();
  }
}

/** Accuracy of predictions [n], in all and a class. */
export function accuracy(test: LabelledImages, predicted: Int32Array): Utility {
  const classes = test.classNames.length;
  const right = new Float64Array(classes);
  const all = new Float64Array(classes);
  test.labels.forEach((label, i) => {
    all[label]++;
    if (predicted[i] === label) right[label]++;
  });
  const total = right.reduce((sum, r) => sum + r, 0);
  return { accuracy: total / test.n, perClass: Array.from(right, (r, k) => r / all[k]) };
}

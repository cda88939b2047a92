import { logBinomialUpperTail } from '../dp/special.ts';
import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { concatImages, type LabelledImages, selectImages } from '../imaging/images.ts';
import { PublicRandom } from '../public-random.ts';
import { Classifier } from './classifier.ts';
import { compareRanks } from './statistics.ts';

/** How well real and synthetic images are told apart by a network that has learnt to. */
export interface TwoSampleTest {
  /** Share of test images judged rightly; 0.5 where they cannot be told apart. */
  readonly accuracy: number;
  /** Standard deviation of that share if they could not: 1 / (2 √images). */
  readonly nullStd: number;
  /** Exact chance of as many right answers, or more, by tossing coins. */
  readonly pValue: number;
  /** Area under the ROC curve of the network's score; 0.5 where they cannot be told apart, below it by chance only. */
  readonly area: number;
  /** Images the test was made on: half real, half synthetic, none of them learnt from. */
  readonly images: number;
}

/** Images of each set: two to learn from and two to be tested on. */
export const LEAST_TESTED = 4;

export interface TwoSampleOptions {
  /** Of the split, the order and the first weights; public. */
  readonly seed: string;
  readonly epochs: number;
  /** Of each set at most so many images are used, half to learn from; 5,000 when left out. */
  readonly most?: number;
  readonly progress?: (share: number) => void;
}

/**
 * Classifier two-sample test: the fixed classifier learns "real or synthetic" on one half of both sets and is tested on the
 * other. Strict: a shift of brightness alone is enough to be told apart by. A p-value says that there is a difference, not whether it matters; at thousands of images it is tiny for every generator.
 *
 * The sets should hold the classes in the same shares, or those are what is found.
 *
 * @param real - public. @param synthetic - of the same shape.
 * @throws {FedError} PARAMETER_INVALID when a set has fewer than 4 images.
 * @see Lopez-Paz and Oquab 2017, section 3, https://arxiv.org/abs/1610.06545
 */
export async function twoSampleTest(
  engine: Engine,
  real: LabelledImages,
  synthetic: LabelledImages,
  { seed, epochs, most = 5000, progress }: TwoSampleOptions,
): Promise<TwoSampleTest> {
  const each = 2 * Math.floor(Math.min(real.n, synthetic.n, most) / 2);
  if (each < LEAST_TESTED)
    throw new FedError('PARAMETER_INVALID', `${real.n} and ${synthetic.n} images are too few for a test`);
  const random = new PublicRandom(`two-sample test ${seed}`);
  const halves = [synthetic, real].map((images, label) => {
    const order = Array.from(random.permutation(images.n).subarray(0, each));
    const drawn = { ...selectImages(images, order), labels: new Int32Array(each).fill(label) };
    const named = { ...drawn, classNames: ['synthetic', 'real'] };
    const range = (from: number) => Array.from({ length: each / 2 }, (_, i) => from + i);
    return { learn: selectImages(named, range(0)), judge: selectImages(named, range(each / 2)) };
  });
  const [learn, judge] = (['learn', 'judge'] as const).map((part) => concatImages(halves.map((half) => half[part])));
  const classifier = await Classifier.train(engine, learn, { epochs, seed, ...(progress ? { progress } : {}) });
  try {
    const { logits } = await classifier.predict(judge);
    const score = (i: number) => logits[2 * i + 1] - logits[2 * i];
    const scores = Float64Array.from({ length: judge.n }, (_, i) => score(i));
    const right = scores.filter((s, i) => s > 0 === (judge.labels[i] === 1)).length;
    return {
      accuracy: right / judge.n,
      nullStd: 0.5 / Math.sqrt(judge.n),
      pValue: Math.exp(logBinomialUpperTail(judge.n, 0.5, right)),
      area: compareRanks(scores.subarray(each / 2), scores.subarray(0, each / 2)).area,
      images: judge.n,
    };
  } finally {
    await classifier.dispose();
  }
}

/**
 * Does a generator repeat the images it was trained on? Measures on distances to the nearest training images, each beside
 * what images held out of training give: the distance by itself says nothing, since images of one anatomy are alike.
 *
 * Not a proof of privacy. Where training images are private, so is every figure here. Pixels are compared, not meaning: a
 * copy that is shifted or turned over is missed, so give features as rows where that matters.
 */
import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { nearestNeighbours, type Neighbours } from './neighbours.ts';
import { compareRanks, quantiles } from './statistics.ts';

/** What is measured once for each of n images, all in the unit of the rows. */
export interface TrainingDistances {
  /** [n] to the nearest training image. */
  readonly nearest: Float64Array;
  /** [n] to the second nearest. */
  readonly second: Float64Array;
  /** [n] from that nearest training image to the training image nearest to it. */
  readonly aroundNearest: Float64Array;
}

/**
 * Distances of each set of images to one training set. Give all of it: a copy of an image that is left out is not seen.
 *
 * @param sets - [n, d] each. @param training - [m, d], m ≥ 2.
 * @throws {FedError} PARAMETER_INVALID when there are fewer than two training images.
 */
export async function trainingDistances(
  engine: Engine,
  sets: readonly Float32Array[],
  training: Float32Array,
  d: number,
  progress?: (share: number) => void,
): Promise<TrainingDistances[]> {
  const values = sets.reduce((sum, set) => sum + set.length, 0);
  const found: Neighbours[] = [];
  let before = 0;
  for (const set of sets) {
    const part = (share: number) => progress?.((before + share * set.length) / values / 2);
    found.push(await nearestNeighbours(engine, set, training, d, { k: 2, progress: part }));
    before += set.length;
  }
  const nearest = (of: Neighbours) => of.indices.filter((_, at) => at % 2 === 0);
  const second = (share: number) => progress?.((1 + share) / 2);
  const around = await distancesAround(engine, new Set(found.flatMap((of) => [...nearest(of)])), training, d, second);
  return found.map((of) => ({
    nearest: of.distances.filter((_, at) => at % 2 === 0),
    second: of.distances.filter((_, at) => at % 2 === 1),
    aroundNearest: Float64Array.from(nearest(of), (j) => around.get(j)!),
  }));
}

/** Of these rows of the training set, the distance to the row nearest to each: far fewer than all pairs of rows. */
async function distancesAround(
  engine: Engine,
  of: ReadonlySet<number>,
  training: Float32Array,
  d: number,
  progress: (share: number) => void,
): Promise<Map<number, number>> {
  const rows = new Float32Array(of.size * d);
  [...of].forEach((j, r) => rows.set(training.subarray(j * d, (j + 1) * d), r * d));
  const { indices, distances } = await nearestNeighbours(engine, rows, training, d, { k: 2, progress });
  // A row finds itself first, or a copy of itself, which is as near.
  return new Map([...of].map((j, r) => [j, distances[indices[2 * r] === j ? 2 * r + 1 : 2 * r]]));
}

/**
 * Share of images that are authentic: further from their nearest training image than that one is from the rest of the
 * training set. Of fresh images from the same distribution about half are.
 *
 * Follows the paper's definition. Differs from its published code, which indexes the distances of training images by
 * numbers of synthetic ones. A copy in a training set with duplicates is not authentic.
 * @see Alaa et al. 2022, How faithful is your synthetic data?, section 3.3, https://arxiv.org/abs/2102.08921
 */
export function authenticity({ nearest, aroundNearest }: TrainingDistances): number {
  return nearest.filter((distance, i) => distance > aroundNearest[i]).length / nearest.length;
}

/**
 * Distance to the nearest training image over the distance to the second nearest, in [0, 1]: near 0 where one training
 * image stands out as the source. A copy of an image that the training set holds twice counts as 0.
 * @returns [n]
 * @see Lowe 2004, section 7.1, IJCV 60(2), 91-110, for the ratio; Zhao et al. 2021 (CTAB-GAN), section 4.4,
 *   https://arxiv.org/abs/2102.08369, for its use on synthetic data
 */
export function neighbourDistanceRatios({ nearest, second }: TrainingDistances): Float64Array {
  return nearest.map((distance, i) => (distance === 0 ? 0 : distance / second[i]));
}

export interface ImageSetMemorisation {
  readonly images: number;
  readonly authenticity: number;
  /** Median and 5th percentile of the distance to the nearest training image. */
  readonly nearestMedian: number;
  readonly nearestLowest5Percent: number;
  /** The same of the ratio of the nearest to the second nearest distance. */
  readonly ratioMedian: number;
  readonly ratioLowest5Percent: number;
}

export interface Memorisation {
  readonly synthetic: ImageSetMemorisation;
  /** What images give that nobody trained on: the figures to compare with. */
  readonly heldOut: ImageSetMemorisation;
  /**
   * Share of synthetic images nearer to a training image than 99 in 100 held-out images are, or equal to one: 0.01 for fresh
   * images, 1 for copies.
   */
  readonly copyShare: number;
  /**
   * Meehan et al.'s test for data copying, on the set as a whole: below zero where synthetic images are nearer to the
   * training set than held-out ones, in standard deviations of chance. Below -3: copying. Far above: images unlike it.
   */
  readonly copyingZ: number;
}

/**
 * Sums up distances to the training set, synthetic images beside held-out ones of the same source.
 * @see Meehan, Chaudhuri and Dasgupta 2020, section 3 (one cell), https://arxiv.org/abs/2004.05675
 */
export function memorisation(synthetic: TrainingDistances, heldOut: TrainingDistances): Memorisation {
  if (heldOut.nearest.length < 2) throw new FedError('PARAMETER_INVALID', 'fewer than two held-out images');
  const [threshold] = quantiles(heldOut.nearest, [0.01]);
  return {
    synthetic: sumUp(synthetic),
    heldOut: sumUp(heldOut),
    // Held-out images that are equal to a training image must not hide those that are copied.
    copyShare: synthetic.nearest.filter((x) => x < threshold || x === 0).length / synthetic.nearest.length,
    copyingZ: compareRanks(synthetic.nearest, heldOut.nearest).z,
  };
}

function sumUp(distances: TrainingDistances): ImageSetMemorisation {
  const [nearestMedian, nearestLowest5Percent] = quantiles(distances.nearest, [0.5, 0.05]);
  const [ratioMedian, ratioLowest5Percent] = quantiles(neighbourDistanceRatios(distances), [0.5, 0.05]);
  const images = distances.nearest.length;
  const own = authenticity(distances);
  return { images, authenticity: own, nearestMedian, nearestLowest5Percent, ratioMedian, ratioLowest5Percent };
}

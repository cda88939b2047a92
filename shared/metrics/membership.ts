/**
 * Membership inference: how many of those who were in the data are found at how few false alarms. The measure of Carlini et
 * al. 2022, section III (https://arxiv.org/abs/2112.03570): averages hide an attack that is certain of a few. Scores
 * come from any attack; `membershipScores` is the simplest on released images.
 *
 * It finds leaks and proves no absence of them: another attack may score better.
 */
import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { nearestNeighbours } from './neighbours.ts';
import { compareRanks, lowerLimit, upperLimit } from './statistics.ts';

/** One threshold, taken from the scores of those who were not in the data. */
export interface MembershipPoint {
  /** Share of false alarms aimed at. */
  readonly aim: number;
  /** Scores above it count as "was in the data". */
  readonly threshold: number;
  /** Share of members above the threshold. */
  readonly truePositiveRate: number;
  /** Exact two-sided interval (Clopper and Pearson 1934) of the rate at this very threshold. */
  readonly truePositiveInterval: readonly [number, number];
  /** Share of the others above the threshold, at most `aim`. */
  readonly falsePositiveRate: number;
  /**
   * One-sided exact bound on the share of false alarms to come. The threshold was chosen on the same others; as an order
   * statistic its rate has a beta distribution whatever the scores' own is, and that is accounted for (Wilks 1941). Far
   * above `aim` where there are too few others to tell.
   */
  readonly falsePositiveUpper: number;
}

export interface MembershipInference {
  readonly members: number;
  readonly others: number;
  /** Area under the ROC curve: 0.5 where members and others score alike. */
  readonly area: number;
  /** Of "members and others score alike", two-sided (Mann and Whitney). */
  readonly pValue: number;
  readonly confidence: number;
  readonly points: readonly MembershipPoint[];
}

/**
 * True positive rates at low false positive rates.
 *
 * @param scores.members - of those in the data; higher means more likely a member.
 * @param scores.others - of those who were not, from the same source, none of them used to make the scores.
 * @param options.aims - false positive rates in (0, 1); 0.001, 0.01 and 0.1 when left out.
 * @throws {FedError} PARAMETER_INVALID when either is empty, a score is no number, or an aim is out of range.
 */
export function membershipInference(
  { members, others }: { readonly members: ArrayLike<number>; readonly others: ArrayLike<number> },
  options: { readonly aims?: readonly number[]; readonly confidence?: number } = {},
): MembershipInference {
  const { aims = [0.001, 0.01, 0.1], confidence = 0.95 } = options;
  const wrong = [...aims, confidence].find((x) => !(x > 0 && x < 1));
  if (wrong !== undefined) throw new FedError('PARAMETER_INVALID', `${wrong} is no rate in (0, 1)`);
  const { area, pValue } = compareRanks(members, others);
  const descending = Float64Array.from(others).sort().reverse();
  const tail = 1 - confidence;
  const points = aims.map((aim): MembershipPoint => {
    // At most this many of the others are above the threshold, since it is one of them and "above" is strict.
    const allowed = Math.floor(aim * others.length);
    const threshold = descending[allowed];
    const hits = countAbove(members, threshold);
    return {
      aim,
      threshold,
      truePositiveRate: hits / members.length,
      truePositiveInterval: [lowerLimit(hits, members.length, tail / 2), upperLimit(hits, members.length, tail / 2)],
      falsePositiveRate: countAbove(others, threshold) / others.length,
      falsePositiveUpper: upperLimit(allowed, others.length, tail),
    };
  });
  return { members: members.length, others: others.length, area, pValue, confidence, points };
}

function countAbove(scores: ArrayLike<number>, threshold: number): number {
  let count = 0;
  for (let i = 0; i < scores.length; i++) if (scores[i] > threshold) count++;
  return count;
}

/**
 * Scores of the full black-box attack of GAN-Leaks: minus the distance to the nearest synthetic image. With `reference`,
 * images that cannot hold any of these (public ones, or another generator's), the distance to the nearest of those is
 * added, which takes out how ordinary an image is: the calibrated attack.
 *
 * @param images - [n, d]. @param synthetic - [k, d]. @returns [n], in the unit of the rows.
 * @see Chen et al. 2020, sections 4.1 and 4.5, https://arxiv.org/abs/1909.03935
 */
export async function membershipScores(
  engine: Engine,
  images: Float32Array,
  synthetic: Float32Array,
  d: number,
  options: { readonly reference?: Float32Array; readonly progress?: (share: number) => void } = {},
): Promise<Float64Array> {
  const { reference, progress } = options;
  const parts = reference === undefined ? 1 : 2;
  const near = async (set: Float32Array, part: number) =>
    (await nearestNeighbours(engine, images, set, d, { progress: (share) => progress?.((part + share) / parts) }))
      .distances;
  const scores = (await near(synthetic, 0)).map((x) => -x);
  if (reference === undefined) return scores;
  const ordinary = await near(reference, 1);
  return scores.map((score, i) => score + ordinary[i]);
}

/**
 * Membership inference on released images: is a picture nearer to its nearest synthetic neighbour when it was in the
 * data? The attack of GAN-Leaks in its full black-box form (Chen et al. 2020, arXiv 1909.03935), reported as hits at few
 * false alarms (Carlini et al. 2022, arXiv 2112.03570). It finds copies; that it finds nothing proves nothing.
 */
import { FedError } from '../errors.ts';
import { compareRanks, lowerLimit, upperLimit } from '../metrics/statistics.ts';

/**
 * Euclidean distance of each image to the nearest synthetic one.
 * @param images - [n, d]; @param synthetic - [k, d].
 */
export function nearestDistances(images: Float32Array, synthetic: Float32Array, d: number): Float64Array {
  const [n, k] = [images.length / d, synthetic.length / d];
  if (!(Number.isInteger(n) && Number.isInteger(k) && k > 0))
    throw new FedError('PARAMETER_INVALID', `${images.length} and ${synthetic.length} values are no rows of ${d}`);
  const nearest = new Float64Array(n).fill(Infinity);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < k; j++) {
      let sum = 0;
      // Most candidates are further away than the nearest so far long before the last pixel.
      for (let t = 0; t < d && sum < nearest[i]; t++) sum += (images[i * d + t] - synthetic[j * d + t]) ** 2;
      if (sum < nearest[i]) nearest[i] = sum;
    }
  return nearest.map(Math.sqrt);
}

/** One threshold: what was hit and what was alarmed, of those it was not chosen on. */
export interface OperatingPoint {
  /** Share of false alarms that the threshold was chosen for. */
  readonly aim: number;
  readonly truePositiveRate: number;
  readonly falsePositiveRate: number;
}

export interface MembershipVerdict {
  readonly members: number;
  readonly others: number;
  readonly area: number;
  readonly points: readonly OperatingPoint[];
  /** Null where nothing is claimed. */
  readonly claimed: number | null;
  readonly delta: number;
  /** Largest epsilon that some point refutes, all points together at `confidence`. */
  readonly lowerBound: number;
  readonly confidence: number;
  readonly refuted: boolean;
}

/** At 0 the threshold is the highest score of those it is chosen on. */
const AIMS = [0, 0.01, 0.05, 0.2] as const;

/** Two intervals a point. */
const tailOf = (confidence: number): number => (1 - confidence) / (2 * AIMS.length);

/** More false alarms than this the strictest threshold has in 1 of 256 cases, when all members score higher. */
const CHANCE_ALARMS = 7;

/**
 * How many patients, each in the data by a fair coin, it takes until an attack that knows every member refutes a claim: with
 * fewer, the control that plants copies finds nothing. @returns at least `least`, at most `most`.
 */
export function patientsToRefute(
  claimed: number,
  o: { least: number; most: number; delta: number; confidence?: number },
): number {
  const each = tailOf(o.confidence ?? 0.95);
  for (let n = o.least; n < o.most; n += 20) {
    // Coins may fall four standard deviations short, on either side.
    const side = Math.floor(n / 2 - 2 * Math.sqrt(n));
    const bound = Math.log(
      (lowerLimit(side, side, each) - o.delta) / upperLimit(CHANCE_ALARMS, Math.floor(side / 2), each),
    );
    if (bound > claimed) return n;
  }
  return o.most;
}

/**
 * Thresholds are chosen on the first half of those who were not in the data; false alarms are counted on the second.
 * @param scores - higher: more likely a member.
 */
export function judgeMembership(p: {
  readonly members: ArrayLike<number>;
  readonly others: ArrayLike<number>;
  readonly claimed: number | null;
  readonly delta: number;
  readonly confidence?: number;
}): MembershipVerdict {
  const { members, others, claimed, delta, confidence = 0.95 } = p;
  if (members.length < 1 || others.length < 2) throw new FedError('PARAMETER_INVALID', 'too few to compare');
  const all = Array.from(others);
  const chooseOn = all.filter((_, i) => i % 2 === 0).sort((a, b) => b - a);
  const countOn = all.filter((_, i) => i % 2 === 1);
  const each = tailOf(confidence);
  let lowerBound = 0;
  const points = AIMS.map((aim): OperatingPoint => {
    const threshold = chooseOn[Math.floor(aim * chooseOn.length)];
    const hits = Array.from(members).filter((s) => s > threshold).length;
    const alarms = countOn.filter((s) => s > threshold).length;
    const least = lowerLimit(hits, members.length, each);
    const most = upperLimit(alarms, countOn.length, each);
    if (least > delta) lowerBound = Math.max(lowerBound, Math.log((least - delta) / most));
    return { aim, truePositiveRate: hits / members.length, falsePositiveRate: alarms / countOn.length };
  });
  return {
    members: members.length,
    others: others.length,
    area: compareRanks(members, others).area,
    points,
    claimed,
    delta,
    lowerBound,
    confidence,
    refuted: claimed !== null && lowerBound > claimed,
  };
}

/**
 * Membership inference on released images: is a picture nearer to its nearest synthetic neighbour when it was in the
 * data? The attack of GAN-Leaks in its full black-box form (Chen et al. 2020, arXiv 1909.03935), reported as hits at few
 * false alarms (Carlini et al. 2022, arXiv 2112.03570). It finds copies; that it finds nothing proves nothing.
 */
import { logBinomialUpperTail } from '../dp/special.ts';
import { FedError } from '../errors.ts';

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

/** Chance that a member scores above one who is not, ties halved. */
export function areaUnderCurve(members: ArrayLike<number>, others: ArrayLike<number>): number {
  let above = 0;
  for (let i = 0; i < members.length; i++)
    for (let j = 0; j < others.length; j++) above += members[i] > others[j] ? 1 : members[i] === others[j] ? 0.5 : 0;
  return above / (members.length * others.length);
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

const AIMS = [0.01, 0.05, 0.2] as const;

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
  // Two intervals a point.
  const each = (1 - confidence) / (2 * AIMS.length);
  let lowerBound = 0;
  const points = AIMS.map((aim): OperatingPoint => {
    const threshold = chooseOn[Math.floor(aim * chooseOn.length)];
    const hits = Array.from(members).filter((s) => s > threshold).length;
    const alarms = countOn.filter((s) => s > threshold).length;
    const least = lowerLimit(hits, members.length, each);
    const most = 1 - lowerLimit(countOn.length - alarms, countOn.length, each);
    if (least > delta) lowerBound = Math.max(lowerBound, Math.log((least - delta) / most));
    return { aim, truePositiveRate: hits / members.length, falsePositiveRate: alarms / countOn.length };
  });
  return {
    members: members.length,
    others: others.length,
    area: areaUnderCurve(members, others),
    points,
    claimed,
    delta,
    lowerBound,
    confidence,
    refuted: claimed !== null && lowerBound > claimed,
  };
}

/** Clopper and Pearson 1934: the least chance at which so many successes, or more, are not rarer than `tail`. */
export function lowerLimit(successes: number, trials: number, tail: number): number {
  if (successes === 0) return 0;
  let [low, high] = [0, 1];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (Math.exp(logBinomialUpperTail(trials, middle, successes)) < tail) low = middle;
    else high = middle;
  }
  return low;
}

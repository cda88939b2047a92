/**
 * The one pair of distributions the tight accountant knows: P, a mixture of normals shifted by whole numbers, against
 * Q, the normal without a shift, both of deviation σ in units of the sensitivity. It is the worst case of the Poisson-sampled
 * Gaussian when patients are removed, and with P and Q swapped when they are added (Zhu, Dong and Wang 2022, arXiv
 * 2106.08567); a group of k patients shifts by Binomial(k, q) sensitivities, one patient by one with probability q.
 */
import { logGamma, normalCdf } from './special.ts';

/** P = Σ weights[j]·N(j, σ²), Q = N(0, σ²). */
export interface ShiftMixture {
  readonly sigma: number;
  /** weights[0], and weights[0] - 1, kept apart because either may be tiny. */
  readonly rest: number;
  readonly restMinus1: number;
  /** Weight of each shift 1, 2, …; entry 0 is shift 1. */
  readonly shifted: Float64Array;
}

/** Noise beyond which an event is charged as if it had this much: it dominates, and its cost is nothing already. */
const MOST_SIGMA = 1e8;
/** Rates below which an event is charged as if it had this one. */
const LEAST_RATE = 1e-10;

/**
 * Poisson sampling at rate q, noise σ, and a group of patients that is there or not; null when it cannot be bounded.
 * @param group - how many patients, 1 to 64.
 */
export function shiftMixture(q: number, sigma: number, group = 1): ShiftMixture | null {
  if (!(q > 0 && q <= 1 && sigma > 0 && sigma < Infinity)) return null;
  if (!Number.isInteger(group) || group < 1 || group > 64) return null;
  const rate = Math.max(q, LEAST_RATE);
  const shifted = Float64Array.from({ length: group }, (_, i) => binomial(group, rate, i + 1));
  const logRest = group * Math.log1p(-rate);
  const capped = Math.min(sigma, MOST_SIGMA);
  return { sigma: capped, rest: Math.exp(logRest), restMinus1: Math.expm1(logRest), shifted };
}

function binomial(n: number, q: number, k: number): number {
  if (q === 1) return k === n ? 1 : 0;
  const log = logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1) + k * Math.log(q) + (n - k) * Math.log1p(-q);
  return n === 1 ? q : Math.exp(log);
}

/** ln Σ_j weights[j] e^((2jx - j²)/2σ²) over the shifts, and its derivative in x. */
function logShifted({ sigma, shifted }: ShiftMixture, x: number): { value: number; slope: number } {
  const s2 = sigma * sigma;
  let largest = -Infinity;
  for (let i = 0; i < shifted.length; i++)
    if (shifted[i] > 0) largest = Math.max(largest, Math.log(shifted[i]) + ((i + 1) * (x - (i + 1) / 2)) / s2);
  let sum = 0;
  let weighted = 0;
  for (let i = 0; i < shifted.length; i++) {
    if (!(shifted[i] > 0)) continue;
    const j = i + 1;
    const term = Math.exp(Math.log(shifted[i]) + (j * (x - j / 2)) / s2 - largest);
    sum += term;
    weighted += (j * term) / s2;
  }
  return { value: largest + Math.log(sum), slope: weighted / sum };
}

/** ln P(x)/Q(x): increasing in x. */
export function lossAt(m: ShiftMixture, x: number): number {
  const { value } = logShifted(m, x);
  if (m.rest === 0) return value;
  if (value > 30) return value + Math.log1p(m.rest * Math.exp(-value));
  const near1 = Math.exp(value) + m.restMinus1;
  return near1 > -0.5 ? Math.log1p(near1) : Math.log(Math.exp(value) + m.rest);
}

/** e^epsilon less the weight of what is not shifted, without cancellation near either end. */
export const ratioAboveRest = ({ rest, restMinus1 }: ShiftMixture, epsilon: number): number =>
  epsilon > -1 ? Math.expm1(epsilon) - restMinus1 : Math.exp(epsilon) - rest;

/** Where the loss is `epsilon`; -Infinity when it is larger everywhere. */
export function pointOfLoss(m: ShiftMixture, epsilon: number): number {
  const logTarget =
    m.rest === 0
      ? epsilon
      : epsilon > 30
        ? epsilon + Math.log1p(-m.rest * Math.exp(-epsilon))
        : Math.log(ratioAboveRest(m, epsilon));
  if (!(logTarget > -Infinity)) return -Infinity;
  const { sigma, shifted } = m;
  const s2 = sigma * sigma;
  // Every term alone gives a point at or right of the one sought; from the right, Newton on a convex function is monotone.
  let x = Infinity;
  for (let i = 0; i < shifted.length; i++)
    if (shifted[i] > 0) x = Math.min(x, (s2 * (logTarget - Math.log(shifted[i]))) / (i + 1) + (i + 1) / 2);
  if (shifted.length === 1) return x;
  for (let round = 0; round < 60; round++) {
    const { value, slope } = logShifted(m, x);
    const next = x - (value - logTarget) / slope;
    if (!(next < x)) break;
    x = next;
  }
  return x;
}

/** Losses at the two ends beyond which lies about `tail` of the mass. */
export function lossRange(m: ShiftMixture, tail: number): { readonly low: number; readonly high: number } {
  const reach = Math.sqrt(-2 * Math.log(tail)) * m.sigma;
  return { low: lossAt(m, -reach), high: lossAt(m, m.shifted.length + reach) };
}

const LOG_SQRT_2PI = 0.5 * Math.log(2 * Math.PI);

/** A point, and what lies beyond it: kept for the bin on either side, and not worked out where neither needs it. */
interface Normal {
  readonly z: number;
  /** Φ(-|z|): the smaller of the two sides, which has all its digits; NaN until it is asked for. */
  tail: number;
}
const normalAt = (z: number): Normal => ({ z, tail: NaN });
/** NaN is a point's tail when its z is. */
function tailOf(at: Normal): number {
  if (Number.isNaN(at.tail)) at.tail = normalCdf(-Math.abs(at.z));
  return at.tail;
}

/** Φ(b) - Φ(a) for a ≤ b, to about 1e-13 relative, far out in either tail too. */
function between(a: Normal, b: Normal): number {
  const width = b.z - a.z;
  if (!(width > 0)) return 0;
  const middle = (a.z + b.z) / 2;
  // Narrow: the midpoint density with its next two terms; the third is below 1e-13.
  if (width < 0.02 && Math.abs(middle) * width < 0.05) {
    const m2 = middle * middle;
    const w2 = width * width;
    const bend = 1 + (w2 / 24) * (m2 - 1) + ((w2 * w2) / 1920) * (m2 * m2 - 6 * m2 + 3);
    return width * bend * Math.exp(-m2 / 2 - LOG_SQRT_2PI);
  }
  if (a.z >= 0) return tailOf(a) - tailOf(b);
  return b.z <= 0 ? tailOf(b) - tailOf(a) : 1 - tailOf(b) - tailOf(a);
}

/** The same from two numbers. */
export const normalBetween = (a: number, b: number): number => between(normalAt(a), normalAt(b));

/** A point with what is to its left, under Q and under every shift of P. */
export interface Edge {
  readonly x: number;
  readonly base: Normal;
  readonly shifted: readonly Normal[];
}

/** What `massBetween` needs to know of an end of a bin. */
export function edgeAt(m: ShiftMixture, x: number): Edge {
  const shifted: Normal[] = [];
  for (let i = 0; i < m.shifted.length; i++) shifted.push(normalAt((x - i - 1) / m.sigma));
  return { x, base: normalAt(x / m.sigma), shifted };
}

/** Mass of (from, to] under Q, and under the shifted part of P. P's own is `shifted + rest·base`. */
export function massBetween(m: ShiftMixture, from: Edge, to: Edge): { base: number; shifted: number } {
  let shifted = 0;
  for (let i = 0; i < m.shifted.length; i++)
    if (m.shifted[i] > 0) shifted += m.shifted[i] * between(from.shifted[i], to.shifted[i]);
  return { base: between(from.base, to.base), shifted };
}

/** Variance of the loss, the larger of both directions: by a rough sum, since only the width of the grid depends on it. */
export function lossVariance(m: ShiftMixture): number {
  const variance = (weightOf: (shift: number) => number): number => {
    let [sum, first, second] = [0, 0, 0];
    for (let shift = 0; shift <= m.shifted.length; shift++) {
      const weight = weightOf(shift);
      if (!(weight > 0)) continue;
      for (let z = -8; z <= 8; z += 0.25) {
        const mass = weight * Math.exp((-z * z) / 2);
        const loss = lossAt(m, shift + m.sigma * z);
        sum += mass;
        first += mass * loss;
        second += mass * loss * loss;
      }
    }
    return second / sum - (first / sum) ** 2;
  };
  const removed = variance((shift) => (shift === 0 ? m.rest : m.shifted[shift - 1]));
  return Math.max(
    removed,
    variance((shift) => (shift === 0 ? 1 : 0)),
  );
}

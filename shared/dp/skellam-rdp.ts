/**
 * Rényi accounting of pooled releases: Skellam noise on a vector of whole numbers, patients sampled by Poisson.
 *
 * One release. For P the noise and Q the noise moved by a whole-number vector of norms Δ2, Δ1, at whole orders α ≥ 2,
 *   D_α(Q ‖ P) ≤ α Δ2²/2μ + min( ((2α-1) Δ2² + 6 Δ1)/4μ², 3 Δ1/2μ ),
 * μ the variance: Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995), corollary 3.6 of theorem 3.5.
 *
 * Sampling. Whatever the others' draws and the rounding's dither, the output is P, or (1-q) P + q Q with the patient
 * there. Of the two directions the moment of the mixture under P is the larger: reflecting x to Δ - x exchanges P and Q
 * and leaves the counting measure as it is, which is what Mironov, Talwar and Zhang 2019 (arXiv 1908.10530, theorem 5)
 * ask for. Its moment, multiplied out, is Σ C(α,k) (1-q)^(α-k) q^k E_P[(Q/P)^k]: the terms k = 0 and 1 have moment 1,
 * and (k-1) times the bound above is the logarithm of the others. That is the amplification of Zhu and Wang 2019
 * ("Poisson subsampled Rényi differential privacy", theorem 6) for pairs whose larger direction is known; the factor 3
 * of their theorem 5, for other mechanisms, is not needed. By joint convexity draws and dither may be averaged over.
 *
 * Between whole orders (α-1) D_α, the logarithm of a moment, is convex in α, and zero at 1: the chord bounds it.
 * An upper bound, and a near one: tests compare it with sums over the exact densities. Not audited outside.
 */
import type { PoissonSkellamEvent } from './event.ts';
import { logAdd } from './special.ts';

/** Largest whole order that is summed; beyond it the cost is infinite. */
const MAX_ORDER = 4096;

type Release = Readonly<Pick<PoissonSkellamEvent, 'l2' | 'l1' | 'variance'>>;

/** Corollary 3.6. @param alpha - a whole number ≥ 2. Infinity for parameters out of range. */
export function rdpSkellam({ l2, l1, variance }: Release, alpha: number): number {
  if (!(l2 >= 0 && l1 >= 0 && variance > 0 && variance < Infinity) || !(Number.isInteger(alpha) && alpha >= 2))
    return Infinity;
  const second = ((2 * alpha - 1) * l2 * l2 + 6 * l1) / (4 * variance * variance);
  const first = (3 * l1) / (2 * variance);
  const bound = (alpha * l2 * l2) / (2 * variance) + Math.min(second, first);
  return Number.isNaN(bound) ? Infinity : bound;
}

/** (α-1) D_α of one sampled release at a whole order α ≥ 1, at most. */
function logMoment(q: number, release: Release, alpha: number): number {
  if (alpha === 1) return 0;
  if (q === 1) return (alpha - 1) * rdpSkellam(release, alpha);
  // As in rdp.ts: weights add up to one, so what is above one is a sum of positive terms over k ≥ 2.
  let logBinomial = Math.log(alpha);
  let logExcess = -Infinity;
  for (let k = 2; k <= alpha; k++) {
    logBinomial += Math.log((alpha - k + 1) / k);
    const exponent = (k - 1) * rdpSkellam(release, k);
    const logExpm1 = exponent + Math.log(-Math.expm1(-exponent));
    logExcess = logAdd(logExcess, logBinomial + k * Math.log(q) + (alpha - k) * Math.log1p(-q) + logExpm1);
  }
  return logExcess > 0 ? logExcess + Math.log1p(Math.exp(-logExcess)) : Math.log1p(Math.exp(logExcess));
}

/**
 * RDP of one sampled pooled release, in either direction of add-or-remove-one.
 *
 * Guarantee: never below zero, never NaN. Parameters out of range, and no noise, cost infinity.
 * @param alpha - order, in (1, 4096].
 */
export function rdpSampledSkellam(sampleRate: number, release: Release, alpha: number): number {
  if (!(sampleRate > 0 && sampleRate <= 1) || !(alpha > 1 && alpha <= MAX_ORDER)) return Infinity;
  const below = Math.floor(alpha);
  const share = alpha - below;
  const low = logMoment(sampleRate, release, below);
  const chord = share === 0 ? low : (1 - share) * low + share * logMoment(sampleRate, release, below + 1);
  const rdp = chord / (alpha - 1);
  return Number.isNaN(rdp) ? Infinity : Math.max(rdp, Number.MIN_VALUE);
}

/** RDP of one occurrence at each order. */
export const sampledSkellamCurve = (event: PoissonSkellamEvent, orders: readonly number[]): Float64Array =>
  Float64Array.from(orders, (alpha) => rdpSampledSkellam(event.sampleRate, event, alpha));

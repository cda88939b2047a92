/**
 * The numbers of a pooled release: a sum over the patients of all sites, on a lattice of whole numbers, to which every
 * site adds its share of Skellam noise. Pure functions of public numbers; the site's step, the accountant and the
 * coordinator all take them from here.
 *
 * Rounding. A site rounds its *sum*, not each patient. Sums x and x + g of two neighbouring data sets are rounded with
 * the same dither u, uniform in [0, 1) and independent of the data: floor(x + g + u) - floor(x + u). Given x, the
 * fraction v of x + u is uniform, and the difference is floor(v + g): it has the law of g rounded at random, up with
 * the probability of its fraction, independent over coordinates. So the norm of one patient's rounded gradient is what
 * counts, as if patients were rounded one by one. That norm is at most c + √d always, and, but for a share `beta` of
 * the dithers, at most √(c² + d/4 + √(2 ln 1/β)(c + √d/2)) (Hoeffding; Kairouz, Liu and Steinke 2021, arXiv 2102.06387,
 * the bound under conditional rounding). The dither counts as public; `beta` a step is added to delta. Not audited.
 */
import { FedError } from '../errors.ts';
import { FLOAT_SLACK } from './noised.ts';

/** A lattice step is cut into so many before the dither decides: all rounding is arithmetic of whole numbers. */
export const FINE = 2 ** 20;
/** Share of the dithers with which a rounded gradient may be longer than accounted: added to delta at every step. */
export const ROUNDING_BETA = 2 ** -60;

/** Public numbers of a pooled release. */
export interface PooledRelease {
  /** Lattice steps in the clip norm. */
  readonly stepsPerClip: number;
  /** At least the number of values in a vector. */
  readonly coordinates: number;
  /** σ: standard deviation of the noise that is left when all that may go has gone, over the sensitivity. */
  readonly noiseMultiplier: number;
}

/** How far one patient moves a pooled sum, and the noise that hides it; all in lattice steps. */
export interface LatticeSensitivity {
  readonly l2: number;
  readonly l1: number;
  /** Variance of the noise in every sum that is opened, at least. A whole number; 0 without noise. */
  readonly variance: number;
}

/**
 * Guarantee: `l2` and `l1` bound the difference of two neighbouring rounded sums but for a share `ROUNDING_BETA` of the
 * dithers; √variance is at least σ·l2.
 * @throws {FedError} PARAMETER_INVALID
 */
export function latticeSensitivity({ stepsPerClip, coordinates, noiseMultiplier }: PooledRelease): LatticeSensitivity {
  if (!(stepsPerClip >= 1 && coordinates >= 1 && noiseMultiplier >= 0 && noiseMultiplier < Infinity))
    throw new FedError('PARAMETER_INVALID', `stepsPerClip=${stepsPerClip}, noiseMultiplier=${noiseMultiplier}`);
  const root = Math.sqrt(coordinates);
  // What float32 may add to a clipped gradient, and the rounding to 1/FINE of a step.
  const c = stepsPerClip * (1 + FLOAT_SLACK) + root / FINE;
  const spread = Math.sqrt(2 * Math.log(1 / ROUNDING_BETA)) * (c + root / 2);
  const l2 = Math.min(c + root, Math.sqrt(c * c + coordinates / 4 + spread));
  // Of a vector of whole numbers: |k| ≤ k².
  const l1 = Math.min(root * l2, l2 * l2);
  return { l2, l1, variance: Math.ceil((noiseMultiplier * l2) ** 2) };
}

/** What of the sites of a round may be missing from a sum, or work against the others. */
export interface ShareTerms {
  readonly invited: number;
  readonly maxDropouts: number;
  readonly maxColluders: number;
}

/**
 * Variance of one site's share of the noise: a whole number, in lattice steps squared.
 *
 * Guarantee: any sum of at least `invited - maxDropouts` sites, of which at most `maxColluders` subtract their shares,
 * keeps at least `variance`.
 * @throws {FedError} PARAMETER_INVALID when nobody would be left to make noise.
 */
export function shareVariance(variance: number, { invited, maxDropouts, maxColluders }: ShareTerms): number {
  const honest = invited - maxDropouts - maxColluders;
  if (!(honest >= 1))
    throw new FedError('PARAMETER_INVALID', `${invited} sites, ${maxDropouts} may be gone, ${maxColluders} collude`);
  return Math.ceil(variance / honest);
}

/** Tails of the noise beyond this exponent are cut off: each has less than e^-88 of the mass, 2^-126. */
const TAIL = 88;

/**
 * How far a draw of Skellam noise may go: beyond it lies less than 2^-125 of the mass, by Bernstein's inequality for
 * ln E e^(θX) = μ(cosh θ - 1), which is at most μθ²/2 / (1 - θ/3): P[X ≥ t] ≤ exp(-t² / 2(μ + t/3)).
 */
export function skellamReach(variance: number): number {
  if (variance === 0) return 0;
  const third = TAIL / 3;
  return Math.ceil(third + Math.sqrt(third * third + 2 * TAIL * variance));
}

/** The largest value, in lattice steps, that an honest site can send: every place taken, all pulling one way. */
export const integerLimit = (places: number, stepsPerClip: number, share: number): number =>
  places * (Math.ceil(stepsPerClip * (1 + FLOAT_SLACK)) + 1) + skellamReach(share);

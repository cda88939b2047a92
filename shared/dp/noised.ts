/**
 * Step 3 of 9, the noise: what is private and what is not, as types. A `ClippedSum` holds patients' data; a `NoisedSum`
 * does not, in the sense of the event that was charged for it; the compiler takes neither for the other, and
 * `privatize` alone makes the second from the first.
 */
import { FedError } from '../errors.ts';
import { LATTICE_SIGMA, type LatticeGaussian } from './gaussian.ts';

declare const clipped: unique symbol;
declare const noised: unique symbol;
declare const averaged: unique symbol;

/** Private. A sum over patients, each of whom added a vector of L2 norm at most `clipNorm`. Never leaves the process. */
export interface ClippedSum {
  readonly [clipped]: true;
  /** [d], in the unit of the gradients. */
  readonly values: Float64Array;
  readonly clipNorm: number;
}

/** Clipped and noised; free of further cost. Still a sum. */
export interface NoisedSum {
  readonly [noised]: true;
  /** [d], in the unit of the gradients. */
  readonly values: Float64Array;
  readonly clipNorm: number;
  readonly noiseMultiplier: number;
}

/** A noised sum over the *expected* batch, which is public: what an optimiser takes. */
export interface NoisedGradient {
  readonly [averaged]: true;
  /** [d]. */
  readonly values: Float32Array;
  readonly clipNorm: number;
  readonly noiseMultiplier: number;
}

/**
 * DANGER: declares that `values` is a sum of one vector a patient, each of L2 norm at most `clipNorm`, and of nothing
 * else. Nothing here can check it, and the whole privacy claim rests on it. Only code that clips may call this.
 *
 * @param values - [d]; floats of 64 bits are taken over: whoever gave them does not write to them again.
 * @throws {FedError} PARAMETER_INVALID on `clipNorm`.
 */
export function dangerouslyTrustAsClippedSum(values: Float32Array | Float64Array, clipNorm: number): ClippedSum {
  if (!(clipNorm > 0 && clipNorm < Infinity)) throw new FedError('PARAMETER_INVALID', `clipNorm=${clipNorm}`);
  return { values: values instanceof Float64Array ? values : new Float64Array(values), clipNorm } as ClippedSum;
}

/**
 * Share of `clipNorm` by which a patient may exceed it through 32-bit arithmetic: rounding in norms, in scaling and in
 * sums over micro-batches. Paid in noise, as is the rounding to the lattice.
 */
export const FLOAT_SLACK = 2 ** -10;

/** Coordinates count at most this many steps of the lattice: far from where whole numbers end in a float64. */
const MAX_STEPS = 2 ** 50;

/**
 * The step of the lattice and the standard deviation of the noise, for a sum of `d` coordinates.
 *
 * Guarantee: rounding to the lattice moves the difference of two neighbouring sums by at most √d steps, so the true
 * sensitivity is C·(1 + FLOAT_SLACK) + √d·step, and `std` is exactly `noiseMultiplier` times that.
 * @throws {FedError} PARAMETER_INVALID when d is so large that rounding would double the noise (10^12 at σ = 2).
 */
export function latticeFor(d: number, clipNorm: number, noiseMultiplier: number): { step: number; std: number } {
  const share = (noiseMultiplier * Math.sqrt(d)) / LATTICE_SIGMA;
  if (!(share < 0.5)) throw new FedError('PARAMETER_INVALID', `${d} coordinates at noiseMultiplier=${noiseMultiplier}`);
  const std = (noiseMultiplier * clipNorm * (1 + FLOAT_SLACK)) / (1 - share);
  return { step: std / LATTICE_SIGMA, std };
}

/**
 * Step 3 of 9: adds Gaussian noise, once.
 *
 * Guarantee: for sums whose patients obey the clip, one Gaussian mechanism of `noiseMultiplier` and sensitivity 1 (in
 * units of `clipNorm`), in the arithmetic of the machine and not only on paper: see `gaussian.ts`. A
 * `noiseMultiplier` of 0 adds nothing and costs infinity.
 *
 * @param sum - [d]. The standard deviation of the noise is σ·C, and 0.12 % more at a million coordinates and σ = 1.
 * @returns [d]: a sum, not a mean.
 * @throws {FedError} PARAMETER_INVALID, on public parameters only. Private values never throw: an entry out of range
 *   is brought to the end of the range, which moves no two sums apart, and NaN counts as zero. A patient who makes
 *   NaN is for the clip to drop; here nothing is left to tell whose it was.
 * @see Abadi et al. 2016, Algorithm 1, https://arxiv.org/abs/1607.00133
 */
export function privatize(
  sum: ClippedSum,
  p: { readonly clipNorm: number; readonly noiseMultiplier: number },
  gaussian: LatticeGaussian,
): NoisedSum {
  const { clipNorm, noiseMultiplier } = p;
  if (clipNorm !== sum.clipNorm)
    throw new FedError('PARAMETER_INVALID', `clipNorm=${clipNorm}, but the sum was clipped at ${sum.clipNorm}`);
  if (!(noiseMultiplier >= 0 && noiseMultiplier < Infinity))
    throw new FedError('PARAMETER_INVALID', `noiseMultiplier=${noiseMultiplier}`);
  const d = sum.values.length;
  const values = new Float64Array(d);
  const noisedSum = { values, clipNorm, noiseMultiplier } as NoisedSum;
  if (noiseMultiplier === 0) {
    for (let i = 0; i < d; i++) values[i] = finite(sum.values[i], Number.MAX_VALUE);
    return noisedSum;
  }
  const { step } = latticeFor(d, clipNorm, noiseMultiplier);
  const noise = new Int32Array(d);
  gaussian(noise);
  for (let i = 0; i < d; i++) values[i] = (Math.round(finite(sum.values[i] / step, MAX_STEPS)) + noise[i]) * step;
  noise.fill(0);
  return noisedSum;
}

/** `value` brought into [-limit, limit]; NaN becomes 0. */
const finite = (value: number, limit: number): number =>
  Number.isNaN(value) ? 0 : Math.max(-limit, Math.min(limit, value));

/**
 * Divides by the expected batch of the policy. The true number of patients in a step is private, and an argument of
 * nothing after the clip.
 *
 * @throws {FedError} PARAMETER_INVALID on `expectedBatch`.
 */
export function meanOverExpectedBatch(sum: NoisedSum, expectedBatch: number): NoisedGradient {
  if (!(expectedBatch > 0 && expectedBatch < Infinity))
    throw new FedError('PARAMETER_INVALID', `expectedBatch=${expectedBatch}`);
  const { clipNorm, noiseMultiplier } = sum;
  const values = new Float32Array(sum.values.length);
  for (let i = 0; i < values.length; i++) values[i] = sum.values[i] / expectedBatch;
  return { values, clipNorm, noiseMultiplier } as NoisedGradient;
}

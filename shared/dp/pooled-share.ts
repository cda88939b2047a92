/**
 * Step 3 of 9 under `pooled`: a site's sum of clipped gradients on the lattice of the policy, with the site's share of
 * the noise. By itself a share protects nobody: it may leave the site only inside a scheme that opens sums of so many
 * sites that their shares make up the noise that was charged.
 */
import { FedError } from '../errors.ts';
import type { RandomBytes } from '../random.ts';
import type { ClippedSum } from './noised.ts';
import { FINE } from './pooled-lattice.ts';
import { type SkellamSource, skellamSource } from './skellam.ts';

declare const share: unique symbol;

/** A site's sum with its share of the noise: PRIVATE until it is in a sum of enough sites. */
export interface NoiseShare {
  readonly [share]: true;
  /** [d], in lattice steps. */
  readonly values: Int32Array;
}

/** The randomness of one share, drawn before the sum is there: the table is read while the network computes. */
export interface ShareNoise {
  /** [d] Skellam draws. */
  readonly noise: Int32Array;
  /** [d], uniform on [0, FINE): what the rounding adds before it cuts. */
  readonly dither: Int32Array;
  readonly variance: number;
}

/** Draws the randomness of one share. @param variance - of the share; 0 without a mechanism. */
export function drawShareNoise(d: number, variance: number, random: RandomBytes): ShareNoise {
  const source: SkellamSource = skellamSource(variance, random);
  const noise = new Int32Array(d);
  source.fill(noise);
  const dither = new Int32Array(d);
  random(new Uint8Array(dither.buffer));
  for (let i = 0; i < d; i++) dither[i] &= FINE - 1;
  return { noise, dither, variance };
}

/** What a share is made for. */
export interface ShareLattice {
  /** Lattice steps in `norm`. */
  readonly stepsPerClip: number;
  /** The clip of the sum. */
  readonly norm: number;
  /** Variance of the share. */
  readonly share: number;
  /** No value is larger. */
  readonly limit: number;
}

/**
 * Rounds a sum to the lattice, at random, and adds the share of the noise.
 *
 * Guarantee: as `latticeSensitivity` has it: neighbouring sums are, for the same dither, moved apart by the random
 * rounding of one patient's vector. The sum is not clipped again: each patient's gradient was. Private values never
 * throw: what is out of range is brought to its end, NaN counts as zero.
 * @param drawn - used up: it is overwritten.
 * @throws {FedError} PARAMETER_INVALID, on public parameters only.
 */
export function noiseShare(sum: ClippedSum, lattice: ShareLattice, drawn: ShareNoise): NoiseShare {
  const { stepsPerClip, norm, share: variance, limit } = lattice;
  const { noise, dither } = drawn;
  const d = sum.values.length;
  if (sum.clipNorm !== norm)
    throw new FedError('PARAMETER_INVALID', `norm=${norm}, but the sum was clipped at ${sum.clipNorm}`);
  if (drawn.variance !== variance || noise.length !== d || dither.length !== d)
    throw new FedError('PARAMETER_INVALID', `noise of another share: variance ${drawn.variance}, not ${variance}`);
  if (!(limit * FINE < 2 ** 52)) throw new FedError('PARAMETER_INVALID', `a lattice of ${limit} steps`);
  const scale = (stepsPerClip / norm) * FINE;
  const most = limit * FINE;
  const values = new Int32Array(d);
  for (let i = 0; i < d; i++) {
    const exact = sum.values[i] * scale;
    const fine = Math.round(Number.isNaN(exact) ? 0 : Math.max(-most, Math.min(most, exact)));
    const value = Math.floor((fine + dither[i]) / FINE) + noise[i];
    values[i] = Math.max(-limit, Math.min(limit, value));
  }
  noise.fill(0);
  dither.fill(0);
  return { values } as NoiseShare;
}

/** From an opened pooled sum to what an optimiser takes: at the coordinator, public numbers alone. */
import { FedError } from '../errors.ts';
import type { NoisedGradient } from './noised.ts';

/** A part of a gradient, and what it is divided by. */
export interface GradientPart {
  /** [d] */
  readonly sum: Float64Array;
  /** Public: never a true number of patients. */
  readonly over: number;
}

/**
 * The mean gradient of a step: the sum over all sites' patients, off the lattice, and the fakes' part.
 *
 * Guarantee: post-processing of the sum. Nothing is clipped: patients and fakes were, one by one.
 * @param pooled - whole numbers, in lattice steps; `stepsPerClip` of them are `clipNorm`.
 * @throws {FedError} PARAMETER_INVALID
 */
export function pooledGradient(
  pooled: GradientPart & { readonly stepsPerClip: number; readonly clipNorm: number; readonly noiseMultiplier: number },
  fakes: GradientPart,
): NoisedGradient {
  const { clipNorm, noiseMultiplier, stepsPerClip } = pooled;
  if (!(pooled.over > 0 && fakes.over > 0 && stepsPerClip > 0) || pooled.sum.length !== fakes.sum.length)
    throw new FedError('PARAMETER_INVALID', `over ${pooled.over} and ${fakes.over}`);
  const unit = clipNorm / stepsPerClip / pooled.over;
  // Written out: `from` with a callback takes ten times as long.
  const values = new Float32Array(pooled.sum.length);
  for (let i = 0; i < values.length; i++) values[i] = pooled.sum[i] * unit + fakes.sum[i] / fakes.over;
  return { values, clipNorm, noiseMultiplier } as NoisedGradient;
}

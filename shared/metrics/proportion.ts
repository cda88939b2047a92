/** Confidence intervals of a share, two-sided, 95 %. */
import { FedError } from '../errors.ts';
import { lowerLimit, upperLimit } from './statistics.ts';

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Of each side. */
const TAIL = 0.025;
/** Φ⁻¹(1 - TAIL). */
const Z = 1.959963984540054;

/**
 * The exact interval: never covers less than 95 %, often more. [0, 1] of no trials.
 *
 * @param successes - a whole number in [0, trials].
 * @throws {FedError} PARAMETER_INVALID
 * @see Clopper and Pearson 1934, Biometrika 26, 404-413
 */
export function clopperPearson(successes: number, trials: number): Interval {
  if (!(Number.isInteger(successes) && Number.isInteger(trials) && successes >= 0 && successes <= trials))
    throw new FedError('PARAMETER_INVALID', `${successes} of ${trials}`);
  if (trials === 0) return { low: 0, high: 1 };
  return { low: lowerLimit(successes, trials, TAIL), high: upperLimit(successes, trials, TAIL) };
}

/**
 * The score interval: covers 95 % on average. [0, 1] of no trials.
 *
 * @param trials - above 0 also a number that is not whole: an effective sample size.
 * @throws {FedError} PARAMETER_INVALID
 * @see Wilson 1927, JASA 22, 209-212; Newcombe 1998, Statistics in Medicine 17, 857-872, method 3
 */
export function wilson(successes: number, trials: number): Interval {
  if (!(successes >= 0 && successes <= trials && trials < Infinity))
    throw new FedError('PARAMETER_INVALID', `${successes} of ${trials}`);
  if (trials === 0) return { low: 0, high: 1 };
  const p = successes / trials;
  const middle = p + Z ** 2 / (2 * trials);
  const reach = Z * Math.sqrt((p * (1 - p)) / trials + Z ** 2 / (4 * trials ** 2));
  const whole = 1 + Z ** 2 / trials;
  // At the ends the two terms are equal, and rounding must not leave a trace.
  return {
    low: successes === 0 ? 0 : Math.max(0, (middle - reach) / whole),
    high: successes === trials ? 1 : Math.min(1, (middle + reach) / whole),
  };
}

/**
 * The Gaussian mechanism without sampling, exactly: no accountant's bound, the true trade-off. Calibrates single releases
 * (the moment round) and is the oracle that accountants are tested against.
 * @see Balle and Wang 2018, https://arxiv.org/abs/1805.06530, theorem 8
 */
import { FedError } from '../errors.ts';
import { logNormalCdf } from './special.ts';

/**
 * delta(epsilon) = Φ(-ε/μ + μ/2) - e^ε Φ(-ε/μ - μ/2), for μ = sensitivity · √count / σ.
 *
 * Guarantee: in [0, 1]; 1 when it cannot be computed.
 */
export function gaussianDelta(epsilon: number, mu: number): number {
  if (mu === 0) return 0;
  if (!(epsilon >= 0 && mu > 0 && mu < Infinity)) return 1;
  const first = logNormalCdf(-epsilon / mu + mu / 2);
  const second = epsilon + logNormalCdf(-epsilon / mu - mu / 2);
  // Far out in the tail the two agree to the last digit; the first alone is an upper bound.
  const delta = second < first ? Math.exp(first) * -Math.expm1(second - first) : Math.exp(first);
  return Number.isNaN(delta) ? 1 : Math.min(1, delta);
}

/** Smallest epsilon at `delta`, rounded up by at most 1e-9 relative. */
export function gaussianEpsilon(mu: number, delta: number): number {
  if (!(delta > 0 && delta < 1) || !(mu >= 0 && mu < Infinity)) return Infinity;
  if (gaussianDelta(0, mu) <= delta) return 0;
  let high = 1;
  while (gaussianDelta(high, mu) > delta) {
    high *= 2;
    if (high > 1e12) return Infinity;
  }
  return bisect(0, high, (epsilon) => gaussianDelta(epsilon, mu) <= delta);
}

/**
 * Smallest noise multiplier with which one Gaussian release is (epsilon, delta)-DP, rounded up by at most 1e-9 relative.
 * @throws {FedError} PARAMETER_INVALID
 */
export function gaussianSigma(epsilon: number, delta: number): number {
  if (!(epsilon > 0 && epsilon < Infinity && delta > 0 && delta < 1))
    throw new FedError('PARAMETER_INVALID', `epsilon=${epsilon}, delta=${delta}`);
  const holds = (sigma: number) => gaussianDelta(epsilon, 1 / sigma) <= delta;
  let high = 1;
  while (!holds(high)) high *= 2;
  let low = high / 2;
  while (holds(low)) low /= 2;
  return bisect(low, high, holds);
}

/** Narrows (low, high], where `holds` is false at low and true at high, and returns the end at which it holds. */
export function bisect(low: number, high: number, holds: (x: number) => boolean, relative = 1e-9): number {
  while (high - low > relative * high) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (holds(middle)) high = middle;
    else low = middle;
  }
  return high;
}

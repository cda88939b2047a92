/**
 * From a budget to parameters: how much noise, how many steps. Searches on an accountant, which is monotone in both up
 * to its own error; what is returned always keeps within the budget and misses it by little. Policies are held by RDP,
 * so the default is RDP: what the tight accountant allows more, a policy would refuse.
 */
import { FedError } from '../errors.ts';
import { type Accountant, rdpAccountant } from './accountant.ts';
import { poissonGaussianEvent, type PrivacyEvent } from './event.ts';
import { bisect } from './exact-gaussian.ts';

/** What one run may spend, and what of it is spoken for. */
export interface Target {
  readonly epsilon: number;
  readonly delta: number;
  readonly sampleRate: number;
  /** Events that are charged besides, such as the moment round. */
  readonly others?: readonly PrivacyEvent[];
  /** Who says what it costs; `rdpAccountant` where absent. */
  readonly accountant?: Accountant;
}

/** Noise above which nothing is gained by looking further. */
const MAX_NOISE = 1e6;

/** Epsilon of `steps` steps beside the others. */
function epsilonOf(target: Target, noiseMultiplier: number, steps: number): number {
  const { delta, sampleRate, others = [], accountant = rdpAccountant } = target;
  return accountant.epsilon([...others, poissonGaussianEvent(sampleRate, noiseMultiplier, steps)], delta).epsilon;
}

function requireTarget({ epsilon, delta, sampleRate }: Target): void {
  if (!(epsilon > 0 && delta > 0 && delta < 1 && sampleRate > 0 && sampleRate <= 1))
    throw new FedError('PARAMETER_INVALID', `epsilon=${epsilon}, delta=${delta}, sampleRate=${sampleRate}`);
}

/**
 * Smallest noise multiplier with which `steps` steps keep within the budget, rounded up by at most 1e-6 relative.
 * @throws {FedError} PARAMETER_INVALID; BUDGET_EXHAUSTED when the other events leave nothing.
 */
export function noiseMultiplierFor(target: Target & { readonly steps: number }): number {
  requireTarget(target);
  const { steps, epsilon } = target;
  if (!Number.isSafeInteger(steps) || steps < 1) throw new FedError('PARAMETER_INVALID', `steps=${steps}`);
  const holds = (sigma: number) => epsilonOf(target, sigma, steps) <= epsilon;
  let high = 1;
  while (!holds(high)) {
    high *= 2;
    if (high > MAX_NOISE) throw new FedError('BUDGET_EXHAUSTED', `no noise keeps ${steps} steps within ${epsilon}`);
  }
  let low = high / 2;
  while (holds(low) && low > 1e-3) low /= 2;
  return bisect(low, high, holds, 1e-6);
}

/**
 * Most steps that keep within the budget at this noise; 0 when not even one does.
 * @throws {FedError} PARAMETER_INVALID
 */
export function stepsFor(target: Target & { readonly noiseMultiplier: number }): number {
  requireTarget(target);
  const holds = (steps: number) => epsilonOf(target, target.noiseMultiplier, steps) <= target.epsilon;
  if (!holds(1)) return 0;
  let [low, high] = [1, 2];
  while (holds(high)) {
    [low, high] = [high, high * 2];
    if (high > 2 ** 50) return low;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** What a policy spends, worked out from the policy alone: the same figure everywhere, before any data is touched. */
import { costOfEvents, type PrivacyCost } from '../dp/convert.ts';
import { gaussianEvent, poissonGaussianEvent, type PrivacyEvent, readEvent } from '../dp/event.ts';
import { lifetimeCost } from '../dp/ledger-math.ts';
import { overflowDelta } from '../dp/poisson.ts';
import type { DeepReadonly } from './freeze.ts';
import type { Policy } from './schema.ts';

/** The numbers of Poisson sampling that hold at one site. */
export interface SiteSampling {
  readonly sampleRate: number;
  readonly expectedBatch: number;
  readonly maxBatch: number;
  /** The declared number of patients, and the most a site may have: expectedBatch over sampleRate. */
  readonly patientsAtMost: number;
}

/** Sampling at a site; the policy's own numbers for a site it does not name. */
export function samplingOf(policy: DeepReadonly<Policy>, siteId?: string): SiteSampling {
  const own = siteId === undefined ? undefined : policy.sites?.[siteId];
  const sampleRate = own?.sampleRate ?? policy.privacy.sampleRate;
  const expectedBatch = own?.expectedBatch ?? policy.privacy.expectedBatch;
  const maxBatch = own?.maxBatch ?? policy.privacy.maxBatch;
  // The quotient of two decimals may miss a whole number by a rounding error: 51.2 / 0.1 is 512 and not 511.99….
  const patientsAtMost = Math.max(1, Math.floor(expectedBatch / sampleRate + 1e-6));
  return { sampleRate, expectedBatch, maxBatch, patientsAtMost };
}

/**
 * Everything one run does to the data of one site, at most: the warm start and `maxSteps` private steps.
 * Without a mechanism this is a `not-private` event, which costs infinity.
 */
export function eventsOfPolicy(policy: DeepReadonly<Policy>, siteId?: string): PrivacyEvent[] {
  const { privacy, warmStart } = policy;
  if (privacy.mechanism === 'none-insecure') return [readEvent({ kind: 'not-private', count: privacy.maxSteps + 1 })];
  const warm =
    warmStart.kind === 'moments' ? [gaussianEvent(warmStart.noiseMultiplier, warmStart.maxReleases ?? 1)] : [];
  if (privacy.maxSteps === 0) return warm;
  return [
    ...warm,
    poissonGaussianEvent(samplingOf(policy, siteId).sampleRate, privacy.noiseMultiplier, privacy.maxSteps),
  ];
}

export interface PolicyCost extends PrivacyCost {
  readonly events: readonly PrivacyEvent[];
  /** The part of `delta` that pays for the cap on the batch. The events are converted at what is left of it. */
  readonly overflowDelta: number;
}

/**
 * Epsilon of one whole run for a patient of one site, at the policy's delta.
 *
 * Guarantee: with no `siteId`, the largest over the policy's own numbers and every site it names. Infinite without a
 * mechanism, or when the cap on the batch alone uses up delta.
 */
export function epsilonOfPolicy(policy: DeepReadonly<Policy>, siteId?: string): PolicyCost {
  if (siteId === undefined) {
    const all = [undefined, ...Object.keys(policy.sites ?? {})].map((site) => epsilonAt(policy, site));
    return all.reduce((worst, cost) => (cost.epsilon > worst.epsilon ? cost : worst));
  }
  return epsilonAt(policy, siteId);
}

function epsilonAt(policy: DeepReadonly<Policy>, siteId: string | undefined): PolicyCost {
  const { privacy } = policy;
  const events = eventsOfPolicy(policy, siteId);
  if (privacy.mechanism === 'none-insecure')
    return { epsilon: Infinity, delta: 0, order: NaN, events, overflowDelta: 0 };
  const overflow = overflowDelta({ ...samplingOf(policy, siteId), steps: privacy.maxSteps });
  const { epsilon, order } = costOfEvents(events, privacy.delta - overflow);
  return { epsilon, delta: privacy.delta, order, events, overflowDelta: overflow };
}

/**
 * What one whole run takes of a site's lifetime budget, at the policy's delta: more than the run's own epsilon, since a
 * lifetime is held by a privacy filter. A lifetime bound below it ends the run before its last step.
 *
 * Guarantee: the largest over the policy's own numbers and every site it names. Infinite without a mechanism.
 */
export function lifetimeEpsilonOfPolicy(policy: DeepReadonly<Policy>): number {
  const { privacy } = policy;
  if (privacy.mechanism === 'none-insecure') return Infinity;
  const sites = [undefined, ...Object.keys(policy.sites ?? {})];
  const costs = sites.map((site) => {
    const { events, overflowDelta: overflow } = epsilonAt(policy, site);
    return events.length === 0 ? 0 : lifetimeCost(events, privacy.delta - overflow).epsilon;
  });
  return Math.max(...costs);
}

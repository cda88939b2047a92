/** What a policy spends, worked out from the policy alone: the same figure everywhere, before any data is touched. */
import { costOfEvents, type PrivacyCost } from '../dp/convert.ts';
import { gaussianEvent, poissonGaussianEvent, type PrivacyEvent, readEvent } from '../dp/event.ts';
import { lifetimeCost } from '../dp/ledger-math.ts';
import { overflowDelta } from '../dp/poisson.ts';
import type { DeepReadonly } from './freeze.ts';
import { samplingOf } from './sampling.ts';
import type { Policy } from './schema.ts';

export { samplingOf, type SiteSampling } from './sampling.ts';

/** How many moment rounds open a run: the first, and those in features of a critic. */
export const momentRoundsOf = ({ warmStart }: DeepReadonly<Policy>): number =>
  warmStart.kind === 'moments' ? 1 + (warmStart.critic?.rounds ?? 0) : 0;

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

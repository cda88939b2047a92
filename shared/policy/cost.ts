/** What a policy spends, worked out from the policy alone: the same figure everywhere, before any data is touched. */
import { costOfEvents, type PrivacyCost } from '../dp/convert.ts';
import {
  composeEvents,
  gaussianEvent,
  poissonGaussianEvent,
  poissonSkellamEvent,
  type PrivacyEvent,
  readEvent,
} from '../dp/event.ts';
import { lifetimeCost } from '../dp/ledger-math.ts';
import { overflowDelta } from '../dp/poisson.ts';
import { pooledDelta } from '../dp/pooled-delta.ts';
import type { DeepReadonly } from './freeze.ts';
import type { ReleaseGate } from './gate-schema.ts';
import { pooledOf, sensitivityOf } from './pooled.ts';
import { samplingOf } from './sampling.ts';
import type { Policy } from './schema.ts';

export { samplingOf, type SiteSampling } from './sampling.ts';

/** How many moment rounds open a run: the first, and those in features of a critic. */
export const momentRoundsOf = ({ warmStart }: DeepReadonly<Policy>): number =>
  warmStart.kind === 'moments' ? 1 + (warmStart.critic?.rounds ?? 0) : 0;

/**
 * Everything one run does to the data of one site, at most: the warm start, `maxSteps` private steps, and the answers
 * to the release gate's question, in this order.
 * Without a mechanism this is a `not-private` event, which costs infinity.
 */
export function eventsOfPolicy(policy: DeepReadonly<Policy>, siteId?: string): PrivacyEvent[] {
  const { privacy } = policy;
  if (privacy.mechanism === 'none-insecure') return [readEvent({ kind: 'not-private', count: privacy.maxSteps + 1 })];
  const training = policy.placement === 'pooled' ? pooledEvents(policy, siteId) : localEvents(policy, siteId);
  const { gate } = policy.release;
  if (gate === null) return training;
  // Equal mechanisms are one event: caps are looked up by what was done, not by what for.
  return composeEvents(training, [gateEventOf(gate, gate.maxAnswers)]);
}

/** What so many answers to the gate's question are charged: one noised vector each, whatever the placement. */
export const gateEventOf = (gate: Pick<ReleaseGate, 'noiseMultiplier'>, count: number): PrivacyEvent =>
  gaussianEvent(gate.noiseMultiplier, count);

function localEvents(policy: DeepReadonly<Policy>, siteId?: string): PrivacyEvent[] {
  const { privacy, warmStart } = policy;
  if (privacy.mechanism === 'none-insecure') return [];
  const warm =
    warmStart.kind === 'moments'
      ? [gaussianEvent(warmStart.noiseMultiplier, warmStart.maxReleases ?? momentRoundsOf(policy))]
      : [];
  if (privacy.maxSteps === 0) return warm;
  return [
    ...warm,
    poissonGaussianEvent(samplingOf(policy, siteId).sampleRate, privacy.noiseMultiplier, privacy.maxSteps),
  ];
}

/** The same where sums are pooled: one vector of a patient moves the sum of all sites by so much, and no more. */
function pooledEvents(policy: DeepReadonly<Policy>, siteId?: string): PrivacyEvent[] {
  const { privacy, warmStart } = policy;
  const releases = warmStart.kind === 'moments' ? (warmStart.maxReleases ?? momentRoundsOf(policy)) : 0;
  const warm = releases > 0 ? [poissonSkellamEvent(1, sensitivityOf(policy, 'moments'), releases)] : [];
  if (privacy.maxSteps === 0) return warm;
  const { sampleRate } = samplingOf(policy, siteId);
  return [...warm, poissonSkellamEvent(sampleRate, sensitivityOf(policy, 'discriminator'), privacy.maxSteps)];
}

/** The part of delta that is taken before events are converted: see `PolicyCost.overflowDelta`. */
function reservedDelta(policy: DeepReadonly<Policy>, siteId: string | undefined): number {
  const overflow = overflowDelta({ ...samplingOf(policy, siteId), steps: policy.privacy.maxSteps });
  if (policy.placement === 'local') return overflow;
  const releases = pooledEvents(policy, siteId).reduce((sum, e) => sum + e.count, 0);
  return overflow + pooledDelta(releases, pooledOf(policy).coordinates);
}

export interface PolicyCost extends PrivacyCost {
  readonly events: readonly PrivacyEvent[];
  /**
   * The part of `delta` that pays for the cap on the batch and, under `pooled`, for the rounding and the sampler. The
   * events are converted at what is left of it.
   */
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
  const overflow = reservedDelta(policy, siteId);
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

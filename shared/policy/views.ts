/** What the parts of a run take from the policy, in their own words. One direction, no decisions. */
import type { GanConfig } from '../gan/config.ts';
import type { RoundTerms } from '../protocol/terms.ts';
import { epsilonOfPolicy, momentRoundsOf } from './cost.ts';
import type { DeepReadonly } from './freeze.ts';
import { type CheckedPolicy, policySha256 } from './load.ts';
import { pooledOf } from './pooled.ts';
import type { Policy } from './schema.ts';

/** The two networks. */
export function ganConfigOf(policy: DeepReadonly<Policy>): GanConfig {
  return { ...policy.model, classes: policy.model.classes.length };
}

/** Share of each class, in the order of `model.classes`. */
export const labelDistribution = (policy: DeepReadonly<Policy>): number[] =>
  policy.model.classes.map((name) => policy.labels.distribution[name]);

/** Numbers of the classes a site declares, ascending; all of them for a site the policy does not name. */
export const declaredClasses = (policy: DeepReadonly<Policy>, siteId: string): number[] =>
  (policy.sites?.[siteId]?.classes ?? policy.model.classes)
    .map((name) => policy.model.classes.indexOf(name))
    .sort((a, b) => a - b);

/**
 * What the rounds need. `epsilon` is the one the policy states, not what its own steps spend, which is at most that;
 * with no mechanism it is infinite.
 */
export function roundTermsOf(policy: CheckedPolicy): RoundTerms {
  const { training, privacy, aggregation } = policy;
  const momentRounds = momentRoundsOf(policy);
  const stated = privacy.mechanism === 'dp-sgd' ? privacy : epsilonOfPolicy(policy);
  return {
    policySha256: policySha256(policy),
    rounds: training.rounds + momentRounds,
    momentRounds,
    discriminatorSteps: training.discriminatorSteps,
    warmUpSteps: training.warmupDiscriminatorSteps,
    adaptiveSteps: training.adaptiveSteps ?? null,
    maxSteps: privacy.maxSteps,
    minSites: aggregation.minSites,
    maxSites: aggregation.maxSites ?? null,
    quorum: aggregation.minSurvivors,
    deadlineMs: Math.round(aggregation.deadlineSeconds * 1000),
    witnessQuorum: policy.log?.witnessQuorum ?? 0,
    scheme: aggregation.scheme,
    classes: policy.model.classes.length,
    declared: new Map(Object.keys(policy.sites ?? {}).map((id) => [id, declaredClasses(policy, id)])),
    updateClipNorm: privacy.generatorClipNorm,
    pooled: policy.placement === 'pooled' ? pooledOf(policy) : null,
    epsilon: stated.epsilon,
    delta: stated.delta,
  };
}

/** How a policy's numbers become a discriminator's training, at one site. One direction, no decisions. */
import type { ClipRule } from '../dp/clipped-gradient.ts';
import type { DiscriminatorTraining } from '../gan/discriminator-trainer.ts';
import type { DiscriminatorOptimiser } from '../gan/noised-discriminator.ts';
import type { PooledTraining } from '../gan/pooled-discriminator.ts';
import { momentRoundsOf, samplingOf } from './cost.ts';
import type { DeepReadonly } from './freeze.ts';
import { pooledOf } from './pooled.ts';
import type { Policy } from './schema.ts';

/** Added to a norm that is brought to C, so that a gradient of nothing stays small. Bu et al. 2023 use 0.01. */
const NORMALISE_STABILITY = 0.01;
const CLIP_RULES = {
  clip: { kind: 'clip' },
  normalise: { kind: 'normalise', stability: NORMALISE_STABILITY },
} as const satisfies Record<string, ClipRule>;

/** What every private step of a site is made of; without a mechanism, the same step with no clip and no noise. */
export function discriminatorTrainingOf(policy: DeepReadonly<Policy>, siteId: string): DiscriminatorTraining {
  const { privacy, training } = policy;
  const { maxBatch, expectedBatch } = samplingOf(policy, siteId);
  const insecure = privacy.mechanism === 'none-insecure';
  return {
    places: maxBatch,
    imagesPerPatient: privacy.imagesPerPatient,
    fakes: training.fakesPerStep,
    rule: insecure ? { kind: 'none-insecure' } : CLIP_RULES[privacy.clipRule],
    clipNorm: privacy.clipNorm,
    noiseMultiplier: insecure ? 0 : privacy.noiseMultiplier,
    expectedBatch,
    optimiser: optimiserOf(training),
  };
}

const optimiserOf = (training: DeepReadonly<Policy>['training']): DiscriminatorOptimiser => ({
  learningRate: training.lrD,
  beta1: training.beta1,
  beta2: training.beta2,
  weightDecay: training.weightDecayD,
  averageDecay: training.averageDecayD,
});

/** The same where the discriminator is pooled: without a mechanism gradients are clipped and rounded all the same. */
export function pooledTrainingOf(policy: DeepReadonly<Policy>): PooledTraining {
  const { privacy, training } = policy;
  return {
    rule: CLIP_RULES[privacy.clipRule],
    clipNorm: privacy.clipNorm,
    noiseMultiplier: privacy.mechanism === 'none-insecure' ? 0 : privacy.noiseMultiplier,
    stepsPerClip: pooledOf(policy).stepsPerClip,
    optimiser: optimiserOf(training),
  };
}

/**
 * What both learning rates are multiplied by in a round: a function of the policy and the round's number, so public.
 * 1 until `from` of the generator rounds are over, then in a straight line down to `to` in the last.
 */
export function rateFactor(policy: DeepReadonly<Policy>, round: number): number {
  const { rateDecay, rounds } = policy.training;
  if (!rateDecay || rounds < 2) return 1;
  const share = (round - momentRoundsOf(policy)) / (rounds - 1);
  const fallen = Math.max(0, Math.min(1, (share - rateDecay.from) / (1 - rateDecay.from)));
  return 1 - (1 - rateDecay.to) * fallen;
}

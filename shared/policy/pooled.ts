/** What `placement: pooled` takes from the policy. One direction, no decisions. */
import {
  integerLimit,
  type LatticeSensitivity,
  latticeSensitivity,
  shareVariance,
  type ShareTerms,
} from '../dp/pooled-lattice.ts';
import { notPrivateEvent, poissonSkellamEvent, type PrivacyEvent } from '../dp/event.ts';
import { FedError } from '../errors.ts';
import type { RoundPlan } from '../protocol/plan.ts';
import type { DeepReadonly } from './freeze.ts';
import type { Policy, Pooled } from './schema.ts';
import { samplingOf } from './sampling.ts';

/** One kind of pooled release: the discriminator's steps, or the moments. */
export type PooledKind = 'discriminator' | 'moments';

/** @throws {FedError} PARAMETER_INVALID when the policy is not a pooled one. */
export function pooledOf(policy: DeepReadonly<Policy>): DeepReadonly<Pooled> {
  if (policy.placement !== 'pooled' || policy.pooled === undefined)
    throw new FedError('PARAMETER_INVALID', 'the policy does not pool the discriminator');
  return policy.pooled;
}

/** σ of a kind of release; 0 without a mechanism. */
function noiseMultiplierOf({ privacy, warmStart }: DeepReadonly<Policy>, kind: PooledKind): number {
  if (privacy.mechanism === 'none-insecure') return 0;
  if (kind === 'discriminator') return privacy.noiseMultiplier;
  return warmStart.kind === 'moments' ? warmStart.noiseMultiplier : 0;
}

/** Sensitivity and noise of a kind of release, in lattice steps. */
export function sensitivityOf(policy: DeepReadonly<Policy>, kind: PooledKind): LatticeSensitivity {
  const { stepsPerClip, coordinates } = pooledOf(policy);
  return latticeSensitivity({ stepsPerClip, coordinates, noiseMultiplier: noiseMultiplierOf(policy, kind) });
}

/** Which of a plan's sites may be missing or collude. */
export function shareTermsOf(policy: DeepReadonly<Policy>, plan: Pick<RoundPlan, 'invited'>): ShareTerms {
  const { maxDropouts, maxColluders } = pooledOf(policy);
  return { invited: plan.invited.length, maxDropouts, maxColluders };
}

/** Everything of one kind of pooled release under one plan. */
export interface PlanLattice {
  readonly stepsPerClip: number;
  /** The L2 norm that `stepsPerClip` stands for: the clip, or 1 for moments. */
  readonly norm: number;
  /** Variance of one site's share of the noise. */
  readonly share: number;
  /** No honest update of any site holds a value beyond it. */
  readonly limit: number;
}

export const pooledKindOf = (plan: Pick<RoundPlan, 'kind'>): PooledKind => {
  if (plan.kind === 'generator') throw new FedError('PARAMETER_INVALID', 'a generator round is not pooled');
  return plan.kind;
};

/** @throws {FedError} PARAMETER_INVALID for a plan that is not pooled, or of too few sites. */
export function planLatticeOf(policy: DeepReadonly<Policy>, plan: Pick<RoundPlan, 'kind' | 'invited'>): PlanLattice {
  const kind = pooledKindOf(plan);
  const { stepsPerClip } = pooledOf(policy);
  const share = shareVariance(sensitivityOf(policy, kind).variance, shareTermsOf(policy, plan));
  // One bound for all sites, so that no value says which site it is from.
  const places = Math.max(
    ...[undefined, ...Object.keys(policy.sites ?? {})].map((site) => {
      const { maxBatch, patientsAtMost } = samplingOf(policy, site);
      return kind === 'discriminator' ? maxBatch : patientsAtMost;
    }),
  );
  const norm = kind === 'discriminator' ? policy.privacy.clipNorm : 1;
  return { stepsPerClip, norm, share, limit: integerLimit(places, stepsPerClip, share) };
}

/**
 * How large the whole numbers of an update under this plan may be; null where updates are floats. The modulus of a
 * masking scheme has to exceed 2·limit·sites.
 */
export const integerLimitOf = (
  policy: DeepReadonly<Policy>,
  plan: Pick<RoundPlan, 'kind' | 'invited'>,
): number | null => (policy.placement === 'pooled' ? planLatticeOf(policy, plan).limit : null);

/** Every kind of pooled release in a run of this policy. */
export const pooledKindsOf = ({ warmStart }: DeepReadonly<Policy>): readonly PooledKind[] =>
  warmStart.kind === 'moments' ? ['discriminator', 'moments'] : ['discriminator'];

/** A round of the fewest sites: their shares of the noise are the largest. */
export const fewestSites = ({ aggregation }: DeepReadonly<Policy>, kind: PooledKind) => ({
  kind,
  invited: Array.from({ length: aggregation.minSites }, (_, i) => `s${i}`),
});

/** Bits of a whole number of [-limit, limit]. */
export const bitsOfLimit = (limit: number): number => Math.ceil(Math.log2(2 * limit + 1));

/** Fewest `aggregation.bits` that hold every honest update of a kind. @throws {FedError} PARAMETER_INVALID */
export const leastBits = (policy: DeepReadonly<Policy>, kind: PooledKind): number =>
  bitsOfLimit(planLatticeOf(policy, fewestSites(policy, kind)).limit);

/** @throws {FedError} POLICY_INVALID when a vector is longer than the sensitivity was worked out for. */
export function requireCoordinates(policy: DeepReadonly<Policy>, length: number): void {
  const { coordinates } = pooledOf(policy);
  if (length > coordinates)
    throw new FedError('POLICY_INVALID', `pooled.coordinates is ${coordinates}; a vector has ${length} values`);
}

/** What one pooled release is charged at a site; `count` 1. */
export function pooledEventOf(policy: DeepReadonly<Policy>, kind: PooledKind, sampleRate: number): PrivacyEvent {
  if (policy.privacy.mechanism === 'none-insecure') return notPrivateEvent(1);
  return poissonSkellamEvent(kind === 'moments' ? 1 : sampleRate, sensitivityOf(policy, kind));
}

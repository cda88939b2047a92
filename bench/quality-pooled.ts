/** A case of `quality` with its sums pooled: the same networks, rounds and epsilon, one share of the noise a site. */
import { epsilonOfPolicy } from '../shared/policy/cost.ts';
import { planLatticeOf } from '../shared/policy/pooled.ts';
import type { Policy } from '../shared/policy/schema.ts';

/** Above this noise a finer lattice's shares no longer fit their table. */
const FINE_UP_TO = 8;

/**
 * The policy of a local case as a pooled one, under secure aggregation, with nobody allowed to be missing and any one site
 * colluding. Noise is scaled so that the policy's own steps spend its epsilon: a pooled sum costs a little more than a
 * Gaussian one of the same ratio.
 * @param file - with a mechanism or without; @param coordinates - no vector is longer.
 */
export function pooledVersion(file: Policy, coordinates: number): Policy {
  const { privacy, warmStart, aggregation } = file;
  const sites = aggregation.minSites;
  const moments = warmStart.kind === 'moments' ? warmStart.noiseMultiplier : 0;
  const most = Math.max(moments, privacy.mechanism === 'dp-sgd' ? privacy.noiseMultiplier : 0);
  const scaled = (t: number): Policy => ({
    ...file,
    id: `${file.id}-pooled`,
    placement: 'pooled',
    pooled: {
      stepsPerClip: most > FINE_UP_TO ? 1024 : 2048,
      coordinates,
      maxDropouts: 0,
      maxColluders: 1,
      generatorSteps: 1,
    },
    privacy: privacy.mechanism === 'dp-sgd' ? { ...privacy, noiseMultiplier: t * privacy.noiseMultiplier } : privacy,
    warmStart: warmStart.kind === 'moments' ? { ...warmStart, noiseMultiplier: t * moments } : warmStart,
    aggregation: {
      ...aggregation,
      scheme: 'secagg',
      bits: 24,
      maxSites: sites,
      maxColluders: 1,
      maxDropouts: 0,
      graphAboveSites: sites,
    },
  });
  let t = 1;
  if (privacy.mechanism === 'dp-sgd') while (epsilonOfPolicy(scaled(t)).epsilon > privacy.epsilon) t *= 1.001;
  return withBits(scaled(t));
}

/** As many bits as the largest value of an update takes. */
function withBits(policy: Policy): Policy {
  const invited = Array.from({ length: policy.aggregation.minSites }, (_, i) => `site-${i + 1}`);
  const limits = (['discriminator', 'moments'] as const).map((kind) => planLatticeOf(policy, { kind, invited }).limit);
  const bits = Math.ceil(Math.log2(2 * Math.max(...limits) + 1));
  return { ...policy, aggregation: { ...policy.aggregation, bits } };
}

/** The policies that attacks are run under: somebody's policy, cut down to what one attack needs. */
import { type CheckedPolicy, loadPolicy } from '../../shared/policy/load.ts';
import type { Policy } from '../../shared/policy/schema.ts';
import { loadOptions } from '../options.ts';

export interface AuditChanges {
  readonly sampleRate: number;
  /** Patients that may be in; the policy declares as many. */
  readonly patients: number;
  readonly noiseMultiplier: number;
  readonly clipNorm: number;
  readonly steps: number;
  /** The first moment round stays, with this noise; without, the policy has none. */
  readonly moments?: { readonly noiseMultiplier: number };
  /** `clear` where absent. */
  readonly aggregation?: Policy['aggregation'];
}

/**
 * A policy with the networks, the rule of clipping and the optimiser of `base`, and with these numbers. It lets itself
 * spend anything: what is claimed is worked out beside it, and a control claims what it does not keep.
 * @throws {FedError} POLICY_INVALID
 */
export function auditPolicy(base: CheckedPolicy, c: AuditChanges): CheckedPolicy {
  const { sites: _sites, pooled: _pooled, log: _log, ...tree } = structuredClone(base) as unknown as Policy;
  const { mechanism: _, ...privacy } = base.privacy;
  const { adaptiveSteps: __, rateDecay: ___, ...training } = base.training;
  const warm = warmStartOf(base, c.moments);
  return loadPolicy(
    {
      ...tree,
      placement: 'local',
      training: { ...training, rounds: 1, discriminatorSteps: c.steps, warmupDiscriminatorSteps: 0, averageDecayD: 0 },
      privacy: {
        ...privacy,
        mechanism: 'dp-sgd',
        epsilon: 1e12,
        delta: 1e-5,
        noiseMultiplier: c.noiseMultiplier,
        clipNorm: c.clipNorm,
        sampleRate: c.sampleRate,
        expectedBatch: c.sampleRate * c.patients,
        // A place for everybody: what a cap on the batch costs is not what is attacked here.
        maxBatch: c.patients,
        imagesPerPatient: 1,
        maxSteps: c.steps,
      },
      warmStart: warm,
      release: { ...base.release, gate: null },
      aggregation: c.aggregation ?? { scheme: 'clear', minSites: 1, minSurvivors: 1, deadlineSeconds: 60 },
      why: Object.fromEntries(
        [...Object.keys(privacy), 'mechanism', 'epsilon', 'delta', 'noiseMultiplier']
          .map((key) => `privacy.${key}`)
          .concat('release.gate')
          .map((path) => [path, 'as the attack needs it']),
      ),
    },
    loadOptions,
  );
}

/** A critic's later rounds are left out: each is a release of the same kind. */
function warmStartOf({ warmStart }: CheckedPolicy, moments: AuditChanges['moments']): unknown {
  if (moments === undefined || warmStart.kind !== 'moments') return { kind: 'none' };
  const { critic: _, ...first } = warmStart;
  return { ...first, ...moments, maxReleases: 1 };
}

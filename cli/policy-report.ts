/** What a policy spends, in sentences. */
import { pldAccountant, RELATION } from '../shared/dp/accountant.ts';
import type { PrivacyEvent } from '../shared/dp/event.ts';
import { epsilonOfPolicy, momentRoundsOf, samplingOf } from '../shared/policy/cost.ts';
import { type CheckedPolicy, policySha256 } from '../shared/policy/load.ts';
import { showEpsilon } from '../shared/dp/show-epsilon.ts';

/** The policy by name, for people. */
export const nameOfPolicy = (policy: CheckedPolicy): string =>
  `${policy.id} version ${policy.version}, sha256 ${policySha256(policy)}`;

export interface PolicyReport {
  readonly id: string;
  readonly version: number;
  readonly sha256: string;
  readonly unit: 'patient';
  /** What the policy states; null without a mechanism. */
  readonly epsilon: number | null;
  readonly delta: number | null;
  /** Between which data sets the figures hold. */
  readonly relation: typeof RELATION;
  /** What its own steps spend by RDP, which the claim is held by, at the worst of its sites; null where infinite. */
  readonly spends: number | null;
  /** The same by loss distributions, tighter; null where they have no bound. */
  readonly tight: number | null;
  readonly events: readonly PrivacyEvent[];
  readonly sites: readonly {
    readonly siteId: string;
    readonly spends: number | null;
    readonly patientsAtMost: number;
  }[];
}

export function policyReport(policy: CheckedPolicy): PolicyReport {
  const finite = (x: number) => (Number.isFinite(x) ? x : null);
  const { privacy } = policy;
  const stated = privacy.mechanism === 'dp-sgd' ? privacy : { epsilon: null, delta: null };
  const { epsilon: spends, events, delta, overflowDelta } = epsilonOfPolicy(policy);
  const tight = pldAccountant.epsilon(events, delta - overflowDelta).epsilon;
  return {
    id: policy.id,
    version: policy.version,
    sha256: policySha256(policy),
    unit: privacy.unit,
    epsilon: stated.epsilon,
    delta: stated.delta,
    relation: RELATION,
    spends: finite(spends),
    tight: finite(tight),
    events,
    sites: Object.keys(policy.sites ?? {}).map((siteId) => ({
      siteId,
      spends: finite(epsilonOfPolicy(policy, siteId).epsilon),
      patientsAtMost: samplingOf(policy, siteId).patientsAtMost,
    })),
  };
}

/** The claim in one sentence. @param siteId - for one site; otherwise the worst of all. */
export function policySentence(policy: CheckedPolicy, siteId?: string): string {
  const { privacy } = policy;
  if (privacy.mechanism === 'none-insecure') return 'There is no privacy mechanism: nothing is claimed.';
  const { epsilon } = epsilonOfPolicy(policy, siteId);
  const moments =
    ['', ' and the moment round'][momentRoundsOf(policy)] ?? ` and ${momentRoundsOf(policy)} moment rounds`;
  return (
    `A whole run (${privacy.maxSteps} private steps${moments}) spends epsilon ${showEpsilon(epsilon)} of ` +
    `${privacy.epsilon} at delta ${privacy.delta}, for one patient added or removed.`
  );
}

export function policyText(policy: CheckedPolicy): string {
  const { sites, tight } = policyReport(policy);
  return [
    `ok: ${nameOfPolicy(policy)}`,
    policySentence(policy),
    ...(tight === null
      ? []
      : [`By the tight accountant, which the claim does not use: epsilon ${showEpsilon(tight)}.`]),
    ...sites.map((s) => `  ${s.siteId}: epsilon ${showEpsilon(s.spends)}, at most ${s.patientsAtMost} patients`),
  ].join('\n');
}

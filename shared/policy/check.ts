/** What a well-formed policy must still fulfil, as a list of findings. Pure; `load.ts` turns findings into a refusal. */
import { showEpsilon } from '../dp/show-epsilon.ts';
import { epsilonOfPolicy, momentRoundsOf, samplingOf } from './cost.ts';
import { aggregationFindings } from './aggregation-findings.ts';
import { gateFindings } from './gate-findings.ts';
import { pooledFindings } from './pooled-findings.ts';
import type { Policy } from './schema.ts';

/** One thing that is wrong with a policy, and where. */
export interface Finding {
  readonly path: readonly string[];
  readonly message: string;
}

/** Every finding, in the order of the file. Empty means the policy may be used. */
export function findingsOf(policy: Policy): Finding[] {
  return [
    ...modelFindings(policy),
    ...aggregationFindings(policy),
    ...stepFindings(policy),
    ...pooledFindings(policy),
    ...gateFindings(policy),
    ...siteFindings(policy),
    ...spendFindings(policy),
    ...whyFindings(policy),
  ];
}

function modelFindings({ model, labels }: Policy): Finding[] {
  const found: Finding[] = [];
  if (new Set(model.classes).size < model.classes.length)
    found.push({ path: ['model', 'classes'], message: 'names a class twice' });
  const shares = Object.entries(labels.distribution);
  const named = shares.length === model.classes.length && shares.every(([name]) => model.classes.includes(name));
  if (!named) found.push({ path: ['labels', 'distribution'], message: 'must name every class of the model once' });
  const total = shares.reduce((sum, [, share]) => sum + share, 0);
  if (!(Math.abs(total - 1) < 1e-6)) found.push({ path: ['labels', 'distribution'], message: `adds up to ${total}` });
  return found;
}

function stepFindings(policy: Policy): Finding[] {
  const { training: t, privacy, warmStart } = policy;
  const found: Finding[] = [];
  const releases = warmStart.kind === 'moments' ? (warmStart.maxReleases ?? Infinity) : Infinity;
  if (releases < momentRoundsOf(policy))
    found.push({ path: ['warmStart', 'maxReleases'], message: `there are ${momentRoundsOf(policy)} moment rounds` });
  const steps = t.rounds * t.discriminatorSteps + t.warmupDiscriminatorSteps;
  if (steps > privacy.maxSteps)
    found.push({ path: ['privacy', 'maxSteps'], message: `the training takes ${steps} steps` });
  if (t.rounds === 0 && warmStart.kind === 'none')
    found.push({ path: ['training', 'rounds'], message: 'is 0, and there is no warm start: nothing would be trained' });
  if (t.rounds === 0 && t.warmupDiscriminatorSteps > 0)
    found.push({ path: ['training', 'warmupDiscriminatorSteps'], message: 'has no round to belong to' });
  const ladder = t.adaptiveSteps?.ladder;
  if (ladder && ladder[0] !== t.discriminatorSteps)
    found.push({ path: ['training', 'adaptiveSteps', 'ladder'], message: 'must start at discriminatorSteps' });
  if (ladder?.some((step, i) => i > 0 && step <= ladder[i - 1]))
    found.push({ path: ['training', 'adaptiveSteps', 'ladder'], message: 'must ascend' });
  return found;
}

function siteFindings(policy: Policy): Finding[] {
  const found: Finding[] = [];
  for (const [id, site] of Object.entries(policy.sites ?? {})) {
    const unknown = site.classes.filter((name) => !policy.model.classes.includes(name));
    if (unknown.length > 0) found.push({ path: ['sites', id, 'classes'], message: `unknown: ${unknown.join(', ')}` });
    if (new Set(site.classes).size < site.classes.length)
      found.push({ path: ['sites', id, 'classes'], message: 'names a class twice' });
    const { expectedBatch, maxBatch } = samplingOf(policy, id);
    if (maxBatch < expectedBatch)
      found.push({ path: ['sites', id, 'maxBatch'], message: 'is less than expectedBatch' });
  }
  if (policy.privacy.maxBatch < policy.privacy.expectedBatch)
    found.push({ path: ['privacy', 'maxBatch'], message: 'is less than expectedBatch' });
  return found;
}

/** The check the file stands or falls with: its own steps, for every site it names, within its own epsilon. */
function spendFindings(policy: Policy): Finding[] {
  const { privacy } = policy;
  if (privacy.mechanism === 'none-insecure') return [];
  if (policy.placement === 'pooled' && policy.pooled === undefined) return [];
  const found: Finding[] = [];
  for (const id of [undefined, ...Object.keys(policy.sites ?? {})]) {
    const { epsilon, overflowDelta } = epsilonOfPolicyAt(policy, id);
    // Written so that NaN is refused too.
    if (epsilon <= privacy.epsilon) continue;
    const path = id === undefined ? ['privacy', 'maxSteps'] : ['sites', id];
    const cap =
      overflowDelta > privacy.delta / 2
        ? `; maxBatch is so small that it takes ${overflowDelta.toExponential(1)} of delta`
        : '';
    found.push({ path, message: `spends epsilon=${showEpsilon(epsilon)}, more than ${privacy.epsilon}${cap}` });
  }
  return found;
}

/** The policy's own numbers alone when `id` is undefined, not the worst site. */
const epsilonOfPolicyAt = (policy: Policy, id: string | undefined) => {
  if (id !== undefined) return epsilonOfPolicy(policy, id);
  const { sites: _, ...rest } = policy;
  return epsilonOfPolicy(rest);
};

function whyFindings(policy: Policy): Finding[] {
  const found: Finding[] = [];
  for (const path of Object.keys(policy.why)) {
    const value = path
      .split('.')
      .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], policy);
    if (value === undefined) found.push({ path: ['why', path], message: 'there is nothing at this path' });
  }
  for (const key of Object.keys(policy.privacy))
    if (!(`privacy.${key}` in policy.why))
      found.push({ path: ['why'], message: `no reason is given for privacy.${key}` });
  return found;
}

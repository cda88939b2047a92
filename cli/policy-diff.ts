/** `policy diff`: what changes between two policies, or what a site's bounds decline and why. */
import { checkBounds, type Breach, SiteBounds } from '../shared/policy/bounds.ts';
import { type PolicyCosts, costsOfPolicy } from '../shared/policy/cost-by-accountant.ts';
import { type Difference, differencesOf } from '../shared/policy/diff.ts';
import { type CheckedPolicy, loadPolicyText } from '../shared/policy/load.ts';
import type { SettingGroup } from '../shared/policy/settings.ts';
import { loadOptions, parseJson } from './options.ts';
import { showEpsilon } from '../shared/dp/show-epsilon.ts';
import { nameOfPolicy } from './policy-report.ts';

/** The second file of a diff: it says itself what it is. */
export type DiffTarget =
  | { readonly kind: 'policy'; readonly policy: CheckedPolicy }
  | { readonly kind: 'bounds'; readonly bounds: SiteBounds };

/** @throws {FedError} PARAMETER_INVALID when it is neither; POLICY_INVALID, SCHEME_UNKNOWN. */
export function readDiffTarget(text: string, name: string): DiffTarget {
  let value: unknown = null;
  try {
    value = JSON.parse(text);
  } catch {
    // `loadPolicyText` says so.
  }
  if (typeof value === 'object' && value !== null && 'lifetime' in value)
    return { kind: 'bounds', bounds: parseJson(text, SiteBounds, name, 'PARAMETER_INVALID') };
  return { kind: 'policy', policy: loadPolicyText(text, loadOptions) };
}

/** What the bounds decline. Empty: the site agrees. */
export const breachesOf = (policy: CheckedPolicy, bounds: SiteBounds, siteId?: string): Breach[] =>
  checkBounds(policy, bounds, siteId);

/** One line a setting that is declined, with the reason the policy gives for it. */
export function breachText(policy: CheckedPolicy, breaches: readonly Breach[]): string {
  if (breaches.length === 0) return 'ok: this site agrees to all of it';
  return breaches
    .flatMap((b) => {
      const why = policy.why[b.path];
      return [`${b.path}: ${b.sentence}`, ...(why === undefined ? [] : [`  the policy’s reason: ${why}`])];
    })
    .join('\n');
}

export interface PolicyDiff {
  readonly before: string;
  readonly after: string;
  readonly same: boolean;
  readonly differences: readonly Difference[];
  /** Epsilon of one patient for a whole run, by Rényi accounting; null where it is infinite. */
  readonly spends: { readonly before: number | null; readonly after: number | null };
}

export function diffOf(before: CheckedPolicy, after: CheckedPolicy, siteId?: string): PolicyDiff {
  const differences = differencesOf(before, after);
  const spends = { before: spent(before, siteId), after: spent(after, siteId) };
  return {
    before: nameOfPolicy(before),
    after: nameOfPolicy(after),
    same: differences.length === 0,
    differences,
    spends,
  };
}

function spent(policy: CheckedPolicy, siteId?: string): number | null {
  if (policy.privacy.mechanism === 'none-insecure') return null;
  const costs: PolicyCosts = costsOfPolicy(policy, siteId);
  return Number.isFinite(costs.patient.rdp) ? costs.patient.rdp : null;
}

const TITLES: Record<SettingGroup | 'other', string> = {
  epsilon: 'What epsilon is worked out from',
  guarantee: 'What else is promised',
  computation: 'What is computed; no epsilon depends on it',
  label: 'Names and reasons',
  other: 'Other',
};

export function diffText(d: PolicyDiff): string {
  if (d.same) return `the same policy: ${d.before}`;
  const groups = ['epsilon', 'guarantee', 'computation', 'label', 'other'] as const;
  const parts = groups.flatMap((group) => {
    const own = d.differences.filter((x) => (x.group ?? 'other') === group);
    return own.length === 0 ? [] : ['', TITLES[group], ...own.flatMap(linesOf)];
  });
  const { before, after } = d.spends;
  const change = before === after ? '' : `, then ${showEpsilon(after)}`;
  return [
    `- ${d.before}`,
    `+ ${d.after}`,
    ...parts,
    '',
    `A whole run spends epsilon ${showEpsilon(before)}${change}.`,
  ].join('\n');
}

function linesOf({ path, before, after, protects, why, group }: Difference): string[] {
  const says = protects === null ? '' : `  (protects ${protects})`;
  const reason = why === null || group === 'label' ? [] : [`      ${why}`];
  return [`  ${path}: ${show(before)} -> ${show(after)}${says}`, ...reason];
}

const show = (value: unknown): string => (value === undefined ? 'none' : JSON.stringify(value));

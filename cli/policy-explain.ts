/** `policy explain`: a policy in plain language, with the provisions of a profile beside its values where asked for. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FedError } from '../shared/errors.ts';
import { openGan } from '../shared/gan/registry.ts';
import { type Explanation, explainPolicy } from '../shared/policy/explain.ts';
import { type CheckedPolicy, policySha256 } from '../shared/policy/load.ts';
import { loadProfile, type Profile, valuesAt } from '../shared/policy/profile.ts';
import { ganConfigOf } from '../shared/policy/views.ts';
import { packageRoot } from './package-root.ts';
import { nameOfPolicy } from './policy-report.ts';

export interface PolicyExplanation extends Explanation {
  readonly id: string;
  readonly version: number;
  readonly sha256: string;
  readonly siteId: string | null;
  readonly profile: Profile | null;
}

const profilesPath = (): string => join(packageRoot(), 'policies', 'profiles');

/** Ids of the profiles that come with the program. */
export const profileIds = (): string[] =>
  readdirSync(profilesPath())
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.replace(/\.json$/, ''))
    .sort();

/** @throws {FedError} PARAMETER_INVALID, naming those there are. */
export function profileNamed(id: string): Profile {
  if (!profileIds().includes(id))
    throw new FedError('PARAMETER_INVALID', `no profile "${id}"; there are ${profileIds().join(', ')}`);
  return loadProfile(readFileSync(join(profilesPath(), `${id}.json`), 'utf8'));
}

export function explanationOf(
  policy: CheckedPolicy,
  { siteId, profile }: { siteId?: string; profile?: Profile } = {},
): PolicyExplanation {
  const discriminatorValues = openGan(ganConfigOf(policy)).discriminator.layout.length;
  const { id, version } = policy;
  return {
    id,
    version,
    sha256: policySha256(policy),
    siteId: siteId ?? null,
    ...explainPolicy(policy, { discriminatorValues, ...(siteId === undefined ? {} : { siteId }) }),
    profile: profile ?? null,
  };
}

export function explanationText(policy: CheckedPolicy, e: PolicyExplanation): string {
  const parts = e.sections.flatMap(({ title, lines }) => ['', title, ...lines.map((line) => `  ${line}`)]);
  return [nameOfPolicy(policy), ...parts, ...(e.profile === null ? [] : profileLines(policy, e.profile))].join('\n');
}

function profileLines(policy: CheckedPolicy, p: Profile): string[] {
  const entries = p.entries.flatMap(({ provision, source, asks, settings, evidence, helps, leaves }) => [
    '',
    `  ${provision}`,
    `    ${source}`,
    `    asks: ${asks}`,
    ...settings.flatMap((setting) => valueLines(policy, setting)),
    `    see also: ${evidence.join(', ')}`,
    `    helps: ${helps}`,
    `    leaves open: ${leaves}`,
  ]);
  return ['', `${p.title}, ${p.law}`, `  ${p.scope}`, ...entries];
}

/** Reasons stand beside their values, not as values of their own. */
function valueLines(policy: CheckedPolicy, setting: string): string[] {
  if (setting === 'why.*') return ['    why: a reason for every number of the privacy part, in the policy'];
  if (setting.startsWith('bounds.')) return [`    ${setting}: in each site’s own file`];
  const values = valuesAt(policy, setting);
  if (values.length === 0) return [`    ${setting}: not in this policy`];
  return values.map(({ path, value }) => {
    const why = policy.why[path];
    return `    ${path} = ${JSON.stringify(value)}${why === undefined ? '' : `: ${why}`}`;
  });
}

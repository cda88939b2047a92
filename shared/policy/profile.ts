/**
 * A profile: which provisions of a law which settings help to answer, with reasons and sources. A mapping for people
 * who have to judge; it never says that anything complies, and no profile changes what a policy does.
 */
import { z } from 'zod';
import { FedError } from '../errors.ts';
import type { DeepReadonly } from './freeze.ts';
import type { Policy } from './schema.ts';
import { boundPaths, settingPaths } from './setting-paths.ts';
import { settingOf } from './settings.ts';

const Text = z.string().min(8);

export const Profile = z.strictObject({
  id: z.string().regex(/^[a-z0-9-]+$/),
  title: Text,
  law: Text,
  scope: Text.describe('What the mapping is for, and what it is not.'),
  /** No profile may say anything else. */
  claimsCompliance: z.literal(false),
  entries: z
    .array(
      z.strictObject({
        provision: Text,
        source: z.url({ protocol: /^https$/ }),
        asks: Text.describe('What the provision asks for, in few words.'),
        settings: z.array(z.string()).min(1).describe('Settings of a policy, or of a site’s bounds behind `bounds.`.'),
        evidence: z.array(z.string().regex(/^veilgan [a-z]+ [a-z]+$/)).min(1),
        helps: Text.describe('How they help to answer it.'),
        leaves: Text.describe('What they do not answer.'),
      }),
    )
    .min(1),
});
export type Profile = z.infer<typeof Profile>;

/** @throws {FedError} POLICY_INVALID when it is no profile, or names a setting that there is not. */
export function loadProfile(text: string): Profile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FedError('POLICY_INVALID', 'the profile is not JSON', { cause });
  }
  const { data, error } = Profile.safeParse(value);
  if (data === undefined) throw new FedError('POLICY_INVALID', z.prettifyError(error));
  const known = new Set([...settingPaths(), ...boundPaths()]);
  for (const { provision, settings } of data.entries)
    for (const path of settings)
      if (!known.has(path)) throw new FedError('POLICY_INVALID', `${provision}: there is no setting ${path}`);
  return data;
}

/** What a policy has at a setting of a profile: every path that it stands for, and the value there. */
export function valuesAt(policy: DeepReadonly<Policy>, setting: string): { path: string; value: unknown }[] {
  const found: { path: string; value: unknown }[] = [];
  const walk = (value: unknown, at: string): void => {
    if (value === undefined) return;
    if (settingOf(at) === setting) found.push({ path: at, value });
    else if (typeof value === 'object' && value !== null && !Array.isArray(value))
      for (const [key, child] of Object.entries(value)) walk(child, at === '' ? key : `${at}.${key}`);
  };
  walk(policy, '');
  return found;
}

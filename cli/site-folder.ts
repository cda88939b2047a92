/**
 * A site's folder. It belongs beside the archive, readable by the agent's user alone.
 *
 * | file | |
 * |---|---|
 * | `keys.json` | private: made here, never sent; mode 0600 |
 * | `enrolment.json` | whom the site joined: address, certificate, coordinator's key, the roster as first seen |
 * | `policy.json` | the policy as it was when the site joined; every plan is held against it |
 * | `bounds.json` | the site's own bounds: yours to edit |
 * | `ledger.sqlite` | what was done to the images, before it was done; elsewhere when joined with `--ledger` |
 * | `ledger.sqlite.withdrawn.json` | who is left out, by name; beside the ledger |
 * | `outbox.sqlite`, `downloads/` | what was made and may have to be sent again, and the key that opens what the log says of withdrawals; generators |
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { FedError } from '../shared/errors.ts';
import { TlsFingerprint } from '../shared/identity/invite.ts';
import { Kid, PublicSigningKey } from '../shared/identity/jwk.ts';
import { loadOrCreateSiteKeys, type SiteKeys } from '../shared/identity/keys.ts';
import { SiteBounds } from '../shared/policy/bounds.ts';
import { lifetimeEpsilonOfPolicy } from '../shared/policy/cost.ts';
import { differencesOf } from '../shared/policy/diff.ts';
import type { DeepReadonly } from '../shared/policy/freeze.ts';
import { type CheckedPolicy, loadPolicyText, policySha256 } from '../shared/policy/load.ts';
import type { Policy } from '../shared/policy/schema.ts';
import { SiteId } from '../shared/protocol/plan.ts';
import { connect } from '../site-agent/shell/connection.ts';
import { joinWithInvite } from '../site-agent/shell/join.ts';
import { adoptLedger } from './data-set-ledger.ts';
import { loadOptions, parseJson, readText } from './options.ts';
import { writeWhole } from './output.ts';
import { fetchPolicy } from './policy-call.ts';

export const EnrolmentFile = z.strictObject({
  version: z.literal(1),
  siteId: SiteId,
  url: z.url({ protocol: /^https$/ }),
  tlsFingerprint: TlsFingerprint.nullable(),
  coordinator: PublicSigningKey,
  /** The key the roster below was signed with, where the coordinator's was changed since. */
  joinedUnder: PublicSigningKey.optional(),
  rosterJws: z.string(),
  /** This site's own signing keys before the one of now: the log before the change has them. */
  formerKeys: z.array(Kid).optional(),
  /** The ledger of the data set, where several runs share one; absent: `ledger.sqlite` in this folder. */
  ledger: z.string().min(1).optional(),
});
export type EnrolmentFile = z.infer<typeof EnrolmentFile>;

export interface SiteFolder {
  readonly dir: string;
  readonly enrolment: EnrolmentFile;
  readonly keys: SiteKeys;
  readonly policy: CheckedPolicy;
  /** Where this run is charged. */
  readonly ledger: string;
}

const ledgerPath = (dir: string): string => join(dir, 'ledger.sqlite');
export const outboxPath = (dir: string): string => join(dir, 'outbox.sqlite');
export const downloadsPath = (dir: string): string => join(dir, 'downloads');
export const boundsPath = (dir: string): string => join(dir, 'bounds.json');

/**
 * Joins with an invite and takes the policy. Interrupted, it may be called again with the same invite.
 * @param o.pinned - the operator's own copy of the policy, if there is one.
 * @param o.ledger - the ledger of the data set, shared with other runs; made if missing. Its bound on all runs becomes
 *   the `lifetime` of this folder's bounds; a new one is given the bound that just lets this policy pass.
 * @throws {FedError} POLICY_MISMATCH when the coordinator's policy is not the pinned one; INVITE_INVALID, LINK_LOST,
 *   COORDINATOR_UNKNOWN.
 */
export async function joinSite(
  dir: string,
  invite: string,
  o: { readonly pinned?: CheckedPolicy; readonly ledger?: string } = {},
): Promise<SiteFolder> {
  const { pinned } = o;
  const shared = o.ledger === undefined ? {} : { ledger: resolve(o.ledger) };
  if (existsSync(join(dir, 'enrolment.json')))
    throw new FedError('PARAMETER_INVALID', `${dir} has joined a run already; take a new folder for another`);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const keys = loadOrCreateSiteKeys(join(dir, 'keys.json'));
  const { siteId, url, tlsFingerprint, coordinator, rosterJws } = await joinWithInvite(invite, keys);
  const link = connect({ siteId, url, tlsFingerprint, coordinator, keys });
  try {
    await link.ready();
    const { text, policy } = await fetchPolicy(link);
    if (pinned !== undefined) requireSame(pinned, policy);
    writeWhole(join(dir, 'policy.json'), text);
    const bounds = boundsFor(policy);
    if (shared.ledger !== undefined) {
      const proposed = policy.privacy.mechanism === 'dp-sgd' ? bounds.lifetime : null;
      bounds.lifetime = adoptLedger(shared.ledger, proposed, Date.now()) ?? bounds.lifetime;
    }
    if (!existsSync(boundsPath(dir))) writeWhole(boundsPath(dir), `${JSON.stringify(bounds, null, 2)}\n`, 0o600);
    // Last: a folder with this file is complete.
    const enrolment = { version: 1 as const, siteId, url, tlsFingerprint, coordinator, rosterJws, ...shared };
    writeWhole(join(dir, 'enrolment.json'), `${JSON.stringify(enrolment, null, 2)}\n`, 0o600);
    return { dir, enrolment, keys, policy, ledger: shared.ledger ?? ledgerPath(dir) };
  } finally {
    await link.close();
  }
}

/** @throws {FedError} PARAMETER_INVALID when the site has not joined; STORE_CORRUPT, KEYS_EXPOSED. */
export function openSite(dir: string): SiteFolder {
  const path = join(dir, 'enrolment.json');
  if (!existsSync(path))
    throw new FedError('PARAMETER_INVALID', `${dir} has not joined a run: veilgan site join does that`);
  const enrolment = parseJson(readFileSync(path, 'utf8'), EnrolmentFile, path, 'STORE_CORRUPT');
  const keys = loadOrCreateSiteKeys(join(dir, 'keys.json'));
  const policy = loadPolicyText(readText(join(dir, 'policy.json'), 'policy'), loadOptions);
  return { dir, enrolment, keys, policy, ledger: enrolment.ledger ?? ledgerPath(dir) };
}

/** Bounds from a file. @throws {FedError} PARAMETER_INVALID: all must be written down. */
export const readBounds = (path: string): SiteBounds =>
  parseJson(readText(path, 'bounds'), SiteBounds, path, 'PARAMETER_INVALID');

/**
 * Bounds that just let this policy pass, once: what a site has agreed to by joining, and no more. A run without a
 * mechanism stays declined until the operator writes otherwise.
 */
export function boundsFor(policy: DeepReadonly<Policy>): SiteBounds {
  const { privacy, aggregation, pooled } = policy;
  const insecure = privacy.mechanism !== 'dp-sgd';
  const dp = insecure ? { epsilon: 1, delta: 1e-5, noiseMultiplier: 0 } : privacy;
  // The filter that holds a lifetime counts one run for more than its own epsilon; in hundredths, upwards.
  const lifetime = insecure ? dp.epsilon : Math.max(dp.epsilon, Math.ceil(lifetimeEpsilonOfPolicy(policy) * 100) / 100);
  const rates = [privacy, ...Object.values(policy.sites ?? {})].map((s) => s.sampleRate ?? privacy.sampleRate);
  return {
    maxEpsilon: dp.epsilon,
    maxDelta: dp.delta,
    minNoiseToSampleRate: dp.noiseMultiplier / Math.max(...rates),
    maxSteps: privacy.maxSteps,
    maxImagesPerPatient: privacy.imagesPerPatient,
    minSites: aggregation.minSites,
    minSurvivors: aggregation.minSurvivors,
    schemes: [aggregation.scheme],
    ...(pooled && { pooled: { minColluders: pooled.maxColluders } }),
    allowInsecure: false,
    lifetime: { epsilon: lifetime, delta: dp.delta },
  };
}

function requireSame(pinned: CheckedPolicy, offered: CheckedPolicy): void {
  if (policySha256(pinned) === policySha256(offered)) return;
  const lines = differencesOf(pinned, offered)
    .slice(0, 12)
    .map(({ path, before, after }) => `${path}: ${JSON.stringify(before)} is pinned, ${JSON.stringify(after)} offered`);
  throw new FedError(
    'POLICY_MISMATCH',
    `the coordinator’s policy ${policySha256(offered)} is not the pinned ${policySha256(pinned)}; ${lines.join('; ')}`,
  );
}

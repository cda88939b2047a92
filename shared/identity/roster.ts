import { createHash } from 'node:crypto';
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { SiteId } from '../protocol/plan.ts';
import { PublicSealingKey, PublicSigningKey, thumbprint } from './jwk.ts';
import type { PublicKeys, SigningKeys } from './keys.ts';
import { CONSORTIUM, signJson, verifyJson } from './signed.ts';

/**
 * The list of every site's public keys, signed by the coordinator. Sites check each other's signatures against it, so
 * they must all see the same one: versions only grow, and one version has one content.
 */
export const RosterEntry = z.strictObject({
  siteId: SiteId,
  status: z.enum(['active', 'revoked']),
  signing: PublicSigningKey,
  sealing: PublicSealingKey,
  /** The roster version in which this entry last changed. */
  since: z.int().min(1),
});
export type RosterEntry = z.infer<typeof RosterEntry>;

export const Roster = z
  .strictObject({
    version: z.int().min(0),
    /** Sorted by site id, each once. */
    sites: z.array(RosterEntry).max(10_000),
  })
  .refine(
    (r) => r.sites.every((s, i) => i === 0 || r.sites[i - 1].siteId < s.siteId),
    'sites are not sorted or not unique',
  )
  .refine((r) => r.sites.every((s) => s.since <= r.version), 'an entry is newer than its roster');
export type Roster = z.infer<typeof Roster>;

const TYP = 'veilgan-roster+jws';
export const EMPTY_ROSTER: Roster = { version: 0, sites: [] };

/** What a party keeps of the last roster it accepted. */
export interface RosterSeen {
  readonly version: number;
  /** SHA-256 of the roster's JSON, hexadecimal. */
  readonly sha256: string;
}
export const rosterSeen = (roster: Roster): RosterSeen => ({
  version: roster.version,
  sha256: createHash('sha256').update(rosterText(roster)).digest('hex'),
});

/** The text whose hash names a roster. */
export const rosterText = (roster: Roster): string => JSON.stringify(roster);

/**
 * Refuses to go back.
 * @throws {FedError} ROSTER_STALE when `now` is older than `seen`, or another roster under the same version: a coordinator
 *   that shows two sites different keys.
 */
export function requireNotRewound(now: RosterSeen, seen: RosterSeen | null): void {
  if (seen && (now.version < seen.version || (now.version === seen.version && now.sha256 !== seen.sha256)))
    throw new FedError('ROSTER_STALE', `version ${now.version} ${now.sha256}, seen ${seen.version} ${seen.sha256}`);
}

export const signRoster = (keys: SigningKeys, roster: Roster, nowMs: number): Promise<string> =>
  signJson(keys, roster, { typ: TYP, audience: CONSORTIUM, nowMs });

/**
 * Verifies a roster against the pinned coordinator key and the last one seen.
 * @throws {FedError} SIGNATURE_INVALID; MESSAGE_INVALID; ROSTER_STALE, see `requireNotRewound`.
 */
export async function verifyRoster(
  jws: string,
  coordinator: PublicSigningKey,
  seen: RosterSeen | null,
): Promise<Roster> {
  const { body } = await verifyJson(jws, coordinator, { typ: TYP, audience: CONSORTIUM, schema: Roster });
  requireNotRewound(rosterSeen(body), seen);
  return body;
}

/**
 * Adds a site or rotates its keys. Every other entry is returned as it was: nobody else is issued anything.
 * @throws {FedError} INVITE_INVALID when another site already holds one of the keys: one key, one name.
 */
export function withSite(roster: Roster, siteId: string, keys: PublicKeys): Roster {
  const others = roster.sites.filter((s) => s.siteId !== siteId);
  if (others.some((s) => s.signing.x === keys.signing.x || s.sealing.x === keys.sealing.x))
    throw new FedError('INVITE_INVALID', `a key offered for ${siteId} belongs to another site`);
  const version = roster.version + 1;
  return sorted(version, [...others, { siteId, status: 'active', ...keys, since: version }]);
}

/** Revokes a site: its entry stays, so that old signatures still have a name. @throws {FedError} KEY_UNKNOWN */
export function withoutSite(roster: Roster, siteId: string): Roster {
  const entry = roster.sites.find((s) => s.siteId === siteId);
  if (!entry) throw new FedError('KEY_UNKNOWN', `site=${siteId}`);
  const version = roster.version + 1;
  const others = roster.sites.filter((s) => s !== entry);
  return sorted(version, [...others, { ...entry, status: 'revoked', since: version }]);
}

/** A site's entry while it may take part. @throws {FedError} KEY_UNKNOWN */
export function activeSite(roster: Roster, siteId: string): RosterEntry {
  const entry = roster.sites.find((s) => s.siteId === siteId);
  if (entry?.status !== 'active') throw new FedError('KEY_UNKNOWN', `site=${siteId} ${entry?.status ?? 'absent'}`);
  return entry;
}

/** The active site that signs with this key. @throws {FedError} KEY_UNKNOWN */
export function siteByKid(roster: Roster, kid: string): RosterEntry {
  const entry = roster.sites.find((s) => s.status === 'active' && thumbprint(s.signing) === kid);
  if (!entry) throw new FedError('KEY_UNKNOWN', `kid=${kid}`);
  return entry;
}

const sorted = (version: number, sites: RosterEntry[]): Roster => ({
  version,
  sites: sites.sort((a, b) => (a.siteId < b.siteId ? -1 : 1)),
});

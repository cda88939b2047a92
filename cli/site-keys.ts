/** When keys change: this site's own, by a new invite; or the coordinator's, by its old key's signature or by hand. */
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { FedError } from '../shared/errors.ts';
import { TlsFingerprint, verifyInvite } from '../shared/identity/invite.ts';
import { PublicSigningKey, thumbprint } from '../shared/identity/jwk.ts';
import { loadOrCreateSiteKeys } from '../shared/identity/keys.ts';
import { type Roster, verifyRoster } from '../shared/identity/roster.ts';
import { joinWithInvite } from '../site-agent/shell/join.ts';
import { lockFolder } from './lock.ts';
import { parseJson } from './options.ts';
import { replaceWhole } from './output.ts';
import { EnrolmentFile } from './site-folder.ts';

const enrolmentPath = (dir: string): string => join(dir, 'enrolment.json');

function readEnrolment(dir: string): EnrolmentFile {
  const path = enrolmentPath(dir);
  if (!existsSync(path))
    throw new FedError('PARAMETER_INVALID', `${dir} has not joined a run: veilgan site join does that`);
  return parseJson(readFileSync(path, 'utf8'), EnrolmentFile, path, 'STORE_CORRUPT');
}

const writeEnrolment = (dir: string, enrolment: EnrolmentFile): void =>
  replaceWhole(enrolmentPath(dir), `${JSON.stringify(enrolment, null, 2)}\n`, 0o600);

/** The coordinator has proved a key to which the pinned one gave way. Durable when this returns. */
export function keepCoordinatorKey(dir: string, key: PublicSigningKey): void {
  const e = readEnrolment(dir);
  if (e.coordinator.x === key.x) return;
  writeEnrolment(dir, { ...e, coordinator: key, joinedUnder: e.joinedUnder ?? e.coordinator });
}

/**
 * New keys for this site, in its own folder: for a key that was lost, stolen, or is old. The ledger, the outbox and the
 * bounds stay. Interrupted, it may be called again with the same invite.
 * @throws {FedError} INVITE_INVALID, also for an invite of another site or another coordinator; LINK_LOST.
 */
export async function rotateSite(dir: string, invite: string): Promise<{ siteId: string; kid: string }> {
  using _ = lockFolder(dir);
  const e = readEnrolment(dir);
  const claims = await verifyInvite(invite.trim(), null);
  if (claims.siteId !== e.siteId)
    throw new FedError('INVITE_INVALID', `it is for ${claims.siteId}, this is ${e.siteId}`);
  if (claims.key.x !== e.coordinator.x)
    throw new FedError('INVITE_INVALID', 'it is of another coordinator, or of another key of this one: see site repin');
  const fresh = join(dir, 'keys.next.json');
  const keys = loadOrCreateSiteKeys(fresh);
  const { url, tlsFingerprint, roster, rosterJws } = await joinWithInvite(invite, keys);
  const formerKeys = [...new Set([...(e.formerKeys ?? []), ...(await ownKeysOf(e))])].filter((k) => k !== keys.kid);
  // Re-joined under the coordinator's key of now: the roster above is signed with it.
  const { joinedUnder: _under, ...rest } = e;
  requireNewer(roster, keys.kid, e.siteId);
  writeEnrolment(dir, { ...rest, url, tlsFingerprint, rosterJws, formerKeys });
  renameSync(fresh, join(dir, 'keys.json'));
  return { siteId: e.siteId, kid: keys.kid };
}

/** This site's key in the roster it joined with: it may be all that is left of a key file that was lost. */
async function ownKeysOf(e: EnrolmentFile): Promise<string[]> {
  const roster = await verifyRoster(e.rosterJws, e.joinedUnder ?? e.coordinator, null);
  return roster.sites.filter((s) => s.siteId === e.siteId).map((s) => thumbprint(s.signing));
}

function requireNewer(roster: Roster, kid: string, siteId: string): void {
  const own = roster.sites.find((s) => s.siteId === siteId);
  if (own === undefined || thumbprint(own.signing) !== kid)
    throw new FedError('KEY_UNKNOWN', `the roster names another key for ${siteId}`);
}

/**
 * Pins another key of the coordinator, by hand: its old one is lost, and signs nothing any more.
 *
 * Guarantee: none, but that the operator has typed it. Compare it over another channel than the one it came by.
 * @param key - the `x` of the key, 43 characters, as `veilgan coordinator show-key` prints it.
 * @param tls - SHA-256 of another certificate, where that changed too.
 */
export function repinSite(dir: string, key: string, tls?: string): { kid: string } {
  using _ = lockFolder(dir);
  const e = readEnrolment(dir);
  const coordinator = PublicSigningKey.safeParse({ kty: 'OKP', crv: 'Ed25519', x: key.trim() }).data;
  if (coordinator === undefined) throw new FedError('PARAMETER_INVALID', 'that is no key: 43 characters of base64url');
  const fingerprint = tls === undefined ? undefined : TlsFingerprint.safeParse(tls.trim().toLowerCase()).data;
  if (tls !== undefined && fingerprint === undefined)
    throw new FedError('PARAMETER_INVALID', 'that is no fingerprint: 64 hexadecimal digits');
  const joinedUnder = e.joinedUnder ?? e.coordinator;
  writeEnrolment(dir, { ...e, coordinator, joinedUnder, tlsFingerprint: fingerprint ?? e.tlsFingerprint });
  return { kid: thumbprint(coordinator) };
}

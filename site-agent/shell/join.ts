import { FedError } from '../../shared/errors.ts';
import { Joined, proveJoin } from '../../shared/identity/handshake.ts';
import { verifyInvite } from '../../shared/identity/invite.ts';
import { type PublicSigningKey, thumbprint } from '../../shared/identity/jwk.ts';
import type { SiteKeys } from '../../shared/identity/keys.ts';
import { activeSite, type Roster, type RosterSeen, verifyRoster } from '../../shared/identity/roster.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { parseMessage } from '../../shared/protocol/messages.ts';
import { type RandomBytes, secureBytes } from '../../shared/random.ts';
import { type CoordinatorAddress, dial, request } from './dial.ts';

/** What a site keeps of its joining: all it needs to connect, and the first roster. */
export interface Enrolment extends CoordinatorAddress {
  readonly siteId: string;
  readonly coordinator: PublicSigningKey;
  readonly roster: Roster;
  readonly rosterJws: string;
}

/**
 * Asks for the roster as it is now.
 * @param seen - the last one this site accepted: none older is taken, and no other under the same version.
 * @throws {FedError} LINK_LOST, ROSTER_STALE, SIGNATURE_INVALID
 */
export async function fetchRoster(
  link: CoordinatorLink,
  coordinator: PublicSigningKey,
  seen: RosterSeen | null,
): Promise<{ roster: Roster; rosterJws: string }> {
  const { roster: rosterJws } = parseMessage(Joined, await link.call('identity.roster', {}));
  return { roster: await verifyRoster(rosterJws, coordinator, seen), rosterJws };
}

/**
 * Joins a consortium with the string its operator was handed.
 *
 * Guarantee: the invite is sent only to the holder of the certificate and of the key named in it; the private keys are
 * not sent at all. May be called again with the same keys when the answer was lost.
 * @throws {FedError} INVITE_INVALID, COORDINATOR_UNKNOWN, LINK_LOST, SIGNATURE_INVALID
 */
export async function joinWithInvite(
  invite: string,
  keys: SiteKeys,
  o: { timeoutMs?: number; random?: RandomBytes; nowMs?: number } = {},
): Promise<Enrolment> {
  const timeoutMs = o.timeoutMs ?? 20_000;
  const text = invite.trim();
  const claims = await verifyInvite(text, null);
  const address = { url: claims.url, tlsFingerprint: claims.tlsFingerprint, coordinator: claims.key };
  const { socket, binding } = await dial(address, { timeoutMs, random: o.random ?? secureBytes });
  try {
    const message = await proveJoin(keys, text, claims.iss, binding, o.nowMs ?? Date.now());
    const { roster: rosterJws } = parseMessage(Joined, await request(socket, timeoutMs, 'join', message));
    const roster = await verifyRoster(rosterJws, claims.key, null);
    if (thumbprint(activeSite(roster, claims.siteId).signing) !== keys.kid)
      throw new FedError('KEY_UNKNOWN', `the roster names another key for ${claims.siteId}`);
    return { ...address, siteId: claims.siteId, roster, rosterJws };
  } finally {
    socket.disconnect();
  }
}

import { FedError } from '../../shared/errors.ts';
import { type InviteClaims, inviteExpired } from '../../shared/identity/invite.ts';
import { thumbprint } from '../../shared/identity/jwk.ts';
import type { PublicKeys } from '../../shared/identity/keys.ts';
import { type Roster, withSite } from '../../shared/identity/roster.ts';

/** An invite as the coordinator remembers it. */
export interface InviteRecord {
  readonly jti: string;
  readonly siteId: string;
  /** When it ends, milliseconds since 1970. */
  readonly expMs: number;
  /** The keys it let in, by thumbprint; null while it is open. */
  readonly usedBy: { readonly signing: string; readonly sealing: string } | null;
}

/** Who may come in and who is in: written together or not at all. */
export interface Membership {
  readonly invites: readonly InviteRecord[];
  readonly roster: Roster;
}

/** How long a spent or expired invite is remembered, in milliseconds: as long, a lost acknowledgement can be repeated. */
const REMEMBER_MS = 30 * 24 * 3600 * 1000;

/** Notes a new invite; forgets those that ended long ago. */
export function issueInvite(m: Membership, invite: Omit<InviteRecord, 'usedBy'>, nowMs: number): Membership {
  const kept = m.invites.filter((i) => nowMs < i.expMs + REMEMBER_MS);
  return { ...m, invites: [...kept, { ...invite, usedBy: null }] };
}

/** Withdraws an open invite; one that was used stays as it is. */
export function withdrawInvite(m: Membership, jti: string): Membership {
  return { ...m, invites: m.invites.filter((i) => i.jti !== jti || i.usedBy !== null) };
}

/**
 * Decides a join. Pure: the invite's signature and the possession of the keys were checked before.
 *
 * Guarantee: an invite lets in one pair of keys. The same pair may come again, because the answer to its first coming
 * may have been lost; then nothing changes and null is returned.
 * @throws {FedError} INVITE_INVALID
 */
export function admit(m: Membership, claims: InviteClaims, keys: PublicKeys, nowMs: number): Membership | null {
  const record = m.invites.find((i) => i.jti === claims.jti);
  if (!record || record.siteId !== claims.siteId)
    throw new FedError('INVITE_INVALID', `jti=${claims.jti} unknown or withdrawn`);
  const by = { signing: thumbprint(keys.signing), sealing: thumbprint(keys.sealing) };
  if (record.usedBy) {
    const again = record.usedBy.signing === by.signing && record.usedBy.sealing === by.sealing;
    if (!again) throw new FedError('INVITE_INVALID', `jti=${claims.jti} was used with other keys`);
    return null;
  }
  if (inviteExpired(claims, nowMs)) throw new FedError('INVITE_INVALID', `jti=${claims.jti} expired`);
  return {
    invites: m.invites.map((i) => (i === record ? { ...i, usedBy: by } : i)),
    roster: withSite(m.roster, claims.siteId, keys),
  };
}

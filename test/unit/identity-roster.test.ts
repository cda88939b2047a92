import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { admit, issueInvite, type Membership, withdrawInvite } from '../../coordinator/core/admission.ts';
import { inviteExpired, signInvite, verifyInvite } from '../../shared/identity/invite.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys, createSiteKeys, publicKeys } from '../../shared/identity/keys.ts';
import {
  activeSite,
  EMPTY_ROSTER,
  rosterSeen,
  signRoster,
  siteByKid,
  verifyRoster,
  withoutSite,
  withSite,
} from '../../shared/identity/roster.ts';
import { codeOf } from '../support/wire-rig.ts';

const coordinator = createSigningKeys();
const coordinatorKey = publicPart(coordinator.signing);
const NOW = 1_700_000_000_000;
const north = createSiteKeys();
const south = createSiteKeys();
const two = withSite(withSite(EMPTY_ROSTER, 'south', publicKeys(south)), 'north', publicKeys(north));
const refusal = (work: () => unknown) => codeOf(async () => work());

test('a roster is sorted, versioned, and found by site and by key', async () => {
  expect(two.version).toBe(2);
  expect(two.sites.map((s) => s.siteId)).toEqual(['north', 'south']);
  expect(siteByKid(two, south.kid).siteId).toBe('south');
  expect(await refusal(() => siteByKid(two, coordinator.kid))).toBe('KEY_UNKNOWN');
});

test('adding, rotating and revoking one site leaves every other entry as it was', async () => {
  const rotated = withSite(two, 'north', publicKeys(createSiteKeys()));
  expect(rotated.sites[1]).toBe(two.sites[1]);
  expect(rotated.sites[0].signing).not.toEqual(two.sites[0].signing);
  expect(rotated.version).toBe(3);
  const revoked = withoutSite(two, 'north');
  expect(revoked.sites[1]).toBe(two.sites[1]);
  expect(await refusal(() => activeSite(revoked, 'north'))).toBe('KEY_UNKNOWN');
  expect(await refusal(() => siteByKid(revoked, north.kid))).toBe('KEY_UNKNOWN');
  expect(await refusal(() => withoutSite(two, 'west'))).toBe('KEY_UNKNOWN');
});

test('one key has one name', async () => {
  expect(await refusal(() => withSite(two, 'west', publicKeys(north)))).toBe('INVITE_INVALID');
  const mixed = { signing: createSiteKeys().signing, sealing: north.sealing };
  expect(await refusal(() => withSite(two, 'west', mixed))).toBe('INVITE_INVALID');
});

test('a site takes no older roster, and no second one under the same version', async () => {
  const jws = await signRoster(coordinator, two, NOW);
  const seen = rosterSeen(two);
  expect(await verifyRoster(jws, coordinatorKey, seen)).toEqual(two);
  const older = await signRoster(coordinator, withSite(EMPTY_ROSTER, 'south', publicKeys(south)), NOW);
  expect(await codeOf(verifyRoster(older, coordinatorKey, seen))).toBe('ROSTER_STALE');
  const lie = { ...two, sites: [two.sites[1]] };
  expect(await codeOf(verifyRoster(await signRoster(coordinator, lie, NOW), coordinatorKey, seen))).toBe(
    'ROSTER_STALE',
  );
  const newer = withoutSite(two, 'north');
  expect(await verifyRoster(await signRoster(coordinator, newer, NOW), coordinatorKey, seen)).toEqual(newer);
});

test('a roster of another signer, or out of order, is refused', async () => {
  const forged = await signRoster(createSigningKeys(), two, NOW);
  expect(await codeOf(verifyRoster(forged, coordinatorKey, null))).toBe('SIGNATURE_INVALID');
  const twice = { version: 2, sites: [two.sites[0], two.sites[0]] };
  expect(await codeOf(verifyRoster(await signRoster(coordinator, twice, NOW), coordinatorKey, null))).toBe(
    'MESSAGE_INVALID',
  );
});

const inviteFor = async (siteId: string, keys = coordinator, jti: string = randomUUID()) => {
  const o = { jti, siteId, url: 'https://127.0.0.1:1', tlsFingerprint: null, nowMs: NOW, ttlMs: 60_000 };
  const text = await signInvite(keys, o);
  return { text, jti, claims: await verifyInvite(text, null) };
};
const empty: Membership = { invites: [], roster: EMPTY_ROSTER };

test('an invite lets in one pair of keys, as often as that pair asks', async () => {
  const { claims, jti } = await inviteFor('north');
  const open = issueInvite(empty, { jti, siteId: 'north', expMs: NOW + 60_000 }, NOW);
  const joined = admit(open, claims, publicKeys(north), NOW)!;
  expect(activeSite(joined.roster, 'north').since).toBe(1);
  // The answer was lost: the same keys may ask again, long after the end, and nothing changes.
  expect(admit(joined, claims, publicKeys(north), NOW + 10 * 60_000)).toBeNull();
  const other = { ...publicKeys(north), sealing: publicKeys(south).sealing };
  expect(await refusal(() => admit(joined, claims, publicKeys(south), NOW))).toBe('INVITE_INVALID');
  expect(await refusal(() => admit(joined, claims, other, NOW))).toBe('INVITE_INVALID');
});

test('an invite that expired, was withdrawn, is unknown, or is for another site is refused', async () => {
  const { claims, jti } = await inviteFor('north');
  const open = issueInvite(empty, { jti, siteId: 'north', expMs: NOW + 60_000 }, NOW);
  expect(inviteExpired(claims, NOW + 59_999)).toBe(false);
  expect(await refusal(() => admit(open, claims, publicKeys(north), NOW + 60_000))).toBe('INVITE_INVALID');
  expect(await refusal(() => admit(withdrawInvite(open, jti), claims, publicKeys(north), NOW))).toBe('INVITE_INVALID');
  expect(await refusal(() => admit(empty, claims, publicKeys(north), NOW))).toBe('INVITE_INVALID');
  expect(await refusal(() => admit(open, { ...claims, siteId: 'south' }, publicKeys(north), NOW))).toBe(
    'INVITE_INVALID',
  );
});

test('the coordinator takes only invites it signed; a site only whole ones', async () => {
  const stranger = createSigningKeys();
  const forged = await inviteFor('north', stranger);
  expect(await codeOf(verifyInvite(forged.text, coordinatorKey))).toBe('INVITE_INVALID');
  const { text } = await inviteFor('north');
  expect(await codeOf(verifyInvite(text, coordinatorKey))).toBe('no error');
  expect(await codeOf(verifyInvite(text.slice(0, -4) + 'AAAA', null))).toBe('INVITE_INVALID');
  for (const junk of ['', 'x', 'a.b.c', 'x'.repeat(5000)])
    expect(await codeOf(verifyInvite(junk, null))).toBe('INVITE_INVALID');
  // Re-signed by someone else, with the true coordinator's name left in.
  const [, payload] = text.split('.');
  const [header, , signature] = forged.text.split('.');
  expect(await codeOf(verifyInvite(`${header}.${payload}.${signature}`, null))).toBe('INVITE_INVALID');
});

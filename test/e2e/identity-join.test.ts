import { expect, test } from 'vitest';
import { proveJoin } from '../../shared/identity/handshake.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSiteKeys } from '../../shared/identity/keys.ts';
import { rosterSeen } from '../../shared/identity/roster.ts';
import { secureBytes } from '../../shared/random.ts';
import { connect } from '../../site-agent/shell/connection.ts';
import { dial, request } from '../../site-agent/shell/dial.ts';
import { fetchRoster, joinWithInvite } from '../../site-agent/shell/join.ts';
import { codeOf, handlerOf, manualClock, startRig, until } from '../support/wire-rig.ts';

const T = { timeoutMs: 5_000, random: secureBytes };
const who = () => handlerOf((siteId) => siteId);
const FAST = { baseMs: 1, capMs: 5 };

test('a lost answer can be asked for again, with the same keys only', async () => {
  await using rig = await startRig(who());
  const invite = await rig.invite('north');
  const keys = createSiteKeys();
  const first = await joinWithInvite(invite, keys);
  const again = await joinWithInvite(`  ${invite}\n`, keys);
  expect(again.rosterJws).toBe(first.rosterJws);
  expect(await codeOf(joinWithInvite(invite, createSiteKeys()))).toBe('INVITE_INVALID');
  expect(rig.identity.roster.version).toBe(1);
});

test('an expired, forged, or withdrawn invite lets nobody in', async () => {
  const clock = manualClock();
  await using rig = await startRig(who(), { clock });
  const old = await rig.invite('north', 1_000);
  clock.nowMs += 1_000;
  expect(await codeOf(joinWithInvite(old, createSiteKeys()))).toBe('INVITE_INVALID');
  const { jti, invite } = await rig.identity.invite({
    siteId: 'north',
    url: rig.url,
    tlsFingerprint: rig.tls.fingerprint,
  });
  await rig.identity.withdraw(jti);
  expect(await codeOf(joinWithInvite(invite, createSiteKeys()))).toBe('INVITE_INVALID');
  expect(rig.identity.roster.sites).toEqual([]);
});

test('two sites with one invite at the same moment: one is in', async () => {
  await using rig = await startRig(who());
  const invite = await rig.invite('north');
  const codes = await Promise.all([1, 2, 3].map(() => codeOf(joinWithInvite(invite, createSiteKeys()))));
  expect(codes.sort()).toEqual(['INVITE_INVALID', 'INVITE_INVALID', 'no error']);
  expect(rig.identity.roster.sites.length).toBe(1);
});

test('keys that the sender does not hold, and swapped sealing keys, are refused', async () => {
  await using rig = await startRig(who());
  const invite = await rig.invite('north');
  const { enrolment } = await rig.join('south');
  const attempt = async (change: (m: Awaited<ReturnType<typeof proveJoin>>) => object) => {
    const { socket, binding } = await dial(enrolment, T);
    const message = await proveJoin(createSiteKeys(), invite, rig.keys.kid, binding, 0);
    const code = await codeOf(request(socket, 5_000, 'join', change(message)));
    socket.disconnect();
    return code;
  };
  const other = createSiteKeys();
  expect(await attempt((m) => ({ ...m, keys: { ...m.keys, signing: publicPart(other.signing) } }))).toBe(
    'SIGNATURE_INVALID',
  );
  expect(await attempt((m) => ({ ...m, keys: { ...m.keys, sealing: publicPart(other.sealing) } }))).toBe(
    'SIGNATURE_INVALID',
  );
  expect(await attempt((m) => ({ ...m, proof: 'a.b.c' }))).toBe('SIGNATURE_INVALID');
  expect(await attempt((m) => m)).toBe('no error');
});

test('rotation and revocation end the old connection, re-issue nobody else, and reach sites as a newer roster', async () => {
  await using rig = await startRig(who());
  const south = await rig.site('south');
  const before = await fetchRoster(south, publicPart(rig.keys.signing), null);
  const { enrolment, keys } = await rig.join('north');
  const old = connect({ ...enrolment, keys, backoff: FAST });
  await old.ready();
  const lost = until(old, 'waiting');
  const renewed = await rig.join('north');
  await lost;
  expect((await until(old, 'waiting')).error.code, 'the old key').toBe('SIGNATURE_INVALID');
  await old.close();
  const fresh = connect({ ...renewed.enrolment, keys: renewed.keys, backoff: FAST });
  await fresh.ready();
  const after = await fetchRoster(south, publicPart(rig.keys.signing), rosterSeen(before.roster));
  expect(after.roster.sites.find((s) => s.siteId === 'south')).toEqual(
    before.roster.sites.find((s) => s.siteId === 'south'),
  );
  const cut = until(fresh, 'waiting');
  await rig.identity.revoke('north');
  await cut;
  expect((await until(fresh, 'waiting')).error.code).toBe('KEY_UNKNOWN');
  await fresh.close();
  expect(await south.call('who', null), 'the others never noticed').toBe('south');
});

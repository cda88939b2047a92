/** A coordinator whose signing key was changed, over real connections: who follows, and who must not. */
import { expect, test } from 'vitest';
import { IdentityService } from '../../coordinator/shell/identity-service.ts';
import { MemoryIdentityStore } from '../../coordinator/shell/identity-store.ts';
import { type CoordinatorServer, startServer } from '../../coordinator/shell/server.ts';
import { systemClock } from '../../shared/clock.ts';
import { type PublicSigningKey, publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys, type SigningKeys } from '../../shared/identity/keys.ts';
import { verifyRoster } from '../../shared/identity/roster.ts';
import { followSuccession, signSuccession } from '../../shared/identity/succession.ts';
import { connect } from '../../site-agent/shell/connection.ts';
import { codeOf, handlerOf, startRig, until } from '../support/wire-rig.ts';

const FAST = { baseMs: 1, capMs: 5 };
const who = () => handlerOf((siteId) => siteId);

/** The same coordinator, started again under other keys. */
async function restarted(
  rig: Awaited<ReturnType<typeof startRig>>,
  store: MemoryIdentityStore,
  keys: SigningKeys,
  o: Parameters<typeof IdentityService.open>[3],
): Promise<CoordinatorServer> {
  const { port } = rig.server;
  await rig.server.close();
  const identity = await IdentityService.open(keys, store, systemClock, o);
  return startServer({ tls: rig.tls, identity, handler: who(), port });
}

test('a site follows from the key it has pinned, over two changes, and never goes back', async () => {
  const store = new MemoryIdentityStore();
  await using rig = await startRig(who(), { store });
  const [second, third] = [createSigningKeys(), createSigningKeys()];
  const first = publicPart(rig.keys.signing);
  const succession = [
    await signSuccession(rig.keys, publicPart(second.signing), 0),
    await signSuccession(second, publicPart(third.signing), 0),
  ];
  const { enrolment, keys } = await rig.join('north');
  const kept: PublicSigningKey[] = [];
  const link = connect({ ...enrolment, keys, backoff: FAST, onCoordinatorKey: (key) => kept.push(key) });
  await link.ready();
  const former = [first, publicPart(second.signing)];
  // Listened for before the restart: on a slow machine the link is back before the new server's promise is.
  const lost = until(link, 'waiting');
  const server = await restarted(rig, store, third, { succession, former });
  try {
    await lost;
    await link.ready();
    expect(await link.call('who', null)).toBe('north');
    expect(kept).toEqual([publicPart(third.signing)]);
    await link.close();
    // One that has pinned the newest does not listen to the old key any more, nor one that knows the middle one go back.
    const chain = [await signSuccession(rig.keys, publicPart(createSigningKeys().signing), 0)];
    expect(await followSuccession(kept[0], chain)).toEqual(kept[0]);
    expect(await followSuccession(former[1], succession)).toEqual(kept[0]);
    // The roster is the same one, under the key of now.
    const stored = (await store.load())!.identity;
    expect(await verifyRoster(stored.rosterJws, kept[0], null)).toEqual(rig.identity.roster);
  } finally {
    await link.close();
    await server.close();
  }
});

test('without the old key’s signature nobody follows: not to an unsigned key, not to a forged statement', async () => {
  const store = new MemoryIdentityStore();
  await using rig = await startRig(who(), { store });
  const thief = createSigningKeys();
  const { enrolment, keys } = await rig.join('north');
  const forged = await signSuccession({ ...thief, kid: rig.keys.kid }, publicPart(thief.signing), 0);
  expect(await codeOf(IdentityService.open(thief, store, systemClock)), 'nor does the folder open').toBe(
    'STORE_CORRUPT',
  );
  for (const succession of [[], [forged]]) {
    const other = new MemoryIdentityStore();
    const server = await restarted(rig, other, thief, { succession });
    const link = connect({ ...enrolment, keys, backoff: FAST, onCoordinatorKey: () => expect.unreachable() });
    expect((await until(link, 'waiting')).error.code).toBe('COORDINATOR_UNKNOWN');
    await link.close();
    await server.close();
  }
});

test('a lost key: the roster is taken as it is stored, and a site that was told the key by hand connects', async () => {
  const store = new MemoryIdentityStore();
  await using rig = await startRig(who(), { store });
  const fresh = createSigningKeys();
  const { enrolment, keys } = await rig.join('north');
  const server = await restarted(rig, store, fresh, { signerLost: true });
  try {
    const old = connect({ ...enrolment, keys, backoff: FAST });
    expect((await until(old, 'waiting')).error.code).toBe('COORDINATOR_UNKNOWN');
    await old.close();
    const pinned = connect({ ...enrolment, coordinator: publicPart(fresh.signing), keys, backoff: FAST });
    await pinned.ready();
    expect(await pinned.call('who', null)).toBe('north');
    await pinned.close();
  } finally {
    await server.close();
  }
});

test('what a command changed in the store beside a coordinator that runs is seen on refresh, and cuts the site off', async () => {
  const store = new MemoryIdentityStore();
  await using rig = await startRig(who(), { store });
  const link = await rig.site('north');
  const beside = await IdentityService.open(rig.keys, store, systemClock);
  await beside.revoke('north');
  expect(await link.call('who', null), 'not yet').toBe('north');
  const cut = until(link, 'waiting');
  await rig.identity.refresh();
  await cut;
  expect((await until(link, 'waiting')).error.code).toBe('KEY_UNKNOWN');
});

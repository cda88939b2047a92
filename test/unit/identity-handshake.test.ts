import { expect, test } from 'vitest';
import {
  checkCoordinator,
  checkJoin,
  checkSite,
  proveCoordinator,
  proveJoin,
  proveSite,
} from '../../shared/identity/handshake.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys, createSiteKeys } from '../../shared/identity/keys.ts';
import { codeOf } from '../support/wire-rig.ts';

const coordinator = createSigningKeys();
const pinned = publicPart(coordinator.signing);
const site = createSiteKeys();
const siteKey = publicPart(site.signing);
const nonce = (letter: string) => letter.repeat(42) + 'A';
const TLS = 'a'.repeat(64);
const OTHER_TLS = 'b'.repeat(64);
const b = { nonce: nonce('c'), tlsFingerprint: TLS };
const mine = { siteNonce: nonce('s'), tlsFingerprint: TLS };

test('the site believes a coordinator that signed this nonce, for this certificate, with the pinned key', async () => {
  const challenge = await proveCoordinator(coordinator, mine.siteNonce, b, 0);
  await checkCoordinator(challenge, pinned, mine);
  const refused = await Promise.all(
    [
      checkCoordinator(challenge, publicPart(createSigningKeys().signing), mine),
      checkCoordinator(challenge, pinned, { ...mine, siteNonce: nonce('t') }),
      checkCoordinator({ ...challenge, nonce: nonce('d') }, pinned, mine),
      checkCoordinator({ ...challenge, proof: 'a.b.c' }, pinned, mine),
    ].map(codeOf),
  );
  expect(refused).toEqual(Array(4).fill('COORDINATOR_UNKNOWN'));
});

test('a man in the middle, with a certificate of his own, can relay neither half', async () => {
  // He passes the site's hello on; the coordinator signs the certificate it has itself, the site sees his.
  const relayed = await proveCoordinator(coordinator, mine.siteNonce, b, 0);
  expect(await codeOf(checkCoordinator(relayed, pinned, { ...mine, tlsFingerprint: OTHER_TLS }))).toBe(
    'COORDINATOR_UNKNOWN',
  );
  // And were a site to sign what it sees, the coordinator would not take it.
  const proof = await proveSite(site, 'north', coordinator.kid, { ...b, tlsFingerprint: OTHER_TLS }, 0);
  expect(await codeOf(checkSite(proof, siteKey, coordinator.kid, b))).toBe('SIGNATURE_INVALID');
  const join = await proveJoin(site, 'invite', coordinator.kid, { ...b, tlsFingerprint: OTHER_TLS }, 0);
  expect(await codeOf(checkJoin(join, coordinator.kid, b))).toBe('SIGNATURE_INVALID');
});

test('a signature of one kind is none of another: proofs of site, coordinator and joining do not interchange', async () => {
  const prove = await proveSite(site, 'north', coordinator.kid, b, 0);
  const join = await proveJoin(site, 'invite', coordinator.kid, b, 0);
  expect(await codeOf(checkSite({ siteId: 'north', jws: join.proof }, siteKey, coordinator.kid, b))).toBe(
    'SIGNATURE_INVALID',
  );
  expect(await codeOf(checkJoin({ ...join, proof: prove.jws }, coordinator.kid, b))).toBe('SIGNATURE_INVALID');
  expect(await codeOf(checkSite(prove, siteKey, coordinator.kid, b))).toBe('no error');
  expect(await codeOf(checkSite({ ...prove, siteId: 'south' }, siteKey, coordinator.kid, b))).toBe('SIGNATURE_INVALID');
});

test('a join holds for one invite, one nonce and the keys it names', async () => {
  const join = await proveJoin(site, 'invite', coordinator.kid, b, 0);
  expect(await codeOf(checkJoin({ ...join, invite: 'another' }, coordinator.kid, b))).toBe('SIGNATURE_INVALID');
  expect(await codeOf(checkJoin(join, coordinator.kid, { ...b, nonce: nonce('d') }))).toBe('HANDSHAKE_REPLAYED');
  expect(await codeOf(checkJoin(join, createSigningKeys().kid, b))).toBe('SIGNATURE_INVALID');
  expect(await checkJoin(join, coordinator.kid, b)).toEqual(join.keys);
});

import { createServer } from 'node:tls';
import type { AddressInfo, Socket } from 'node:net';
import { expect, test } from 'vitest';
import { selfSignedTls } from '../../coordinator/shell/tls.ts';
import { PROTOCOL_VERSION, proveSite } from '../../shared/identity/handshake.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys, createSiteKeys } from '../../shared/identity/keys.ts';
import { secureBytes } from '../../shared/random.ts';
import { connect } from '../../site-agent/shell/connection.ts';
import { dial, request } from '../../site-agent/shell/dial.ts';
import { joinWithInvite } from '../../site-agent/shell/join.ts';
import { codeOf, handlerOf, manualClock, startRig, until } from '../support/wire-rig.ts';

const T = { timeoutMs: 5_000, random: secureBytes };
const who = () => handlerOf((siteId) => siteId);
const FAST = { baseMs: 1, capMs: 5 };

test('a wrong key, an unknown site, and a signature for another coordinator or certificate are refused', async () => {
  await using rig = await startRig(who());
  const { enrolment, keys } = await rig.join('north');
  const kid = rig.keys.kid;
  const attempt = async (make: (b: { nonce: string; tlsFingerprint: string }) => Promise<object>) => {
    const { socket, binding } = await dial(enrolment, T);
    const code = await codeOf(async () => request(socket, 5_000, 'prove', await make(binding)));
    const call = await codeOf(request(socket, 5_000, 'call', 'who', null));
    socket.disconnect();
    return [code, call];
  };
  const out = 'NOT_AUTHENTICATED';
  expect(await attempt((b) => proveSite(createSigningKeys(), 'north', kid, b, 0))).toEqual(['SIGNATURE_INVALID', out]);
  expect(await attempt((b) => proveSite(keys, 'south', kid, b, 0))).toEqual(['KEY_UNKNOWN', out]);
  expect(await attempt((b) => proveSite(keys, 'north', createSigningKeys().kid, b, 0))).toEqual([
    'SIGNATURE_INVALID',
    out,
  ]);
  expect(await attempt((b) => proveSite(keys, 'north', kid, { ...b, tlsFingerprint: '0'.repeat(64) }, 0))).toEqual([
    'SIGNATURE_INVALID',
    out,
  ]);
  expect(await attempt(async (b) => ({ ...(await proveSite(keys, 'north', kid, b, 0)), siteId: 'other' }))).toEqual([
    'KEY_UNKNOWN',
    out,
  ]);
  expect(await attempt((b) => proveSite(keys, 'north', kid, b, 0))).toEqual(['no error', 'no error']);
});

test('a captured proof is worth nothing: on its own connection, on another, or after a new hello', async () => {
  await using rig = await startRig(who());
  const { enrolment, keys } = await rig.join('north');
  const first = await dial(enrolment, T);
  const captured = await proveSite(keys, 'north', rig.keys.kid, first.binding, 0);
  const second = await dial(enrolment, T);
  expect(await codeOf(request(second.socket, 5_000, 'prove', captured))).toBe('HANDSHAKE_REPLAYED');
  // One answer a challenge, rightly or not: the true proof comes too late now.
  const late = await proveSite(keys, 'north', rig.keys.kid, second.binding, 0);
  expect(await codeOf(request(second.socket, 5_000, 'prove', late))).toBe('HANDSHAKE_REPLAYED');
  // Positive control: where it was made for, it is good. Once.
  expect(await codeOf(request(first.socket, 5_000, 'prove', captured))).toBe('no error');
  expect(await codeOf(request(first.socket, 5_000, 'prove', captured))).toBe('HANDSHAKE_REPLAYED');
  const hello = { protocol: PROTOCOL_VERSION, nonce: 'A'.repeat(43) };
  const third = await dial(enrolment, T);
  const old = await proveSite(keys, 'north', rig.keys.kid, third.binding, 0);
  await request(third.socket, 5_000, 'hello', hello);
  expect(await codeOf(request(third.socket, 5_000, 'prove', old))).toBe('HANDSHAKE_REPLAYED');
  for (const { socket } of [first, second, third]) socket.disconnect();
});

test('a challenge expires, and whoever has not answered is cut off', async () => {
  const clock = manualClock();
  await using rig = await startRig(who(), { clock });
  const { enrolment, keys } = await rig.join('north');
  const slow = await dial(enrolment, T);
  const answer = await proveSite(keys, 'north', rig.keys.kid, slow.binding, 0);
  clock.nowMs += 20_000;
  expect(await codeOf(request(slow.socket, 5_000, 'prove', answer))).toBe('HANDSHAKE_REPLAYED');
  const gone = new Promise((resolve) => slow.socket.once('disconnect', resolve));
  clock.fire();
  await gone;
});

test('with a wrong fingerprint not one byte of HTTP is sent; with the right one it is', async () => {
  const tls = await selfSignedTls('127.0.0.1', Date.now());
  const spy = createServer({ cert: tls.cert, key: tls.key });
  const closed: (() => void)[] = [];
  let heard = '';
  spy.on('secureConnection', (socket: Socket) => {
    socket.on('data', (bytes: Buffer) => {
      heard += bytes.toString('latin1');
      socket.destroy();
    });
    socket.on('error', () => undefined);
  });
  spy.on('connection', (socket: Socket) => socket.on('close', () => closed.shift()?.()));
  await new Promise<void>((resolve) => spy.listen(0, '127.0.0.1', resolve));
  const url = `https://127.0.0.1:${(spy.address() as AddressInfo).port}`;
  const coordinator = publicPart(createSigningKeys().signing);
  const knock = async (tlsFingerprint: string | null) => {
    const over = new Promise<void>((resolve) => closed.push(resolve));
    const code = await codeOf(dial({ url, tlsFingerprint, coordinator }, T));
    await over;
    return code;
  };
  expect(await knock('0'.repeat(64))).toBe('COORDINATOR_UNKNOWN');
  expect(heard).toBe('');
  // Without a pin, the machine's certificate authorities decide, and they have never heard of this one.
  expect(await knock(null)).toBe('COORDINATOR_UNKNOWN');
  expect(heard).toBe('');
  expect(await knock(tls.fingerprint)).toBe('LINK_LOST');
  expect(heard, 'positive control: the spy does hear').toMatch(/^GET \/socket.io\//);
  await new Promise((resolve) => spy.close(resolve));
});

test('a coordinator with another key never sees the invite, nor a signature', async () => {
  await using real = await startRig(who());
  const events: string[] = [];
  // The same certificate, as if its key had been stolen, and another identity.
  await using thief = await startRig(who(), { tls: real.tls });
  const { invite } = await real.identity.invite({
    siteId: 'north',
    url: thief.url,
    tlsFingerprint: thief.tls.fingerprint,
  });
  expect(await codeOf(joinWithInvite(invite, createSiteKeys()))).toBe('COORDINATOR_UNKNOWN');
  const { enrolment, keys } = await real.join('north');
  const link = connect({ ...enrolment, url: thief.url, keys, backoff: FAST });
  expect((await until(link, 'waiting')).error.code).toBe('COORDINATOR_UNKNOWN');
  await link.close();
  events.push(...thief.log.map((entry) => entry.event));
  expect(events, 'no prove, no join, good or bad').toEqual([]);
  expect(thief.server.connected()).toEqual([]);
});

test('plain http is refused at once', async () => {
  const coordinator = publicPart(createSigningKeys().signing);
  expect(await codeOf(dial({ url: 'http://127.0.0.1:1', tlsFingerprint: null, coordinator }, T))).toBe(
    'PARAMETER_INVALID',
  );
});

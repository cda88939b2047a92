import { createServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import { selfSignedTls } from '../../coordinator/shell/tls.ts';
import type { Clock } from '../../shared/clock.ts';
import { PROTOCOL_VERSION, proveJoin, proveSite } from '../../shared/identity/handshake.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys, createSiteKeys } from '../../shared/identity/keys.ts';
import { rosterSeen } from '../../shared/identity/roster.ts';
import { MAX_MESSAGE_BYTES } from '../../shared/protocol/messages.ts';
import { secureBytes } from '../../shared/random.ts';
import { connect, type LinkState, type SiteConnection } from '../../site-agent/shell/connection.ts';
import { dial, request } from '../../site-agent/shell/dial.ts';
import { fetchRoster, joinWithInvite } from '../../site-agent/shell/join.ts';
import { codeOf, handlerOf, startProxy, startRig } from '../support/wire-rig.ts';

const T = { timeoutMs: 5_000, random: secureBytes };
const who = () => handlerOf((siteId) => siteId);
const FAST = { baseMs: 1, capMs: 5 };

/** The next state that fits. */
const until = <K extends LinkState['kind']>(link: SiteConnection, kind: K) =>
  new Promise<Extract<LinkState, { kind: K }>>((resolve) => {
    const stop = link.onState((state) => {
      if (state.kind !== kind) return;
      stop();
      resolve(state as Extract<LinkState, { kind: K }>);
    });
  });

describe('handshake', () => {
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
    expect(await attempt((b) => proveSite(createSigningKeys(), 'north', kid, b, 0))).toEqual([
      'SIGNATURE_INVALID',
      out,
    ]);
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
    spy.on('secureConnection', (socket) => {
      socket.on('data', (bytes) => {
        heard += bytes.toString('latin1');
        socket.destroy();
      });
      socket.on('error', () => undefined);
    });
    spy.on('connection', (socket) => socket.on('close', () => closed.shift()?.()));
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
});

describe('joining', () => {
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
});

describe('the server', () => {
  test('presence: who is here, who comes and goes; a second connection takes the place of the first', async () => {
    await using rig = await startRig(who());
    const seen: string[] = [];
    const gone = new Promise<void>((resolve) => {
      rig.server.onPresence((siteId, online) => {
        seen.push(`${siteId} ${online ? 'on' : 'off'}`);
        if (!online) resolve();
      });
    });
    const { enrolment, keys } = await rig.join('north');
    const first = connect({ ...enrolment, keys, backoff: { baseMs: 600_000, capMs: 600_000 } });
    await first.ready();
    const replaced = until(first, 'waiting');
    const second = connect({ ...enrolment, keys, backoff: FAST });
    await second.ready();
    const state = await replaced;
    expect(state.error.message).toMatch(/another agent of this site/);
    expect(rig.server.connected()).toEqual(['north']);
    expect(await second.call('who', null)).toBe('north');
    await first.close();
    await second.close();
    await gone;
    expect(seen).toEqual(['north on', 'north off']);
    expect(rig.server.connected()).toEqual([]);
  });

  test('a dropped connection comes back, tells its listeners to ask again, and fails the calls it had', async () => {
    let answer = (_: unknown) => undefined as void;
    let arrived = () => undefined as void;
    const handler = handlerOf((siteId, type) => {
      if (type !== 'wait') return siteId;
      arrived();
      return new Promise((resolve) => (answer = resolve));
    });
    await using rig = await startRig(handler);
    await using proxy = await startProxy(rig.server.port);
    const link = await rig.site('north', { url: proxy.url });
    for (let drop = 0; drop < 3; drop++) {
      const reached = new Promise<void>((resolve) => (arrived = resolve));
      const call = codeOf(link.call('wait', null));
      await reached;
      const woken = new Promise<void>((resolve) => {
        const stop = link.onWake(() => {
          stop();
          resolve();
        });
      });
      proxy.cut();
      expect(await call).toBe('LINK_LOST');
      answer('too late');
      await woken;
      expect(await link.call('who', null)).toBe('north');
    }
  });

  test('a restarted coordinator gets its sites back', async () => {
    await using rig = await startRig(who());
    const link = await rig.site('north');
    const lost = until(link, 'waiting');
    const restarted = rig.restart(handlerOf(() => 'the second'));
    await lost;
    await restarted;
    await link.ready();
    expect(await link.call('who', null)).toBe('the second');
  });

  test('strangers are bounded in number and in messages; sites are not among them', async () => {
    await using rig = await startRig(who(), { limits: { strangersPerAddress: 3, messagesBeforeAuth: 4 } });
    const { enrolment } = await rig.join('south');
    const sites = [await rig.site('a'), await rig.site('b'), await rig.site('c'), await rig.site('d')];
    const strangers = [await dial(enrolment, T), await dial(enrolment, T), await dial(enrolment, T)];
    expect(await codeOf(dial(enrolment, T)), 'one more than may wait').toBe('LINK_LOST');
    const chatty = strangers[0].socket;
    for (let i = 0; i < 3; i++) expect(await codeOf(request(chatty, 5_000, 'noise', i))).toBe('MESSAGE_INVALID');
    const cut = new Promise((resolve) => chatty.once('disconnect', resolve));
    expect(['RATE_LIMITED', 'LINK_LOST']).toContain(await codeOf(request(chatty, 5_000, 'noise', 4)));
    await cut;
    for (const site of sites) expect(await site.call('who', null)).toMatch(/^[abcd]$/);
    const next = await dial(enrolment, T);
    for (const { socket } of [...strangers, next]) socket.disconnect();
  });

  test('a message without an acknowledgement, or too large, ends that connection and no other', async () => {
    await using rig = await startRig(who());
    const { enrolment } = await rig.join('south');
    const honest = await rig.site('north');
    for (const attack of [
      (s: Awaited<ReturnType<typeof dial>>['socket']) => s.emit('hello', { protocol: 1 }),
      (s: Awaited<ReturnType<typeof dial>>['socket']) =>
        s.emit('hello', Buffer.alloc(MAX_MESSAGE_BYTES + 1), () => undefined),
      (s: Awaited<ReturnType<typeof dial>>['socket']) =>
        s.emit('hello', 'x'.repeat(MAX_MESSAGE_BYTES + 1), () => undefined),
    ]) {
      const { socket } = await dial(enrolment, T);
      const ended = new Promise((resolve) => socket.once('disconnect', resolve));
      attack(socket);
      await ended;
    }
    expect(await honest.call('who', null)).toBe('north');
  });

  test('one site may have only so many calls in flight', async () => {
    const answers: ((value: unknown) => void)[] = [];
    let arrived = () => undefined as void;
    const handler = handlerOf((siteId, type) => {
      if (type !== 'wait') return siteId;
      return new Promise((resolve) => {
        answers.push(resolve);
        arrived();
      });
    });
    await using rig = await startRig(handler, { limits: { callsInFlight: 2 } });
    const [greedy, other] = [await rig.site('north'), await rig.site('south')];
    const full = new Promise<void>((resolve) => (arrived = () => answers.length === 2 && resolve()));
    const calls = [greedy.call('wait', 1), greedy.call('wait', 2)];
    await full;
    expect(await codeOf(greedy.call('who', null))).toBe('RATE_LIMITED');
    expect(await other.call('who', null)).toBe('south');
    for (const answer of answers) answer('done');
    expect(await Promise.all(calls)).toEqual(['done', 'done']);
    expect(await greedy.call('who', null)).toBe('north');
  });

  test('bugs are logged with their text and answered without it', async () => {
    await using rig = await startRig(
      handlerOf(() => {
        throw new TypeError('/secret/path');
      }),
    );
    const link = await rig.site('north');
    const error = await link.call('who', null).catch((e: unknown) => e);
    expect(String(error)).toMatch(/INTERNAL/);
    expect(String(error)).not.toMatch(/secret/);
    expect(rig.log.map((entry) => [entry.siteId, entry.event, String(entry.error)])).toEqual([
      ['north', 'call', 'TypeError: /secret/path'],
    ]);
  });

  test('plain requests: /healthz, handlers in order, 404, and 500 without detail', async () => {
    await using rig = await startRig(who(), {
      http: [
        (req, res) => req.url === '/page' && (res.end('page'), true),
        (req) => {
          if (req.url === '/broken') throw new Error('secret');
          return false;
        },
      ],
    });
    const get = async (path: string) => {
      const { Agent, request: ask } = await import('node:https');
      return new Promise<[number, string]>((resolve, reject) => {
        const agent = new Agent({ ca: rig.tls.cert });
        ask(`${rig.url}${path}`, { agent }, (res) => {
          let text = '';
          res.on('data', (piece) => (text += String(piece)));
          res.on('end', () => resolve([res.statusCode ?? 0, text]));
        })
          .on('error', reject)
          .end();
      });
    };
    expect(await get('/healthz')).toEqual([200, '{"ok":true}\n']);
    expect(await get('/page')).toEqual([200, 'page']);
    expect((await get('/nothing'))[0]).toBe(404);
    expect(await get('/broken')).toEqual([500, '']);
  });
});

/** A clock whose hands the test turns, and whose timers it fires. */
function manualClock(): Clock & { nowMs: number; fire(): void } {
  const timers = new Set<() => void>();
  return {
    nowMs: Date.now(),
    now() {
      return this.nowMs;
    },
    after(_, wake) {
      timers.add(wake);
      return () => timers.delete(wake);
    },
    fire() {
      for (const wake of [...timers]) wake();
    },
  };
}

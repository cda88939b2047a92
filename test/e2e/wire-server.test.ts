import { expect, test } from 'vitest';
import { publicPart } from '../../shared/identity/jwk.ts';
import { MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES } from '../../shared/protocol/messages.ts';
import { secureBytes } from '../../shared/random.ts';
import { connect } from '../../site-agent/shell/connection.ts';
import { dial, request } from '../../site-agent/shell/dial.ts';
import { fetchRoster } from '../../site-agent/shell/join.ts';
import { codeOf, handlerOf, startProxy, startRig, until } from '../support/wire-rig.ts';

const T = { timeoutMs: 5_000, random: secureBytes };
const who = () => handlerOf((siteId) => siteId);
const FAST = { baseMs: 1, capMs: 5 };

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
  const first = connect({ ...enrolment, keys, backoff: { baseMs: 1, capMs: 600_000 } });
  await first.ready();
  const replaced = until(first, 'waiting');
  const second = connect({ ...enrolment, keys, backoff: FAST });
  await second.ready();
  const state = await replaced;
  expect(state.error.message).toMatch(/another agent of this site/);
  expect(state.delayMs, 'it does not hurry back to take its place again').toBeGreaterThanOrEqual(300_000);
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

test.each(['up', 'down'] as const)('cut anywhere in the handshake (%s), a site still gets through', async (way) => {
  await using rig = await startRig(who());
  await using proxy = await startProxy(rig.server.port);
  const { enrolment, keys } = await rig.join('north');
  let cuts = 0;
  for (let bytes = 1; ; bytes += 97) {
    let failed = false;
    proxy.cutAfter(bytes, way);
    const link = connect({ ...enrolment, url: proxy.url, keys, backoff: FAST });
    link.onState(({ kind }) => (failed ||= kind === 'waiting'));
    await link.ready();
    if (!failed) {
      // The whole handshake fits before the cut. A call in its place is answered, or lost; never left without an end.
      expect(['no error', 'LINK_LOST']).toContain(await codeOf(link.call('who', null)));
      await link.close();
      break;
    }
    cuts++;
    await link.close();
  }
  expect(cuts, 'the sweep did meet the handshake').toBeGreaterThan(10);
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

test('a site that does not read its answers is cut off before they pile up', async () => {
  const handler = handlerOf((siteId, type) => (type === 'much' ? Buffer.alloc(MAX_CHUNK_BYTES) : siteId));
  await using rig = await startRig(handler, { limits: { packetsUnread: 20 } });
  await using proxy = await startProxy(rig.server.port);
  const deaf = await rig.site('deaf', { url: proxy.url });
  const other = await rig.site('north');
  let off = false;
  const gone = new Promise<void>((resolve) => {
    rig.server.onPresence((siteId, online) => {
      if (siteId !== 'deaf' || online) return;
      off = true;
      resolve();
    });
  });
  proxy.stall();
  const calls: Promise<string>[] = [];
  // What the two kernels buffer is a few megabytes: far below this.
  for (let i = 0; i < 400 && !off; i++) {
    calls.push(codeOf(deaf.call('much', null)));
    if (i % 10 === 0) expect(await other.call('who', null)).toBe('north');
  }
  await gone;
  expect(rig.server.connected()).toEqual(['north']);
  proxy.cut();
  expect(new Set(await Promise.all(calls))).toContain('LINK_LOST');
});

test('a new roster wakes the sites, which may want to see it', async () => {
  await using rig = await startRig(who());
  const north = await rig.site('north');
  const woken = new Promise<void>((resolve) => north.onWake(resolve));
  await rig.join('south');
  await woken;
  const { roster } = await fetchRoster(north, publicPart(rig.keys.signing), null);
  expect(roster.sites.map((s) => s.siteId)).toEqual(['north', 'south']);
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

test("a link that is closed stays closed: it is nobody's loss, and nothing dials again", async () => {
  await using rig = await startRig(who());
  const link = await rig.site('north');
  const gone = new Promise<void>((resolve) => rig.server.onPresence((_, online) => online || resolve()));
  const states: string[] = [];
  link.onState((state) => states.push(state.kind));
  await link.close();
  await gone;
  expect(states).toEqual(['closed']);
});

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FedError } from '../../shared/errors.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES } from '../../shared/protocol/messages.ts';
import { codeOf, handlerOf, type Rig, startRig } from '../support/wire-rig.ts';

/** One suite, two links: what the simulator sees is what the wire does. */
const handler = handlerOf((siteId, type, payload) => {
  if (type === 'who') return siteId;
  if (type === 'kind') return payload instanceof Uint8Array ? 'bytes' : payload === null ? 'null' : typeof payload;
  if (type === 'refuse') throw new FedError('BUDGET_EXHAUSTED', 'private detail');
  if (type === 'crash') throw new TypeError('private detail');
  if (type === 'unwritable') return { n: 10n };
  if (type === 'nothing') return undefined;
  return payload;
});

let rig: Rig;
beforeAll(async () => (rig = await startRig(handler)));
afterAll(() => rig[Symbol.asyncDispose]());

/** Buffers and plain byte arrays are the same bytes. */
const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('hex') };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
  return value;
};

const LINKS: [string, () => Promise<CoordinatorLink>][] = [
  ['direct', async () => directLink(handler, 'north')],
  ['TLS', () => rig.site('north')],
];

describe.each(LINKS)('link: %s', (_, open) => {
  test('the handler sees the identity of the link', async () => {
    expect(await (await open()).call('who', { siteId: 'south' })).toBe('north');
  });

  test('JSON and bytes arrive as they were sent', async () => {
    const link = await open();
    const bytes = fc.uint8Array({ maxLength: 40 });
    const value = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        // JSON has no negative zero.
        fc.jsonValue().map((v): unknown => JSON.parse(JSON.stringify(v)) as unknown),
        bytes,
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(
          fc.string({ unit: 'grapheme' }).filter((k) => k !== '__proto__'),
          tie('value'),
          { maxKeys: 3 },
        ),
      ),
    })).value;
    // Socket.IO takes at most ten byte strings a message.
    const few = value.filter((v) => (JSON.stringify(plain(v)).match(/"bytes"/g) ?? []).length <= 10);
    await fc.assert(
      fc.asyncProperty(few, async (payload) => {
        expect(plain(await link.call('echo', payload))).toEqual(plain(payload));
      }),
      { numRuns: 150 },
    );
  });

  test('what JSON cannot say arrives as JSON says it', async () => {
    const link = await open();
    const sent = { gone: undefined, nan: NaN, date: new Date(0), floats: Float32Array.of(1), list: [undefined] };
    expect(plain(await link.call('echo', sent))).toEqual({
      nan: null,
      date: '1970-01-01T00:00:00.000Z',
      floats: { bytes: '0000803f' },
      list: [null],
    });
    expect(await link.call('kind', undefined)).toBe('null');
    expect(await link.call('kind', Buffer.from('x'))).toBe('bytes');
    expect(await link.call('nothing', 1)).toBeNull();
  });

  test('a refusal keeps its code and not its detail; a bug is INTERNAL', async () => {
    const link = await open();
    expect(await codeOf(link.call('refuse', {}))).toBe('BUDGET_EXHAUSTED');
    for (const type of ['refuse', 'crash', 'unwritable'])
      await expect(link.call(type, {})).rejects.not.toThrow(/private detail/);
    expect(await codeOf(link.call('crash', {}))).toBe('INTERNAL');
    expect(await codeOf(link.call('unwritable', {})), 'a reply that is no JSON').toBe('INTERNAL');
    expect(await link.call('who', null), 'and the link still works').toBe('north');
  });

  test('what cannot be sent is refused before it is sent', async () => {
    const link = await open();
    expect(await codeOf(link.call('echo', { n: 1n }))).toBe('MESSAGE_INVALID');
    const ring: { self?: unknown } = {};
    ring.self = ring;
    expect(await codeOf(link.call('echo', ring))).toBe('MESSAGE_INVALID');
    expect(await codeOf(link.call('echo', 'x'.repeat(MAX_MESSAGE_BYTES)))).toBe('MESSAGE_INVALID');
    expect(await codeOf(link.call('echo', new Uint8Array(MAX_MESSAGE_BYTES + 1)))).toBe('MESSAGE_INVALID');
    expect(await codeOf(link.call('Not A Type', {}))).toBe('MESSAGE_INVALID');
    const chunk = await link.call('echo', { data: Buffer.alloc(MAX_CHUNK_BYTES), hash: 'x'.repeat(64) });
    expect((chunk as { data: Uint8Array }).data.length, 'a whole chunk passes').toBe(MAX_CHUNK_BYTES);
  });

  test('a wake reaches the sites it is for, until they stop listening', async () => {
    const link = await open();
    let wakes = 0;
    let stop = () => undefined as void;
    const woken = new Promise<void>((resolve) => {
      stop = link.onWake(() => {
        wakes++;
        resolve();
      });
    });
    handler.wake(['south']);
    handler.wake(['south', 'north']);
    await woken;
    await link.call('who', null);
    expect(wakes).toBe(1);
    stop();
    handler.wake('all');
    await link.call('who', null);
    expect(wakes).toBe(1);
  });

  test('after closing, calls are LINK_LOST and nothing wakes', async () => {
    const link = await open();
    link.onWake(() => expect.unreachable());
    await link.close();
    expect(await codeOf(link.call('who', null))).toBe('LINK_LOST');
    handler.wake('all');
  });
});

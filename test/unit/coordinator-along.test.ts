/** The discriminator along with the work that names it: once, nothing that is not named, checked by who gets it. */
import { expect, test } from 'vitest';
import { Along } from '../../coordinator/along.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { MAX_CHUNK_BYTES, MAX_PIECES_ALONG } from '../../shared/protocol/messages.ts';
import { NextReply } from '../../shared/protocol/round-messages.ts';
import { TensorReceiver } from '../../shared/protocol/tensor-receiver.ts';
import { downloadTensor, keepPieces } from '../../shared/protocol/tensor-transfer.ts';
import { turn } from '../../shared/turn.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { codeOf } from '../support/wire-rig.ts';

const BYTES = Uint8Array.from({ length: 2 * MAX_CHUNK_BYTES + 5 }, (_, i) => i % 251);
const REF = { sha256: sha256Hex(BYTES), bytes: BYTES.length };
const work = (discriminator: typeof REF | null): NextReply => ({
  kind: 'work',
  plan: 'plan',
  phase: 2,
  downlink: null,
  generator: null,
  discriminator,
  critic: null,
});

async function desk(bytes = BYTES) {
  const store = new MemoryBlobStore();
  await store.put('d', bytes);
  const calls: string[] = [];
  const receiver = new TensorReceiver({ store, clock: new ManualClock(), allow: () => 0, readable: () => 'd' });
  receiver.expect(sha256Hex(bytes), bytes);
  const noted: string[] = [];
  const along = new Along(receiver, { note: (siteId) => void noted.push(siteId) });
  const link: CoordinatorLink = {
    call: (type, payload) => {
      calls.push(type);
      return receiver.handle('north', type, payload);
    },
    onWake: () => () => undefined,
    close: async () => undefined,
  };
  return { along, link, calls, noted };
}
const piecesOf = (reply: NextReply): readonly Uint8Array[] | undefined =>
  reply.kind === 'work' ? reply.along : undefined;

test('it goes once to a site, whatever its session, and is noted only when it is on its way', async () => {
  const { along, noted } = await desk();
  const first = along.with('north', 'session', work(REF));
  expect(NextReply.parse(first)).toEqual(first);
  expect(Buffer.concat(piecesOf(first)!)).toEqual(Buffer.from(BYTES));
  expect(noted).toEqual([]);
  await turn();
  await turn();
  await turn();
  expect(noted).toEqual(['north']);
  expect(piecesOf(along.with('north', 'session', work(REF)))).toBeUndefined();
  expect(piecesOf(along.with('south', 'session', work(REF)))).toHaveLength(3);
  expect(piecesOf(along.with('north', 'another session', work(REF)))).toBeUndefined();
});

test('a site that asks for what went along has lost it: nothing else goes along until its agent is started again', async () => {
  const store = new MemoryBlobStore();
  const receiver = new TensorReceiver({ store, clock: new ManualClock(), allow: () => 0, readable: () => null });
  const along = new Along(receiver, { note: () => undefined });
  let n = 0;
  const next = () => {
    const bytes = Uint8Array.of(n++);
    receiver.expect(sha256Hex(bytes), bytes);
    return { sha256: sha256Hex(bytes), bytes: 1 };
  };
  const goes = (siteId: string, session: string, ref: typeof REF) =>
    piecesOf(along.with(siteId, session, work(ref))) !== undefined;
  const first = next();
  expect([goes('north', 'a', first), goes('south', 's', first)]).toEqual([true, true]);
  // Of something else, or by somebody it did not go to: nothing was lost.
  along.asked('north', sha256Hex('another'));
  along.asked('west', first.sha256);
  const second = next();
  expect([goes('north', 'a', second), goes('west', 'w', second)]).toEqual([true, true]);
  along.asked('north', second.sha256);
  const third = next();
  expect([goes('north', 'a', third), goes('south', 's', third)]).toEqual([false, true]);
  expect(goes('north', 'b', third)).toBe(true);
});

test('a piece longer than a chunk is refused', () => {
  const reply = { ...work(REF), along: [new Uint8Array(MAX_CHUNK_BYTES + 1)] };
  expect(NextReply.safeParse(reply).success).toBe(false);
  expect(NextReply.safeParse({ ...reply, along: [new Uint8Array(MAX_CHUNK_BYTES)] }).success).toBe(true);
});

test('nothing goes along that the reply does not name, that is not at hand, or that is large', async () => {
  const { along } = await desk();
  for (const other of [work(null), work({ ...REF, sha256: sha256Hex('') }), { kind: 'idle' } as const])
    expect(along.with('north', 'session', other)).toBe(other);
  const most = new Uint8Array(MAX_PIECES_ALONG * MAX_CHUNK_BYTES);
  const over = new Uint8Array(most.length + 1);
  const sent = async (bytes: Uint8Array<ArrayBuffer>) => {
    const reply = work({ sha256: sha256Hex(bytes), bytes: bytes.length });
    return piecesOf((await desk(bytes)).along.with('north', 'session', reply))?.length;
  };
  expect([await sent(most), await sent(over)]).toEqual([MAX_PIECES_ALONG, undefined]);
});

test('a site that was given it asks for nothing, and keeps nothing else', async () => {
  const { along, link, calls } = await desk();
  const store = new MemoryBlobStore();
  await store.append('older', 0, BYTES);
  await keepPieces(store, REF, piecesOf(along.with('north', 'session', work(REF)))!, BYTES.length);
  expect((await store.list('')).map(({ name }) => name)).toEqual([REF.sha256]);
  const got = await downloadTensor(link, REF.sha256, { maxBytes: BYTES.length, bytes: REF.bytes, store });
  expect([Buffer.compare(got, BYTES), calls]).toEqual([0, []]);
});

test('other bytes under its name are found out, and the next time it is asked for', async () => {
  const { link, calls } = await desk();
  const store = new MemoryBlobStore();
  const o = { maxBytes: BYTES.length, bytes: REF.bytes, store };
  await keepPieces(store, REF, [new Uint8Array(BYTES.length)], BYTES.length);
  expect(await codeOf(downloadTensor(link, REF.sha256, o))).toBe('TENSOR_CORRUPT');
  expect(Buffer.compare(await downloadTensor(link, REF.sha256, o), BYTES)).toBe(0);
  expect(calls.length).toBeGreaterThan(0);
});

test('pieces that are not of the size that was named, or too large a tensor, are not kept', async () => {
  const store = new MemoryBlobStore();
  await keepPieces(store, REF, [BYTES.subarray(1)], BYTES.length);
  await keepPieces(store, REF, [BYTES, BYTES], 4 * BYTES.length);
  await keepPieces(store, REF, [BYTES], BYTES.length - 1);
  expect(await store.list('')).toEqual([]);
});

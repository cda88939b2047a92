/** The discriminator along with the work that names it: once a session, nothing that is not named, checked by who gets it. */
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

test('it goes once to each session of a site, and is noted only when it is on its way', async () => {
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
  expect(piecesOf(along.with('north', 'another session', work(REF)))).toHaveLength(3);
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

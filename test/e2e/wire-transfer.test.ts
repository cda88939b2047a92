import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { TensorReceiver } from '../../shared/protocol/tensor-receiver.ts';
import { downloadTensor, uploadTensor } from '../../shared/protocol/tensor-transfer.ts';
import { handlerOf, startRig } from '../support/wire-rig.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('a tensor goes up and comes down over TLS', async () => {
  const store = new MemoryBlobStore();
  const receiver = new TensorReceiver({ store, allow: () => 2 ** 24, readable: (_, hash) => hash, clock: Date });
  await using rig = await startRig(handlerOf((site, type, payload) => receiver.handle(site, type, payload)));
  const link = await rig.site('north');
  expect(rig.server.connected()).toEqual(['north']);
  const bytes = randomBytes(3_000_001);
  const seen: number[] = [];
  const hash = await uploadTensor(link, bytes, { purpose: 'test', onProgress: (done) => seen.push(done) });
  expect(seen.at(-1)).toBe(bytes.length);
  const spooled = await receiver.received('north', hash);
  const pieces: Uint8Array[] = [];
  for await (const piece of spooled!.chunks()) pieces.push(piece);
  expect(sha256(Buffer.concat(pieces))).toBe(hash);
  await store.put(hash, bytes);
  const down = await downloadTensor(link, hash, { maxBytes: 2 ** 24 });
  expect(sha256(down)).toBe(hash);
});

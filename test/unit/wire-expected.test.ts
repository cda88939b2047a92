/** Bytes that a coordinator makes ready before they are asked for: for those who may read them, and the same as in the store. */
import { expect, test } from 'vitest';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { MAX_CHUNK_BYTES } from '../../shared/protocol/messages.ts';
import { TensorReceiver } from '../../shared/protocol/tensor-receiver.ts';
import { downloadTensor } from '../../shared/protocol/tensor-transfer.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { codeOf } from '../support/wire-rig.ts';

class Counting extends MemoryBlobStore {
  reads = 0;
  override async read(...args: Parameters<MemoryBlobStore['read']>) {
    this.reads += 1;
    return super.read(...args);
  }
}

const BYTES = Uint8Array.from({ length: 2 * MAX_CHUNK_BYTES + 5 }, (_, i) => i % 251);
const HASH = sha256Hex(BYTES);

async function desk() {
  const store = new Counting();
  // The weights, and behind them what nobody may read.
  await store.put('d', BYTES, new Uint8Array(100));
  const readable = (siteId: string, sha256: string) =>
    siteId === 'north' && sha256 === HASH ? { name: 'd', bytes: BYTES.length } : null;
  const receiver = new TensorReceiver({ store, clock: new ManualClock(), allow: () => 0, readable });
  const linkOf = (siteId: string): CoordinatorLink => ({
    call: (type, payload) => receiver.handle(siteId, type, payload),
    onWake: () => () => undefined,
    close: async () => undefined,
  });
  return { store, receiver, linkOf };
}
const O = { maxBytes: BYTES.length };

test('what is expected is not read from the store, and is what lies there', async () => {
  const { store, receiver, linkOf } = await desk();
  receiver.expect(HASH, BYTES);
  expect(Buffer.compare(await downloadTensor(linkOf('north'), HASH, O), BYTES)).toBe(0);
  expect(store.reads).toBe(0);
  const fresh = await desk();
  expect(Buffer.compare(await downloadTensor(fresh.linkOf('north'), HASH, O), BYTES)).toBe(0);
  expect(fresh.store.reads).toBe(3);
});

test('whoever may not read it gets nothing of it, and nobody before it is in the store', async () => {
  const { store, receiver, linkOf } = await desk();
  receiver.expect(HASH, BYTES);
  expect(await codeOf(downloadTensor(linkOf('south'), HASH, O))).toBe('TENSOR_UNKNOWN');
  await store.delete('d');
  expect(await codeOf(downloadTensor(linkOf('north'), HASH, O))).toBe('TENSOR_UNKNOWN');
});

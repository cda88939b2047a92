/** A message that follows its upload's last chunk before that was acknowledged: what it names is there when it is looked for. */
import { expect, test } from 'vitest';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { MAX_CHUNK_BYTES } from '../../shared/protocol/messages.ts';
import { TensorReceiver } from '../../shared/protocol/tensor-receiver.ts';
import { uploadTensor } from '../../shared/protocol/tensor-transfer.ts';
import { ManualClock } from '../support/manual-clock.ts';

/** A store whose seals wait for the test. */
class SlowToSeal extends MemoryBlobStore {
  readonly #gate = Promise.withResolvers<void>();
  readonly reached = Promise.withResolvers<void>();
  open(): void {
    this.#gate.resolve();
  }
  override async seal(name: string): Promise<void> {
    this.reached.resolve();
    await this.#gate.promise;
    return super.seal(name);
  }
}

const BYTES = new Uint8Array(2 * MAX_CHUNK_BYTES + 5).fill(7);
const HASH = sha256Hex(BYTES);

function desk(store: MemoryBlobStore) {
  const receiver = new TensorReceiver({
    store,
    clock: new ManualClock(),
    allow: () => 4 * MAX_CHUNK_BYTES,
    readable: () => null,
  });
  const link: CoordinatorLink = {
    call: (type, payload) => receiver.handle('north', type, payload),
    onWake: () => () => undefined,
    close: async () => undefined,
  };
  return { receiver, link };
}

test('the receiver takes the chunks that came before it looks', async () => {
  const store = new SlowToSeal();
  const { receiver, link } = desk(store);
  const asked: Promise<unknown>[] = [];
  let acknowledged = false;
  const uploading = uploadTensor(link, BYTES, {
    purpose: 'test',
    sha256: HASH,
    onSent: () => {
      asked.push(receiver.received('north', HASH));
    },
  }).then(() => (acknowledged = true));
  await store.reached.promise;
  expect([asked.length, acknowledged]).toEqual([1, false]);
  store.open();
  expect(await asked[0]).toMatchObject({ bytes: BYTES.length });
  await uploading;
});

test('what is not on its way is not waited for', async () => {
  const { receiver, link } = desk(new MemoryBlobStore());
  expect(await receiver.received('north', HASH)).toBeNull();
  await link.call('tensor.offer', { sha256: HASH, bytes: BYTES.length, purpose: 'test' });
  expect(await receiver.received('north', HASH)).toBeNull();
});

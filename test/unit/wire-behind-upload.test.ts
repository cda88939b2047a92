/** A message that follows its upload's last chunk before that was acknowledged: what it names is there when it is looked for. */
import { describe, expect, test } from 'vitest';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
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

describe('chunks right behind their offer', () => {
  /** A desk that answers an offer when the test says so, and what it was asked meanwhile. */
  function slowDesk() {
    const store = new MemoryBlobStore();
    let gate = Promise.resolve();
    const asked: string[] = [];
    const receiver = new TensorReceiver({
      store,
      clock: new ManualClock(),
      allow: async () => {
        await gate;
        return 4 * MAX_CHUNK_BYTES;
      },
      readable: () => null,
    });
    const link: CoordinatorLink = {
      call: (type, payload) => {
        asked.push(type);
        return receiver.handle('north', type, payload);
      },
      onWake: () => () => undefined,
      close: async () => undefined,
    };
    return { store, receiver, link, asked, hold: (until: Promise<void>) => void (gate = until) };
  }
  const other = BYTES.map((x) => x + 1);
  const o = { purpose: 'test', fresh: true };

  test('go as far as the last upload over this link might, and none before there was one', async () => {
    const { receiver, link, asked, hold } = slowDesk();
    const first = Promise.withResolvers<void>();
    hold(first.promise);
    const one = uploadTensor(link, BYTES, o);
    expect(asked).toEqual(['tensor.offer']);
    first.resolve();
    await one;
    const second = Promise.withResolvers<void>();
    hold(second.promise);
    asked.length = 0;
    let sent = false;
    const two = uploadTensor(link, other, { ...o, onSent: () => (sent = true) });
    expect(asked).toEqual(['tensor.offer', 'tensor.chunk', 'tensor.chunk', 'tensor.chunk']);
    expect(sent).toBe(true);
    second.resolve();
    expect(await receiver.received('north', await two)).toMatchObject({ bytes: other.length });
    expect(asked).toHaveLength(4);
  });

  test('are fewer the more sites upload here: all of them may begin at once', async () => {
    const store = new MemoryBlobStore();
    const budgetBytes = 8 * MAX_CHUNK_BYTES;
    const receiver = new TensorReceiver({
      store,
      clock: new ManualClock(),
      allow: () => 4 * MAX_CHUNK_BYTES,
      readable: () => null,
      budgetBytes,
    });
    let ahead = 0;
    const links = Array.from({ length: 32 }, (_, i) => {
      const link: CoordinatorLink = {
        call: (type, payload) => {
          if (type === 'tensor.chunk') ahead += (payload as { data: Uint8Array }).data.length;
          return receiver.handle(`site-${i}`, type, payload);
        },
        onWake: () => () => undefined,
        close: async () => undefined,
      };
      return link;
    });
    // One after the other, so that each was alone when it had its last word: the first ones before the others were known.
    for (let again = 0; again < 2; again++)
      for (const [i, link] of links.entries())
        await uploadTensor(
          link,
          BYTES.map((x) => x + 2 * i + again),
          o,
        );
    ahead = 0;
    const all = links.map((link, i) =>
      uploadTensor(
        link,
        BYTES.map((x) => x + 100 + i),
        o,
      ),
    );
    expect(ahead).toBeLessThanOrEqual(budgetBytes);
    expect(ahead).toBeGreaterThan(0);
    await Promise.all(all);
  });

  test('leave nothing where the offer is refused', async () => {
    const { store, link, hold } = slowDesk();
    const hash = await uploadTensor(link, BYTES, o);
    const refused = Promise.reject(new FedError('ROUND_NOT_OPEN', 'too late'));
    refused.catch(() => undefined);
    hold(refused);
    await expect(uploadTensor(link, other, o)).rejects.toThrow('ROUND_NOT_OPEN');
    expect((await store.list('')).map(({ name }) => name)).toEqual([`up.north.${hash}`]);
  });

  test('cost themselves and nothing else where a part is here already', async () => {
    const { store, receiver, link } = slowDesk();
    await uploadTensor(link, BYTES, o);
    await store.append(`up.north.${sha256Hex(other)}`, 0, other.subarray(0, 1000));
    const hash = await uploadTensor(link, other, o);
    expect(await receiver.received('north', hash)).toMatchObject({ bytes: other.length });
  });
});

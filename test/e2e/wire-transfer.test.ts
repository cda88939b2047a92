import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { FedError } from '../../shared/errors.ts';
import { type BlobStore, MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { FileBlobStore } from '../../shared/protocol/file-blob-store.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { MAX_CHUNK_BYTES, type TensorChunk, type TensorHave, type TensorPart } from '../../shared/protocol/messages.ts';
import { TensorReceiver, type TensorReceiverOptions } from '../../shared/protocol/tensor-receiver.ts';
import { downloadTensor, uploadTensor } from '../../shared/protocol/tensor-transfer.ts';
import { codeOf, handlerOf, startProxy, startRig } from '../support/wire-rig.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const folders: string[] = [];
const folder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'veilgan-transfer-')));
  return folders.at(-1)!;
};
afterAll(() => folders.forEach((f) => rmSync(f, { recursive: true })));

/** A receiver and its handler, which counts the bytes of the chunks it is sent. */
function receiverOn(store: BlobStore, o: Partial<TensorReceiverOptions> = {}) {
  const receiver = new TensorReceiver({ store, allow: () => 2 ** 24, readable: (_, hash) => hash, clock: Date, ...o });
  const counted = { bytes: 0, mostUnderWay: 0, underWay: 0 };
  const handler = handlerOf(async (site, type, payload) => {
    const size = type === 'tensor.chunk' ? (payload as TensorChunk).data.length : 0;
    counted.bytes += size;
    counted.underWay += size;
    counted.mostUnderWay = Math.max(counted.mostUnderWay, counted.underWay);
    try {
      return await receiver.handle(site, type, payload);
    } finally {
      counted.underWay -= size;
    }
  });
  return { receiver, handler, counted };
}

async function contents(receiver: TensorReceiver, site: string, hash: string): Promise<string> {
  const tensor = await receiver.received(site, hash);
  const whole = createHash('sha256');
  for await (const piece of tensor!.chunks()) whole.update(piece);
  return whole.digest('hex');
}

/** Uploads as a site does: whenever the link is lost, waits for it and goes on. */
async function uploadThroughCuts(
  link: CoordinatorLink & { ready(): Promise<void> },
  bytes: Uint8Array,
): Promise<number> {
  for (let cuts = 0; ; cuts++) {
    await link.ready();
    try {
      await uploadTensor(link, bytes, { purpose: 'test' });
      return cuts;
    } catch (error) {
      if (!(error instanceof FedError && error.code === 'LINK_LOST')) throw error;
    }
  }
}

test('a tensor goes up and comes down over TLS, with progress that only grows', async () => {
  const store = new MemoryBlobStore();
  const { receiver, handler } = receiverOn(store);
  await using rig = await startRig(handler);
  const link = await rig.site('north');
  const bytes = randomBytes(3_000_001);
  const seen: number[] = [];
  const hash = await uploadTensor(link, bytes, { purpose: 'test', onProgress: (done) => seen.push(done) });
  expect(hash).toBe(sha256(bytes));
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  expect(seen.at(-1)).toBe(bytes.length);
  expect(await contents(receiver, 'north', hash)).toBe(hash);
  await store.put(hash, bytes);
  expect(sha256(await downloadTensor(link, hash, { maxBytes: 2 ** 24 }))).toBe(hash);
});

describe('resume', () => {
  test('after cuts in the middle, only what was under way is sent again', async () => {
    const { receiver, handler, counted } = receiverOn(new FileBlobStore(folder()));
    await using rig = await startRig(handler);
    await using proxy = await startProxy(rig.server.port);
    const link = await rig.site('north', { url: proxy.url });
    const bytes = randomBytes(5_000_000);
    proxy.cutAfter(1_700_000);
    const lost = new Promise<void>((resolve) => {
      const stop = link.onState(({ kind }) => {
        if (kind !== 'waiting') return;
        stop();
        proxy.cutAfter(2_000_000);
        resolve();
      });
    });
    expect(await uploadThroughCuts(link, bytes)).toBe(2);
    await lost;
    expect(await contents(receiver, 'north', sha256(bytes))).toBe(sha256(bytes));
    expect(counted.bytes).toBeLessThanOrEqual(bytes.length + 2 * 4 * MAX_CHUNK_BYTES);
  });

  test('after the coordinator was killed: the spool is on its disk, and its hash is computed again', async () => {
    const path = folder();
    const first = receiverOn(new FileBlobStore(path));
    await using rig = await startRig(first.handler);
    await using proxy = await startProxy(rig.server.port);
    const link = await rig.site('north', { url: proxy.url });
    const bytes = randomBytes(4_000_000);
    proxy.cutAfter(2_000_000);
    expect(await codeOf(uploadTensor(link, bytes, { purpose: 'test' }))).toBe('LINK_LOST');
    const second = receiverOn(new FileBlobStore(path));
    await rig.restart(second.handler);
    await uploadThroughCuts(link, bytes);
    expect(await contents(second.receiver, 'north', sha256(bytes))).toBe(sha256(bytes));
    expect(second.counted.bytes).toBeLessThan(bytes.length);
    expect(second.counted.bytes).toBeGreaterThan(0);
  });

  test('after the coordinator forgot the offer but kept the connection, the sender offers again', async () => {
    const path = folder();
    const receivers = [receiverOn(new FileBlobStore(path)).receiver, receiverOn(new FileBlobStore(path)).receiver];
    let chunks = 0;
    const handler = handlerOf((site, type, payload) => {
      if (type === 'tensor.chunk' && ++chunks === 4) receivers.shift();
      return receivers[0].handle(site, type, payload);
    });
    await using rig = await startRig(handler);
    const bytes = randomBytes(3_000_000);
    const hash = await uploadTensor(await rig.site('north'), bytes, { purpose: 'test' });
    expect(receivers.length).toBe(1);
    expect(await contents(receivers[0], 'north', hash)).toBe(hash);
  });

  test('a download goes on where it stopped, even in a new process of the site', async () => {
    const store = new MemoryBlobStore();
    const bytes = randomBytes(3_000_000);
    await store.put(sha256(bytes), bytes);
    const asked: number[] = [];
    const { receiver } = receiverOn(store);
    await using rig = await startRig(
      handlerOf((site, type, payload) => {
        asked.push((payload as { offset: number }).offset);
        return receiver.handle(site, type, payload);
      }),
    );
    await using proxy = await startProxy(rig.server.port);
    const link = await rig.site('north', { url: proxy.url });
    const path = folder();
    // Cut while half of the parts have not been asked for, and only once: later progress is of parts that had arrived.
    let cut = false;
    const onProgress = (done: number) => {
      if (done < 1_000_000 || cut) return;
      cut = true;
      proxy.cut();
    };
    const options = { maxBytes: 2 ** 24, store: new FileBlobStore(path) };
    expect(await codeOf(downloadTensor(link, sha256(bytes), { ...options, onProgress }))).toBe('LINK_LOST');
    await link.ready();
    const there = await options.store.spooled(sha256(bytes));
    expect(there).toBeGreaterThanOrEqual(1_000_000);
    asked.length = 0;
    const again = { maxBytes: 2 ** 24, store: new FileBlobStore(path) };
    expect(sha256(await downloadTensor(link, sha256(bytes), again))).toBe(sha256(bytes));
    expect(Math.min(...asked)).toBe(there);
    expect(new Set(asked).size).toBe(Math.ceil((bytes.length - there) / MAX_CHUNK_BYTES));
    asked.length = 0;
    expect(sha256(await downloadTensor(link, sha256(bytes), again))).toBe(sha256(bytes));
    expect(asked, 'what is whole on disk is not fetched').toEqual([]);
  });
});

describe('refusals', () => {
  const offer = (bytes: Uint8Array) => ({ sha256: sha256(bytes), bytes: bytes.length, purpose: 'test' });
  const chunk = (bytes: Uint8Array, from: number, to: number) => {
    const data = bytes.subarray(from, to);
    return { sha256: sha256(bytes), offset: from, chunkSha256: sha256(data), data };
  };

  test('a tensor larger than allowed is refused before a byte of it is sent', async () => {
    const store = new MemoryBlobStore();
    const { handler, counted } = receiverOn(store, { allow: () => 999 });
    await using rig = await startRig(handler);
    const link = await rig.site('north');
    expect(await codeOf(uploadTensor(link, randomBytes(1000), { purpose: 'test' }))).toBe('TENSOR_TOO_LARGE');
    expect(counted.bytes).toBe(0);
    expect(await store.list('')).toEqual([]);
    expect(await codeOf(uploadTensor(link, randomBytes(999), { purpose: 'test' }))).toBe('no error');
  });

  test('what `allow` refuses keeps its code, and names the site by its socket', async () => {
    const seen: unknown[] = [];
    const { handler } = receiverOn(new MemoryBlobStore(), {
      allow: (siteId, { purpose }) => {
        seen.push([siteId, purpose]);
        throw new FedError('ROUND_NOT_OPEN', 'not now');
      },
    });
    await using rig = await startRig(handler);
    expect(await codeOf(uploadTensor(await rig.site('north'), randomBytes(9), { purpose: 'p' }))).toBe(
      'ROUND_NOT_OPEN',
    );
    expect(seen).toEqual([['north', 'p']]);
  });

  test('chunks: corrupt, early, late, beyond the end, never offered', async () => {
    const { receiver } = receiverOn(new MemoryBlobStore());
    const bytes = randomBytes(1000);
    const send = (payload: unknown) => receiver.handle('north', 'tensor.chunk', payload) as Promise<TensorHave>;
    expect(await codeOf(send(chunk(bytes, 0, 500)))).toBe('TENSOR_UNKNOWN');
    await receiver.handle('north', 'tensor.offer', offer(bytes));
    expect(await codeOf(send({ ...chunk(bytes, 0, 500), data: randomBytes(500) }))).toBe('TENSOR_CORRUPT');
    expect((await send(chunk(bytes, 500, 1000))).have, 'a gap').toBe(0);
    expect((await send(chunk(bytes, 0, 500))).have).toBe(500);
    expect((await send(chunk(bytes, 0, 500))).have, 'twice').toBe(500);
    const beyond = Buffer.concat([bytes, Buffer.alloc(1)]);
    expect(await codeOf(send({ ...chunk(beyond, 500, 1001), sha256: sha256(bytes) }))).toBe('MESSAGE_INVALID');
    expect(await codeOf(receiver.handle('north', 'tensor.offer', { ...offer(bytes), bytes: 2000 }))).toBe(
      'MESSAGE_INVALID',
    );
    expect((await send(chunk(bytes, 500, 1000))).have).toBe(1000);
    expect((await send(chunk(bytes, 500, 1000))).have, 'the acknowledgement was lost').toBe(1000);
    expect(await contents(receiver, 'north', sha256(bytes))).toBe(sha256(bytes));
  });

  test('a whole that does not match its hash never counts, and the sender gives up in the end', async () => {
    const store = new MemoryBlobStore();
    const { receiver, handler } = receiverOn(store);
    await using rig = await startRig(handler);
    const link = await rig.site('north');
    const bytes = randomBytes(600_000);
    const hash = sha256(bytes);
    // The bytes change under the sender after it has hashed them.
    const upload = uploadTensor(link, bytes, { purpose: 'test' });
    bytes[599_999] ^= 1;
    expect(await codeOf(upload)).toBe('TENSOR_CORRUPT');
    expect(await receiver.received('north', hash)).toBeNull();
    expect(await store.list('')).toEqual([]);
  });

  test('a hash alone gives no site the bytes of another', async () => {
    const { receiver } = receiverOn(new MemoryBlobStore(), { readable: () => null });
    const bytes = randomBytes(100);
    await receiver.handle('north', 'tensor.offer', offer(bytes));
    await receiver.handle('north', 'tensor.chunk', chunk(bytes, 0, 100));
    expect(await receiver.handle('south', 'tensor.offer', offer(bytes))).toMatchObject({ have: 0 });
    expect(await receiver.received('south', sha256(bytes))).toBeNull();
    // A site whose name begins with another's.
    expect(await receiver.received('nort', sha256(bytes))).toBeNull();
    const get = { sha256: sha256(bytes), offset: 0, length: 10 };
    expect(await codeOf(receiver.handle('south', 'tensor.get', get))).toBe('TENSOR_UNKNOWN');
  });

  test('a site that starts over and over loses its oldest halves, and a full one is refused', async () => {
    const store = new MemoryBlobStore();
    const { receiver } = receiverOn(store, { maxTensorsPerSite: 3 });
    const start = async (site: string, bytes: Uint8Array, to: number) => {
      await receiver.handle(site, 'tensor.offer', offer(bytes));
      await receiver.handle(site, 'tensor.chunk', chunk(bytes, 0, to));
    };
    await start('south', randomBytes(100), 50);
    for (let i = 0; i < 6; i++) await start('north', randomBytes(100), 50);
    expect((await store.list('up.north.')).length).toBe(3);
    expect((await store.list('up.south.')).length).toBe(1);
    const wholes = [randomBytes(100), randomBytes(100), randomBytes(100)];
    for (const bytes of wholes) await start('north', bytes, 100);
    expect((await store.list('up.north.')).every((b) => b.sealed)).toBe(true);
    expect(await codeOf(start('north', randomBytes(100), 50))).toBe('TENSOR_TOO_LARGE');
    await receiver.forget('north', sha256(wholes[0]));
    expect(await codeOf(start('north', randomBytes(100), 50))).toBe('no error');
  });

  test('a full disk loses nothing that was stored: the sender goes on when there is room', async () => {
    const inner = new FileBlobStore(folder());
    let full = true;
    const store = new Proxy(inner, {
      get(target, name) {
        if (name === 'append')
          return async (blob: string, at: number, bytes: Uint8Array) => {
            if (!full || at < 500_000) return target.append(blob, at, bytes);
            // Half of it was written before the disk was full.
            await target.append(blob, at, bytes.subarray(0, bytes.length / 2));
            throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
          };
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const { receiver, handler } = receiverOn(store);
    await using rig = await startRig(handler);
    const link = await rig.site('north');
    const bytes = randomBytes(1_500_000);
    expect(await codeOf(uploadTensor(link, bytes, { purpose: 'test' }))).toBe('INTERNAL');
    full = false;
    const hash = await uploadTensor(link, bytes, { purpose: 'test' });
    expect(await contents(receiver, 'north', hash)).toBe(hash);
  });

  test('a coordinator that serves other bytes, or too many, is caught', async () => {
    const bytes = randomBytes(700_000);
    const other = randomBytes(700_000);
    const store = new MemoryBlobStore();
    await store.put('other', other);
    const { handler } = receiverOn(store, { readable: () => 'other' });
    await using rig = await startRig(handler);
    const link = await rig.site('north');
    const mine = new MemoryBlobStore();
    expect(await codeOf(downloadTensor(link, sha256(bytes), { maxBytes: 2 ** 20, store: mine }))).toBe(
      'TENSOR_CORRUPT',
    );
    expect(await mine.list('')).toEqual([]);
    expect(await codeOf(downloadTensor(link, sha256(other), { maxBytes: 699_999 }))).toBe('TENSOR_TOO_LARGE');
    expect(sha256(await downloadTensor(link, sha256(other), { maxBytes: 700_000 }))).toBe(sha256(other));
  });

  test('a part is read from the store once for all sites, and given to none that may not read it', async () => {
    const bytes = randomBytes(100);
    const hash = sha256(bytes);
    const inner = new MemoryBlobStore();
    await inner.put(hash, bytes);
    let reads = 0;
    const store = new Proxy(inner, {
      get(target, name) {
        if (name === 'read') reads += 1;
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const readable = (siteId: string) => (siteId === 'west' ? null : hash);
    const { receiver } = receiverOn(store, { readable });
    const get = { sha256: hash, offset: 0, length: 60 };
    for (const siteId of ['north', 'south']) {
      const part = (await receiver.handle(siteId, 'tensor.get', get)) as TensorPart;
      expect(bytes.subarray(0, 60).equals(part.data)).toBe(true);
    }
    expect(reads).toBe(1);
    expect(await codeOf(receiver.handle('west', 'tensor.get', get))).toBe('TENSOR_UNKNOWN');
    const rest = (await receiver.handle('south', 'tensor.get', { ...get, offset: 60 })) as TensorPart;
    expect(bytes.subarray(60).equals(rest.data)).toBe(true);
    // What is gone is served to nobody any more.
    await inner.delete(hash);
    expect(await codeOf(receiver.handle('north', 'tensor.get', get))).toBe('TENSOR_UNKNOWN');
  });

  test('a damaged part of a download ends it there, not after the rest', async () => {
    const bytes = randomBytes(20 * MAX_CHUNK_BYTES);
    const store = new MemoryBlobStore();
    await store.put(sha256(bytes), bytes);
    const { receiver } = receiverOn(store);
    let served = 0;
    const handler = handlerOf(async (site, type, payload) => {
      const part = (await receiver.handle(site, type, payload)) as TensorPart;
      if (++served !== 2) return part;
      const data = Uint8Array.from(part.data);
      data[7] ^= 1;
      return { ...part, data };
    });
    const link = directLink(handler, 'north');
    expect(await codeOf(downloadTensor(link, sha256(bytes), { maxBytes: 2 ** 24 }))).toBe('TENSOR_CORRUPT');
    expect(served).toBeLessThan(10);
    expect(sha256(await downloadTensor(link, sha256(bytes), { maxBytes: 2 ** 24 }))).toBe(sha256(bytes));
  });
});

test('many sites share one budget of bytes under way; one that misbehaves harms none of the others', async () => {
  const budgetBytes = 2 ** 20;
  const { receiver, handler, counted } = receiverOn(new FileBlobStore(folder()), { budgetBytes });
  await using rig = await startRig(handler);
  const sites = await Promise.all(Array.from({ length: 8 }, (_, i) => rig.site(`site-${i}`)));
  const rogue = await rig.site('rogue');
  let stop = false;
  const noise = (async () => {
    while (!stop) {
      await codeOf(rogue.call('tensor.chunk', { sha256: 'x', data: Buffer.alloc(MAX_CHUNK_BYTES) }));
      await codeOf(rogue.call('tensor.offer', { sha256: sha256(randomBytes(8)), bytes: 2 ** 40, purpose: 'x' }));
    }
  })();
  const tensors = sites.map(() => randomBytes(1_000_000));
  const hashes = await Promise.all(sites.map((site, i) => uploadTensor(site, tensors[i], { purpose: 'test' })));
  stop = true;
  await noise;
  for (const [i, hash] of hashes.entries())
    expect(await contents(receiver, `site-${i}`, hash)).toBe(sha256(tensors[i]));
  // Each newcomer's share counts at once; those before it keep theirs until their next acknowledgement.
  expect(counted.mostUnderWay).toBeLessThan(3 * budgetBytes);
});

import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type BlobStore, MemoryBlobStore, openBlob, READ_BYTES } from '../../shared/protocol/blob-store.ts';
import { FileBlobStore } from '../../shared/protocol/file-blob-store.ts';
import { codeOf } from '../support/wire-rig.ts';

const folders: string[] = [];
const folder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'veilgan-blobs-')));
  return folders.at(-1)!;
};
afterAll(() => folders.forEach((f) => rmSync(f, { recursive: true })));

const STORES: [string, () => BlobStore][] = [
  ['memory', () => new MemoryBlobStore()],
  ['files', () => new FileBlobStore(folder())],
];

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

describe.each(STORES)('blob store: %s', (_, create) => {
  test('a blob put is sealed, readable in ranges, and replaced by the next put', async () => {
    const store = create();
    const bytes = randomBytes(700_001);
    await store.put('a', bytes);
    expect(await store.size('a')).toBe(bytes.length);
    expect(Buffer.from(await store.read('a', 5, 10))).toEqual(bytes.subarray(5, 15));
    expect((await store.read('a', 700_000, 10)).length).toBe(1);
    expect((await store.read('a', 800_000, 10)).length).toBe(0);
    expect(await collect((await openBlob(store, 'a')).chunks())).toEqual(bytes);
    await store.put('a', Buffer.from('other'));
    expect(await store.size('a')).toBe(5);
  });

  test('a blob of many parts, too much to be written or read in place, is what its parts are', async () => {
    const store = create();
    const parts = [randomBytes(3_000_000), new Uint8Array(), randomBytes(2_500_001)];
    await store.put('large', ...parts);
    const whole = await store.read('large', 0, 6_000_000);
    expect(Buffer.concat(parts).equals(whole)).toBe(true);
    expect(await codeOf(store.read('none', 0, 6_000_000))).toBe('TENSOR_UNKNOWN');
  });

  test('others have their turn between two pieces of what is read', async () => {
    const store = create();
    const pieces = 6;
    for (let i = 0; i < pieces; i++) await store.append('s', i * READ_BYTES, randomBytes(READ_BYTES));
    let turns = 0;
    let open = true;
    const count = (): void => {
      turns += 1;
      if (open) setImmediate(count);
    };
    setImmediate(count);
    await collect(store.readSpool('s'));
    expect(turns).toBeGreaterThanOrEqual(pieces - 1);
    await store.seal('s');
    turns = 0;
    await collect((await openBlob(store, 's')).chunks());
    expect(turns).toBeGreaterThanOrEqual(pieces - 1);
    open = false;
  });

  test('a spool grows at its end, is no blob until it is sealed, and is none after', async () => {
    const store = create();
    expect(await store.spooled('s')).toBe(0);
    await store.append('s', 0, Buffer.from('hello '));
    await store.append('s', 6, Buffer.from('world'));
    expect(await store.spooled('s')).toBe(11);
    expect(await store.size('s')).toBeNull();
    expect(await codeOf(store.read('s', 0, 1))).toBe('TENSOR_UNKNOWN');
    expect(await codeOf(store.append('s', 5, Buffer.from('x')))).toBe('STORE_CORRUPT');
    expect(await codeOf(store.append('s', 12, Buffer.from('x')))).toBe('STORE_CORRUPT');
    expect((await collect(store.readSpool('s'))).toString()).toBe('hello world');
    await store.seal('s');
    expect(await store.spooled('s')).toBe(0);
    expect(Buffer.from(await store.read('s', 0, 11)).toString()).toBe('hello world');
    expect((await collect(store.readSpool('s'))).length).toBe(0);
  });

  test('what is not there', async () => {
    const store = create();
    expect(await store.size('none')).toBeNull();
    expect(await codeOf(store.read('none', 0, 1))).toBe('TENSOR_UNKNOWN');
    expect(await codeOf(store.seal('none'))).toBe('TENSOR_UNKNOWN');
    expect(await codeOf(openBlob(store, 'none'))).toBe('TENSOR_UNKNOWN');
    await store.delete('none');
  });

  test('listing tells spools from blobs, by prefix; deleting removes both', async () => {
    const store = create();
    await store.put('up.a.1', Buffer.from('1'));
    await store.append('up.a.2', 0, Buffer.from('22'));
    await store.put('up.a-b.1', Buffer.from('333'));
    const rows = (await store.list('up.a.')).sort((x, y) => (x.name < y.name ? -1 : 1));
    expect(rows.map(({ name, bytes, sealed }) => ({ name, bytes, sealed }))).toEqual([
      { name: 'up.a.1', bytes: 1, sealed: true },
      { name: 'up.a.2', bytes: 2, sealed: false },
    ]);
    await store.delete('up.a.1');
    await store.delete('up.a.2');
    expect(await store.list('up.a.')).toEqual([]);
    expect((await store.list('')).length).toBe(1);
  });

  test('a name that could leave the folder, or pass for a spool, is refused', async () => {
    const store = create();
    for (const name of ['', '../x', 'a/b', 'A', '.x', 'x.part', 'x'.repeat(200), 'a\u0000'])
      expect(await codeOf(store.put(name, Buffer.from('x')))).toBe('PARAMETER_INVALID');
  });

  test('what was handed in may be reused by the caller', async () => {
    const store = create();
    const bytes = Buffer.from('abc');
    await store.put('a', bytes);
    await store.append('b', 0, bytes);
    bytes.fill(0);
    expect(Buffer.from(await store.read('a', 0, 3)).toString()).toBe('abc');
    expect((await collect(store.readSpool('b'))).toString()).toBe('abc');
  });
});

test('files: spools and blobs outlive the process; a blob half written by a put is not a blob', async () => {
  const path = folder();
  const bytes = randomBytes(100_000);
  const first = new FileBlobStore(path);
  await first.put('whole', bytes);
  await first.append('half', 0, bytes.subarray(0, 60_000));
  // A process killed in the middle of `put` leaves this.
  writeFileSync(join(path, 'torn.part'), 'abc');
  const second = new FileBlobStore(path);
  expect(await second.size('torn')).toBeNull();
  expect(await second.spooled('half')).toBe(60_000);
  await second.append('half', 60_000, bytes.subarray(60_000));
  await second.seal('half');
  const whole = await collect((await openBlob(second, 'half')).chunks());
  expect(createHash('sha256').update(whole).digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'));
  expect(readdirSync(path).sort()).toEqual(['half', 'torn.part', 'whole']);
});

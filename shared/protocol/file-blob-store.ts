import { closeSync, fstatSync, fsync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { read, readSync, write, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FedError } from '../errors.ts';
import { turn } from '../turn.ts';
import { type BlobInfo, type BlobStore, checkBlobName, READ_BYTES } from './blob-store.ts';

const PART = '.part';
/** More than so many bytes are read and written by a thread. */
const AT_ONCE = 16 * READ_BYTES;
const sync = promisify(fsync);
const readAside = promisify(read);
const writeAside = promisify(write);

/**
 * Blobs as files of one folder: `name` when sealed, `name.part` while it is a spool.
 *
 * Guarantee: a file without `.part` is whole. It gets that name by `rename`, after its bytes were synced; the folder is
 * synced before the promise resolves. What a power cut can lose is the tail of a spool, which its sender sends again.
 *
 * Pieces are read and written where they are asked for: on a local disk they meet the page cache, and handing each to a
 * thread costs more than the work. Waiting for the disk itself, and reading or writing much at once, is left to threads.
 */
export class FileBlobStore implements BlobStore {
  readonly #folder: string;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
  }

  async put(name: string, ...parts: Uint8Array[]): Promise<void> {
    await withFile(openSync(this.#part(name), 'w', 0o600), async (file) => {
      const much = parts.reduce((total, { length }) => total + length, 0) > AT_ONCE;
      for (const part of parts)
        if (much) await writeAllAside(file, part);
        else writeAll(file, part);
      await sync(file);
    });
    await this.#publish(name);
  }

  async size(name: string): Promise<number | null> {
    return sizeOf(this.#path(name));
  }

  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    const file = openExisting(this.#path(name));
    if (file === null) throw new FedError('TENSOR_UNKNOWN', name);
    return withFile(file, () => (length > AT_ONCE ? readAtAside : readAt)(file, offset, length));
  }

  async spooled(name: string): Promise<number> {
    return sizeOf(this.#part(name)) ?? 0;
  }

  async append(name: string, offset: number, bytes: Uint8Array): Promise<void> {
    await withFile(openSync(this.#part(name), 'a', 0o600), (file) => {
      const { size } = fstatSync(file);
      if (size !== offset) throw new FedError('STORE_CORRUPT', `${name}: append at ${offset}, have ${size}`);
      writeAll(file, bytes);
    });
  }

  async *readSpool(name: string): AsyncIterable<Uint8Array> {
    const file = openExisting(this.#part(name));
    if (file === null) return;
    try {
      for (let at = 0; ;) {
        const piece = readAt(file, at, READ_BYTES);
        if (piece.length === 0) return;
        at += piece.length;
        yield piece;
        await turn();
      }
    } finally {
      closeSync(file);
    }
  }

  async seal(name: string): Promise<void> {
    const file = openExisting(this.#part(name), 'r+');
    if (file === null) throw new FedError('TENSOR_UNKNOWN', name);
    await withFile(file, sync);
    await this.#publish(name);
  }

  async delete(name: string): Promise<void> {
    for (const path of [this.#path(name), this.#part(name)]) rmSync(path, { force: true });
  }

  async list(prefix: string): Promise<BlobInfo[]> {
    const rows: BlobInfo[] = [];
    for (const file of readdirSync(this.#folder)) {
      const name = file.endsWith(PART) ? file.slice(0, -PART.length) : file;
      if (!name.startsWith(prefix)) continue;
      const found = statSync(join(this.#folder, file), { throwIfNoEntry: false });
      if (found) rows.push({ name, bytes: found.size, sealed: name === file, changedMs: found.mtimeMs });
    }
    return rows;
  }

  /** The rename is the moment a blob is there; syncing the folder makes the name itself survive a power cut. */
  async #publish(name: string): Promise<void> {
    renameSync(this.#part(name), this.#path(name));
    // Windows cannot open a folder; its rename is journalled by NTFS.
    if (process.platform !== 'win32') await withFile(openSync(this.#folder, 'r'), sync);
  }

  #path(name: string): string {
    return join(this.#folder, checkBlobName(name));
  }
  #part(name: string): string {
    return this.#path(name) + PART;
  }
}

/** Closes the file when the work on it is done, or has failed. */
async function withFile<T>(file: number, work: (file: number) => T | Promise<T>): Promise<T> {
  try {
    return await work(file);
  } finally {
    closeSync(file);
  }
}

/** At the file's position. */
function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at, bytes.length - at);
}

async function writeAllAside(file: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await writeAside(file, bytes, at, bytes.length - at)).bytesWritten;
}

async function readAtAside(file: number, offset: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(length);
  return buffer.subarray(0, (await readAside(file, buffer, 0, length, offset)).bytesRead);
}

function readAt(file: number, offset: number, length: number): Uint8Array {
  const buffer = Buffer.allocUnsafeSlow(length);
  return buffer.subarray(0, readSync(file, buffer, 0, length, offset));
}

const sizeOf = (path: string): number | null => statSync(path, { throwIfNoEntry: false })?.size ?? null;

function openExisting(path: string, flags = 'r'): number | null {
  try {
    return openSync(path, flags);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

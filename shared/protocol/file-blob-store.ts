import { mkdirSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { FedError } from '../errors.ts';
import { type BlobInfo, type BlobStore, checkBlobName, READ_BYTES } from './blob-store.ts';

const PART = '.part';

/**
 * Blobs as files of one folder: `name` when sealed, `name.part` while it is a spool.
 *
 * Guarantee: a file without `.part` is whole. It gets that name by `rename`, after its bytes were synced; the folder is
 * synced before the promise resolves. What a power cut can lose is the tail of a spool, which its sender sends again.
 */
export class FileBlobStore implements BlobStore {
  readonly #folder: string;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    await using file = await open(this.#part(name), 'w', 0o600);
    await writeAll(file, bytes, 0);
    await file.sync();
    await this.#publish(name);
  }

  async size(name: string): Promise<number | null> {
    return sizeOf(this.#path(name));
  }

  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    await using file = await openExisting(this.#path(name));
    if (!file) throw new FedError('TENSOR_UNKNOWN', name);
    return readAt(file, offset, length);
  }

  async spooled(name: string): Promise<number> {
    return (await sizeOf(this.#part(name))) ?? 0;
  }

  async append(name: string, offset: number, bytes: Uint8Array): Promise<void> {
    await using file = await open(this.#part(name), 'a', 0o600);
    const { size } = await file.stat();
    if (size !== offset) throw new FedError('STORE_CORRUPT', `${name}: append at ${offset}, have ${size}`);
    await writeAll(file, bytes, null);
  }

  async *readSpool(name: string): AsyncIterable<Uint8Array> {
    await using file = await openExisting(this.#part(name));
    if (!file) return;
    for (let at = 0; ;) {
      const piece = await readAt(file, at, READ_BYTES);
      if (piece.length === 0) return;
      at += piece.length;
      yield piece;
    }
  }

  async seal(name: string): Promise<void> {
    await using file = await openExisting(this.#part(name), 'r+');
    if (!file) throw new FedError('TENSOR_UNKNOWN', name);
    await file.sync();
    await this.#publish(name);
  }

  async delete(name: string): Promise<void> {
    await Promise.all([this.#path(name), this.#part(name)].map((path) => unlink(path).catch(unlessMissing)));
  }

  async list(prefix: string): Promise<BlobInfo[]> {
    const rows: BlobInfo[] = [];
    for (const file of await readdir(this.#folder)) {
      const name = file.endsWith(PART) ? file.slice(0, -PART.length) : file;
      if (!name.startsWith(prefix)) continue;
      const found = await stat(join(this.#folder, file)).catch(unlessMissing);
      if (found) rows.push({ name, bytes: found.size, sealed: name === file, changedMs: found.mtimeMs });
    }
    return rows;
  }

  /** The rename is the moment a blob is there; syncing the folder makes the name itself survive a power cut. */
  async #publish(name: string): Promise<void> {
    await rename(this.#part(name), this.#path(name));
    // Windows cannot open a folder; its rename is journalled by NTFS.
    if (process.platform === 'win32') return;
    await using folder = await open(this.#folder, 'r');
    await folder.sync();
  }

  #path(name: string): string {
    return join(this.#folder, checkBlobName(name));
  }
  #part(name: string): string {
    return this.#path(name) + PART;
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number | null): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position === null ? null : position + at);
    at += bytesWritten;
  }
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(length);
  const { bytesRead } = await file.read(buffer, 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

async function sizeOf(path: string): Promise<number | null> {
  return (await stat(path).catch(unlessMissing))?.size ?? null;
}

async function openExisting(path: string, flags = 'r'): Promise<FileHandle | null> {
  return open(path, flags).catch(unlessMissing);
}

function unlessMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}

import { z } from 'zod';
import type { SpooledTensor } from '../aggregation/aggregation.ts';
import { FedError } from '../errors.ts';
import { turn } from '../turn.ts';

/**
 * Where large byte strings rest. A blob is either a *spool*, which grows at its end and may be half there, or *sealed*:
 * whole, durable, never changed. One contract suite (`test/contract/wire-blob-store.test.ts`) holds for every store.
 */
export interface BlobStore {
  /** Stores a whole blob, of parts in a row. Guarantee: sealed and durable when this resolves; replaces what had the name. */
  put(name: string, ...parts: Uint8Array[]): Promise<void>;
  /** Size of a sealed blob in bytes; null when there is none. */
  size(name: string): Promise<number | null>;
  /**
   * Reads a range of a sealed blob: shorter than `length` only at its end. Not to be written to: it may be the store's own.
   * @throws {FedError} TENSOR_UNKNOWN
   */
  read(name: string, offset: number, length: number): Promise<Uint8Array>;
  /** Size of a spool in bytes; 0 when there is none. */
  spooled(name: string): Promise<number>;
  /** Appends to a spool, which begins with offset 0. Not durable until sealed. @throws {FedError} STORE_CORRUPT on a gap */
  append(name: string, offset: number, bytes: Uint8Array): Promise<void>;
  /** Reads a spool from its start, in pieces; others have their turn between them. */
  readSpool(name: string): AsyncIterable<Uint8Array>;
  /** Turns a spool into a sealed blob. Guarantee: durable when this resolves. @throws {FedError} TENSOR_UNKNOWN */
  seal(name: string): Promise<void>;
  /** Removes spool and blob; nothing happens when there is neither. */
  delete(name: string): Promise<void>;
  /** Everything whose name starts with `prefix`. */
  list(prefix: string): Promise<BlobInfo[]>;
}

export interface BlobInfo {
  readonly name: string;
  readonly bytes: number;
  readonly sealed: boolean;
  /** Last change, milliseconds since 1970. */
  readonly changedMs: number;
}

/** A blob's name: also a safe file name. `.part` is kept for spools. */
const BlobName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9.-]{0,150}$/)
  .refine((n) => !n.endsWith('.part'));

/** @throws {FedError} PARAMETER_INVALID when the name could leave its folder or be taken for a spool. */
export function checkBlobName(name: string): string {
  if (!BlobName.safeParse(name).success) throw new FedError('PARAMETER_INVALID', `blob name ${JSON.stringify(name)}`);
  return name;
}

/** Piece size of sequential reads, in bytes. */
export const READ_BYTES = 256 * 1024;

/** A sealed blob as something an aggregation can read, others having their turn between pieces. @throws {FedError} TENSOR_UNKNOWN */
export async function openBlob(store: BlobStore, name: string): Promise<SpooledTensor> {
  const bytes = await store.size(name);
  if (bytes === null) throw new FedError('TENSOR_UNKNOWN', name);
  return {
    bytes,
    async *chunks() {
      for (let at = 0; at < bytes;) {
        const piece = await store.read(name, at, READ_BYTES);
        if (piece.length === 0) throw new FedError('STORE_CORRUPT', `${name} ends at ${at} of ${bytes}`);
        at += piece.length;
        yield piece;
        // A store that reads in place waits for nothing: a sum over many uploads would hold up everybody else.
        await turn();
      }
    },
  };
}

/** A copy of all parts in a row. */
function inOne(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((total, { length }) => total + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The store of tests and the simulator: nothing outlives the process. */
export class MemoryBlobStore implements BlobStore {
  readonly #sealed = new Map<string, { bytes: Uint8Array; changedMs: number }>();
  readonly #spools = new Map<string, { pieces: Uint8Array[]; bytes: number; changedMs: number }>();

  async put(name: string, ...parts: Uint8Array[]): Promise<void> {
    this.#seal(checkBlobName(name), inOne(parts));
  }
  #seal(name: string, bytes: Uint8Array): void {
    this.#spools.delete(name);
    this.#sealed.set(name, { bytes, changedMs: Date.now() });
  }
  async size(name: string): Promise<number | null> {
    return this.#sealed.get(name)?.bytes.length ?? null;
  }
  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    const blob = this.#sealed.get(name);
    if (!blob) throw new FedError('TENSOR_UNKNOWN', name);
    return blob.bytes.subarray(offset, offset + length);
  }
  async spooled(name: string): Promise<number> {
    return this.#spools.get(name)?.bytes ?? 0;
  }
  async append(name: string, offset: number, bytes: Uint8Array): Promise<void> {
    const spool = this.#spools.get(checkBlobName(name)) ?? { pieces: [], bytes: 0, changedMs: 0 };
    if (offset !== spool.bytes)
      throw new FedError('STORE_CORRUPT', `${name}: append at ${offset}, have ${spool.bytes}`);
    spool.pieces.push(new Uint8Array(bytes));
    spool.bytes += bytes.length;
    spool.changedMs = Date.now();
    this.#spools.set(name, spool);
  }
  async *readSpool(name: string): AsyncIterable<Uint8Array> {
    for (const piece of this.#spools.get(name)?.pieces ?? []) {
      yield piece;
      await turn();
    }
  }
  async seal(name: string): Promise<void> {
    const spool = this.#spools.get(name);
    if (!spool) throw new FedError('TENSOR_UNKNOWN', name);
    this.#seal(name, spool.pieces.length === 1 ? spool.pieces[0] : inOne(spool.pieces));
  }
  async delete(name: string): Promise<void> {
    this.#sealed.delete(name);
    this.#spools.delete(name);
  }
  async list(prefix: string): Promise<BlobInfo[]> {
    const rows: BlobInfo[] = [];
    for (const [name, b] of this.#sealed)
      rows.push({ name, bytes: b.bytes.length, sealed: true, changedMs: b.changedMs });
    for (const [name, s] of this.#spools) rows.push({ name, bytes: s.bytes, sealed: false, changedMs: s.changedMs });
    return rows.filter((r) => r.name.startsWith(prefix));
  }
}

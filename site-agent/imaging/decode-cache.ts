/**
 * Decoded tensors between two starts, encrypted: whoever has the file and not the key learns how many files there are and how
 * large, and nothing else. A record that does not open counts as absent, and its file is decoded again.
 *
 * AES-256-GCM with a random nonce a record; a record is bound to its name, and names are keyed hashes.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { z } from 'zod';
import { FedError } from '../../shared/errors.ts';
import { secureBytes } from '../../shared/random.ts';
import type { DecodedFile, DecodeSettings } from './decode-file.ts';

/** Raised whenever a file would decode to something else than before. */
const DECODER_VERSION = 1;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

const Head = z.strictObject({
  facts: z.strictObject({
    packing: z.string(),
    modality: z.string().optional(),
    patient: z.string().optional(),
    label: z.string().optional(),
    burnedIn: z.boolean().optional(),
    captured: z.boolean().optional(),
  }),
  pictures: z.int().min(0),
  masked: z.int().min(0),
});

/** A file as the disk names it: another size or time is another file. */
export interface FileIdentity {
  readonly file: string;
  readonly size: bigint;
  readonly mtimeNs: bigint;
}

const drawn = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  secureBytes(bytes);
  return bytes;
};

/**
 * The key of a cache and of patients' hashes: 32 bytes in a file that only its owner may read, made when missing.
 * @throws {FedError} KEYS_EXPOSED when others can read it; STORE_CORRUPT when it is no key.
 */
export function imagingKey(path: string): Uint8Array {
  if (!existsSync(path)) writeFileSync(path, drawn(KEY_BYTES), { mode: 0o600, flag: 'wx', flush: true });
  // Windows has no such bits; there the folder's own access list is what protects it.
  if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0)
    throw new FedError('KEYS_EXPOSED', `${path} can be read by others; make its mode 600`);
  const key = readFileSync(path);
  if (key.length !== KEY_BYTES) throw new FedError('STORE_CORRUPT', `${path} is no key`);
  return key;
}

const derive = (key: Uint8Array, purpose: string): Uint8Array =>
  new Uint8Array(hkdfSync('sha256', key, '', `veilgan imaging ${purpose}`, KEY_BYTES));

/** What patients are hashed with: not the key that encrypts. */
export const patientKeyOf = (key: Uint8Array): Uint8Array => derive(key, 'patient');

export class DecodeCache {
  readonly #db: DatabaseSync;
  readonly #get: StatementSync;
  readonly #put: StatementSync;
  readonly #nameKey: Uint8Array;
  readonly #boxKey: Uint8Array;
  readonly #settings: string;
  readonly #values: number;

  /** @param path - of an SQLite file, made when missing. */
  constructor(path: string, key: Uint8Array, settings: DecodeSettings) {
    this.#nameKey = derive(key, 'name');
    this.#boxKey = derive(key, 'cache');
    this.#settings = settingsDigest(settings);
    this.#values = settings.channels * settings.size ** 2;
    this.#db = openOrRenew(path);
    this.#get = this.#db.prepare('SELECT box FROM decoded WHERE name = ?');
    this.#put = this.#db.prepare('INSERT OR REPLACE INTO decoded (name, box) VALUES (?, ?)');
  }

  #name({ file, size, mtimeNs }: FileIdentity): Buffer {
    return createHmac('sha256', this.#nameKey)
      .update(JSON.stringify([this.#settings, file, `${size}`, `${mtimeNs}`]))
      .digest();
  }

  get(id: FileIdentity): DecodedFile | undefined {
    const name = this.#name(id);
    const box = this.#get.get(name)?.['box'];
    return box instanceof Uint8Array ? this.#open(name, box) : undefined;
  }

  put(id: FileIdentity, file: DecodedFile): void {
    const name = this.#name(id);
    this.#put.run(name, this.#seal(name, file));
  }

  close(): void {
    this.#db.close();
  }

  #seal(name: Buffer, { facts, units, masked }: DecodedFile): Buffer {
    const head = Buffer.from(JSON.stringify({ facts, pictures: units.length, masked }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(head.length);
    const nonce = drawn(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#boxKey, nonce).setAAD(name);
    const parts = [length, head, ...units.map((u) => Buffer.from(u.buffer, u.byteOffset, u.byteLength))];
    const sealed = parts.map((part) => cipher.update(part));
    return Buffer.concat([nonce, ...sealed, cipher.final(), cipher.getAuthTag()]);
  }

  #open(name: Buffer, box: Uint8Array): DecodedFile | undefined {
    if (box.length < NONCE_BYTES + TAG_BYTES + 4) return undefined;
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#boxKey, box.subarray(0, NONCE_BYTES)).setAAD(name);
      decipher.setAuthTag(box.subarray(-TAG_BYTES));
      const plain = Buffer.concat([decipher.update(box.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
      const start = 4 + plain.readUInt32LE(0);
      const head = Head.parse(JSON.parse(plain.toString('utf8', 4, start)));
      if (plain.length !== start + head.pictures * this.#values * 4) return undefined;
      const all = new Float32Array(new Uint8Array(plain.subarray(start)).buffer);
      const units = Array.from({ length: head.pictures }, (_, k) =>
        all.slice(k * this.#values, (k + 1) * this.#values),
      );
      return { facts: head.facts as DecodedFile['facts'], units, masked: head.masked };
    } catch {
      // Another key, damage, or an older version of ours: all the same, it is decoded again.
      return undefined;
    }
  }
}

/** A damaged cache is no loss: it is begun anew. */
function openOrRenew(path: string): DatabaseSync {
  try {
    return openDatabase(path);
  } catch {
    for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true });
    return openDatabase(path);
  }
}

function openDatabase(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    chmodSync(path, 0o600);
    // Losing the last records in a crash costs their decoding, so they need not be flushed one by one.
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    db.exec('CREATE TABLE IF NOT EXISTS decoded (name BLOB PRIMARY KEY, box BLOB NOT NULL)');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Everything a tensor depends on but the file. */
function settingsDigest({ patientKey, ...rest }: DecodeSettings): string {
  const patients = createHash('sha256').update(patientKey).digest('hex');
  const ordered = Object.fromEntries(Object.entries(rest).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return createHash('sha256')
    .update(JSON.stringify([DECODER_VERSION, patients, ordered]))
    .digest('hex');
}

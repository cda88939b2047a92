import { createHash, type Hash } from 'node:crypto';
import type { SpooledTensor } from '../aggregation/aggregation.ts';
import type { Clock } from '../clock.ts';
import { FedError } from '../errors.ts';
import { type BlobStore, openBlob } from './blob-store.ts';
import {
  MAX_CHUNK_BYTES,
  MAX_PIECES_ALONG,
  parseMessage,
  TensorChunk,
  TensorGet,
  type TensorHave,
  TensorOffer,
  type TensorPart,
} from './messages.ts';

/** A blob by its name in the store; or the first so many bytes of one. */
export type Readable = string | { readonly name: string; readonly bytes: number };

export interface TensorReceiverOptions {
  readonly store: BlobStore;
  /**
   * May this site send this tensor now?
   * @returns the most bytes it may have.
   * @throws {FedError} whatever refuses it, ROUND_NOT_OPEN for instance.
   */
  readonly allow: (siteId: string, offer: TensorOffer) => number | Promise<number>;
  /** What this site may read under this hash; null when there is nothing, or nothing for it. */
  readonly readable: (siteId: string, sha256: string) => Readable | null | Promise<Readable | null>;
  /** A site was given the last part of what it reads under this hash. */
  readonly onServed?: (siteId: string, sha256: string) => void;
  readonly clock: Pick<Clock, 'now'>;
  /** Bytes of all uploads together that may be under way: the sites share it. */
  readonly budgetBytes?: number;
  /** Tensors one site may have here, whole or half. */
  readonly maxTensorsPerSite?: number;
}

interface Upload {
  readonly bytes: number;
  readonly hash: Hash;
  have: number;
  lastMs: number;
}

/** The least that is granted at a time, in bytes: below it, round trips cost more than memory. */
const MIN_CREDIT_BYTES = 16 * 1024;
const MAX_CREDIT_BYTES = 4 * MAX_CHUNK_BYTES;
/** Of at most `MAX_CHUNK_BYTES` each. */
const PARTS_KEPT = 8;
/** An upload silent for this long does not count when the budget is shared. */
const IDLE_MS = 30_000;

/**
 * The coordinator's end of tensor transfer: takes uploads into a spool, chunk by chunk, and serves ranges of what a
 * site may read. A refused chunk leaves the spool as it was.
 *
 * Guarantee: an upload counts (`received`) only when it is whole, matches its hash and is durable. Memory does not grow
 * with the number of sites or the size of tensors: bytes go to the store as they come, and what may be under way at a
 * time is one budget that all active uploads share. Uploads are kept per site: a hash alone gives no site another's bytes.
 */
export class TensorReceiver {
  readonly #o: Required<TensorReceiverOptions>;
  readonly #uploads = new Map<string, Upload>();
  /** At least the names of what a site has in the store, once it was looked up: a site of few tensors costs no look. */
  readonly #names = new Map<string, Set<string>>();
  /** Sites that have uploaded anything: any of them may begin its next upload at any time. */
  readonly #senders = new Set<string>();
  /** Parts as they were last sent, the oldest first: all sites ask for the same ones. */
  readonly #parts = new Map<string, TensorPart>();
  #expected: { readonly sha256: string; readonly bytes: Uint8Array } | null = null;
  /** The last piece of work on each upload: chunks of one tensor are handled one after the other. */
  readonly #tails = new Map<string, Promise<unknown>>();

  constructor(options: TensorReceiverOptions) {
    this.#o = { budgetBytes: 16 * 1024 * 1024, maxTensorsPerSite: 16, onServed: () => undefined, ...options };
  }

  static handles(type: string): boolean {
    return type === 'tensor.offer' || type === 'tensor.chunk' || type === 'tensor.get';
  }

  /**
   * Answers one `tensor.*` request.
   * @throws {FedError} MESSAGE_INVALID, TENSOR_TOO_LARGE, TENSOR_CORRUPT, TENSOR_UNKNOWN, or what `allow` threw.
   */
  async handle(siteId: string, type: string, payload: unknown): Promise<unknown> {
    switch (type) {
      case 'tensor.offer': {
        const offer = parseMessage(TensorOffer, payload);
        const name = uploadName(siteId, offer.sha256);
        // In turn with its chunks, which may come right behind it.
        return this.#inTurn(name, async () => {
          const most = await this.#o.allow(siteId, offer);
          if (offer.bytes > most)
            throw new FedError('TENSOR_TOO_LARGE', `site=${siteId} ${offer.bytes} of ${most} bytes`);
          return this.#offer(siteId, name, offer);
        });
      }
      case 'tensor.chunk': {
        const chunk = parseMessage(TensorChunk, payload);
        const name = uploadName(siteId, chunk.sha256);
        this.#senders.add(siteId);
        return this.#inTurn(name, () => this.#chunk(name, chunk));
      }
      case 'tensor.get':
        return this.#get(siteId, parseMessage(TensorGet, payload));
      default:
        throw new FedError('MESSAGE_INVALID', `no request ${type}`);
    }
  }

  /** A whole upload of this site; null while it is not here. Chunks that came before this was asked are taken first. */
  async received(siteId: string, sha256: string): Promise<SpooledTensor | null> {
    const name = uploadName(siteId, sha256);
    await this.#tails.get(name);
    return (await this.#o.store.size(name)) === null ? null : openBlob(this.#o.store, name);
  }

  /** Removes an upload, whole or half: its round is over. */
  async forget(siteId: string, sha256: string): Promise<void> {
    const name = uploadName(siteId, sha256);
    await this.#inTurn(name, () => this.#drop(name));
  }

  /**
   * Removes every upload of every site: no round is open, so nothing of them is wanted any more. Takes with it what no
   * answer ever named, because its round closed in between. The store's uploads are this receiver's alone.
   */
  async forgetAll(): Promise<void> {
    for (const { name } of await this.#o.store.list(UPLOADS)) await this.#inTurn(name, () => this.#drop(name));
  }

  async #offer(siteId: string, name: string, offer: TensorOffer): Promise<TensorHave> {
    const { store, clock } = this.#o;
    const whole = await store.size(name);
    const running = this.#uploads.get(name);
    if ((whole ?? running?.bytes ?? offer.bytes) !== offer.bytes)
      throw new FedError('MESSAGE_INVALID', `${name} was offered with another size`);
    if (whole !== null) return { have: whole, credit: MIN_CREDIT_BYTES };
    if (running) {
      running.lastMs = clock.now();
      return { have: running.have, credit: this.#credit() };
    }
    if ((await store.spooled(name)) >= offer.bytes) await store.delete(name);
    await this.#makeRoom(siteId, name);
    // After a restart the spool is all there is: its hash is computed again from its bytes.
    const upload: Upload = { bytes: offer.bytes, hash: createHash('sha256'), have: 0, lastMs: clock.now() };
    for await (const piece of store.readSpool(name)) {
      upload.hash.update(piece);
      upload.have += piece.length;
    }
    this.#uploads.set(name, upload);
    return { have: upload.have, credit: this.#credit() };
  }

  async #chunk(name: string, chunk: TensorChunk): Promise<TensorHave> {
    const { store, clock } = this.#o;
    const upload = this.#uploads.get(name);
    if (!upload) {
      const whole = await store.size(name);
      if (whole === null) throw new FedError('TENSOR_UNKNOWN', `${name}: chunk without an offer`);
      return { have: whole, credit: MIN_CREDIT_BYTES };
    }
    const end = chunk.offset + chunk.data.length;
    if (end > upload.bytes) throw new FedError('MESSAGE_INVALID', `${name}: chunk to ${end} of ${upload.bytes}`);
    upload.lastMs = clock.now();
    // Sent twice, or after a chunk that was refused: the answer tells the sender where to go on.
    if (chunk.offset !== upload.have) return { have: upload.have, credit: this.#credit() };
    if (sha256(chunk.data) !== chunk.chunkSha256)
      throw new FedError('TENSOR_CORRUPT', `${name}: chunk at ${chunk.offset}`);
    try {
      await store.append(name, upload.have, chunk.data);
    } catch (error) {
      // What reached the disk is unknown (it may be full): the next offer reads the spool again.
      this.#uploads.delete(name);
      throw error;
    }
    upload.hash.update(chunk.data);
    upload.have = end;
    if (end < upload.bytes) return { have: end, credit: this.#credit() };
    await this.#finish(name, upload, chunk.sha256);
    // What is granted with the last word may be sent ahead of the next offer, by all who upload here at the same time.
    return { have: end, credit: this.#credit(this.#senders.size) };
  }

  async #finish(name: string, upload: Upload, wanted: string): Promise<void> {
    this.#uploads.delete(name);
    if (upload.hash.digest('hex') !== wanted) {
      await this.#drop(name);
      throw new FedError('TENSOR_CORRUPT', `${name}: all ${upload.bytes} bytes are here and hash to something else`);
    }
    await this.#o.store.seal(name);
  }

  async #get(siteId: string, get: TensorGet): Promise<TensorPart> {
    const { store, readable } = this.#o;
    const found = await readable(siteId, get.sha256);
    const of = typeof found === 'string' ? { name: found, bytes: Infinity } : found;
    const size = of === null ? null : await store.size(of.name);
    // One answer for "not here" and "not for you".
    if (of === null || size === null) throw new FedError('TENSOR_UNKNOWN', `site=${siteId} ${get.sha256}`);
    const part = await this.#part(of.name, Math.min(size, of.bytes), get);
    if (get.offset + part.data.length >= part.bytes) this.#o.onServed(siteId, get.sha256);
    return part;
  }

  /**
   * Sites will soon ask for these bytes, which lie in the store under their hash: the first parts are cut and hashed now.
   * Who may read them is asked as ever.
   * @param bytes - not to be changed.
   */
  expect(sha256: string, bytes: Uint8Array): void {
    this.#expected = { sha256, bytes };
    for (let i = 0; i < PARTS_KEPT && i * MAX_CHUNK_BYTES < bytes.length; i++) {
      const [offset, length] = [i * MAX_CHUNK_BYTES, MAX_CHUNK_BYTES];
      this.#keep({ sha256, offset, length }, bytes.length, bytes.subarray(offset, offset + length));
    }
  }

  /** What is expected under this hash, in pieces that may go along with another message; null where it is not, or too large. */
  along(sha256: string): Uint8Array[] | null {
    const { bytes } = this.#expected?.sha256 === sha256 ? this.#expected : { bytes: null };
    if (bytes === null || bytes.length > MAX_PIECES_ALONG * MAX_CHUNK_BYTES) return null;
    const pieces = Math.ceil(bytes.length / MAX_CHUNK_BYTES);
    return Array.from({ length: pieces }, (_, i) => bytes.subarray(i * MAX_CHUNK_BYTES, (i + 1) * MAX_CHUNK_BYTES));
  }

  /** Read and hashed once for all who ask: what is named by its hash does not change. */
  async #part(name: string, bytes: number, get: TensorGet): Promise<TensorPart> {
    const kept = this.#parts.get(partName(get, bytes));
    if (kept !== undefined) return kept;
    const { offset, length } = get;
    return this.#keep(
      get,
      bytes,
      await this.#o.store.read(name, offset, Math.max(0, Math.min(length, bytes - offset))),
    );
  }

  #keep(get: TensorGet, bytes: number, data: Uint8Array): TensorPart {
    const part = { bytes, chunkSha256: sha256(data), data };
    this.#parts.set(partName(get, bytes), part);
    if (this.#parts.size > PARTS_KEPT) this.#parts.delete([...this.#parts.keys()][0]);
    return part;
  }

  async #drop(name: string): Promise<void> {
    this.#uploads.delete(name);
    await this.#o.store.delete(name);
    for (const names of this.#names.values()) names.delete(name);
  }

  /** A site that starts over and over leaves halves behind: the oldest goes first. @throws {FedError} TENSOR_TOO_LARGE */
  async #makeRoom(siteId: string, name: string): Promise<void> {
    const known = this.#names.get(siteId);
    known?.add(name);
    if (known !== undefined && known.size <= this.#o.maxTensorsPerSite) return;
    const before = new Set(known);
    const mine = (await this.#o.store.list(uploadName(siteId, ''))).filter((b) => b.name !== name);
    // What is in the store, and what was offered meanwhile: names of refused offers do not pile up.
    const meanwhile = [...(this.#names.get(siteId) ?? [])].filter((other) => !before.has(other));
    this.#names.set(siteId, new Set([...meanwhile, name, ...mine.map((b) => b.name)]));
    const halves = mine.filter((b) => !b.sealed).sort((a, b) => a.changedMs - b.changedMs);
    for (let over = mine.length + 1 - this.#o.maxTensorsPerSite; over > 0; over--) {
      const oldest = halves.shift();
      if (!oldest) throw new FedError('TENSOR_TOO_LARGE', `site=${siteId} has ${mine.length} tensors here`);
      await this.#drop(oldest.name);
    }
  }

  /** An equal share of the budget for every upload that is not idle. @param least - uploads there may be at least. */
  #credit(least = 1): number {
    const since = this.#o.clock.now() - IDLE_MS;
    let active = 0;
    for (const upload of this.#uploads.values()) if (upload.lastMs > since) active++;
    const share = Math.floor(this.#o.budgetBytes / Math.max(least, active));
    return Math.min(MAX_CREDIT_BYTES, Math.max(MIN_CREDIT_BYTES, share));
  }

  #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#tails.get(name) ?? Promise.resolve()).then(work, work);
    const settled = turn.then(ignore, ignore).then(() => {
      if (this.#tails.get(name) === settled) this.#tails.delete(name);
    });
    this.#tails.set(name, settled);
    return turn;
  }
}

const partName = (get: TensorGet, bytes: number): string => [get.sha256, bytes, get.offset, get.length].join(' ');
const UPLOADS = 'up.';
/** The dot separates: a site's id has none, so no site's prefix is another's. */
const uploadName = (siteId: string, hash: string): string => `${UPLOADS}${siteId}.${hash}`;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const ignore = (): void => undefined;

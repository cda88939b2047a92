import { createHash } from 'node:crypto';
import { FedError } from '../errors.ts';
import { type BlobStore, MemoryBlobStore } from './blob-store.ts';
import type { CoordinatorLink } from './link.ts';
import { MAX_CHUNK_BYTES, parseMessage, TensorHave, TensorPart } from './messages.ts';

/** Times a transfer begins anew without having come further, before it gives up. */
const MAX_STALLS = 3;
/** Parts of a download asked for ahead. */
const DOWNLOAD_WINDOW = 4;

export type OnProgress = (doneBytes: number, totalBytes: number) => void;

export interface UploadOptions {
  /** What the tensor is for; the coordinator decides by it. */
  readonly purpose: string;
  /** Of the bytes, where the caller has it. */
  readonly sha256?: string;
  /**
   * Never offered before: its first bytes follow the offer at once, as many as this link's last upload might have under
   * way. Where the coordinator has some already, they were sent in vain.
   */
  readonly fresh?: boolean;
  /** Called when the last byte is on its way, before it was acknowledged: a message that follows now comes after it. */
  readonly onSent?: () => void;
  readonly onProgress?: OnProgress;
}

/** Bytes that the coordinator last let a link have under way. */
const lastCredit = new WeakMap<CoordinatorLink, number>();

/**
 * Sends a tensor to the coordinator in hashed chunks, a few under way at a time.
 *
 * Guarantee: when this resolves, the coordinator holds all bytes, durable and checked against their hash. Whatever was
 * interrupted, by either side's death or the network's, is resumed by calling it again with the same bytes.
 * @param bytes - not to be changed while this runs.
 * @returns the tensor's SHA-256, by which later messages name it.
 * @throws {FedError} LINK_LOST: call again when there is a link; TENSOR_TOO_LARGE and other refusals: do not.
 */
export async function uploadTensor(link: CoordinatorLink, bytes: Uint8Array, o: UploadOptions): Promise<string> {
  const hash = o.sha256 ?? sha256(bytes);
  const upload = { link, bytes, hash, o };
  let furthest = -1;
  let ahead: Sending | null = null;
  for (let stalls = 0; ;) {
    const offered = have(link, 'tensor.offer', { sha256: hash, bytes: bytes.length, purpose: o.purpose });
    if (furthest < 0 && o.fresh === true) ahead = sentAhead(upload);
    const start = await offered;
    o.onProgress?.(start.have, bytes.length);
    if (start.have === bytes.length) return hash;
    const sending = ahead !== null && start.have === 0 ? ahead : new Sending(upload, start);
    ahead = null;
    const reached = await sending.finish(start.credit);
    if (reached.have === bytes.length) return hash;
    stalls = reached.have > furthest ? 0 : stalls + 1;
    furthest = Math.max(furthest, reached.have);
    if (stalls >= MAX_STALLS)
      throw reached.error ?? new FedError('TENSOR_CORRUPT', `${hash}: no further than ${furthest} of ${bytes.length}`);
  }
}

/** Begins to send before the offer is answered; null where it is not known how much may be under way. */
function sentAhead(upload: Upload): Sending | null {
  const credit = lastCredit.get(upload.link);
  if (credit === undefined) return null;
  const sending = new Sending(upload, { have: 0, credit });
  sending.fill();
  return sending;
}

interface Upload {
  readonly link: CoordinatorLink;
  readonly bytes: Uint8Array;
  readonly hash: string;
  readonly o: UploadOptions;
}

/** One run at an upload, from a place that the coordinator has named. */
class Sending {
  readonly #u: Upload;
  readonly #underWay: { end: number; ack: Promise<TensorHave> }[] = [];
  #acked: number;
  #sent: number;
  #credit: number;

  constructor(upload: Upload, start: TensorHave) {
    this.#u = upload;
    this.#acked = this.#sent = start.have;
    this.#credit = start.credit;
  }

  /** Sends as much as may be under way; something always may. */
  fill(): void {
    const { link, bytes, hash, o } = this.#u;
    while (
      this.#sent < bytes.length &&
      (this.#sent === this.#acked ||
        this.#sent - this.#acked + Math.min(MAX_CHUNK_BYTES, bytes.length - this.#sent) <= this.#credit)
    ) {
      const offset = this.#sent;
      const data = bytes.subarray(offset, offset + Math.min(MAX_CHUNK_BYTES, this.#credit));
      const ack = have(link, 'tensor.chunk', { sha256: hash, offset, chunkSha256: sha256(data), data });
      // Awaited below, but perhaps not all: after one failure the others are of no interest.
      ack.catch(() => undefined);
      this.#sent += data.length;
      this.#underWay.push({ end: this.#sent, ack });
      if (this.#sent === bytes.length) o.onSent?.();
    }
  }

  /** Sends until all is acknowledged or a chunk is refused in a way that a new offer may cure. */
  async finish(credit: number): Promise<{ have: number; error?: FedError }> {
    const { link, bytes, o } = this.#u;
    this.#credit = credit;
    while (this.#acked < bytes.length) {
      this.fill();
      const first = this.#underWay.shift()!;
      try {
        const reply = await first.ack;
        if (reply.have < first.end) return { have: this.#acked };
        this.#acked = reply.have;
        this.#credit = reply.credit;
        lastCredit.set(link, reply.credit);
      } catch (error) {
        if (error instanceof FedError && (error.code === 'TENSOR_UNKNOWN' || error.code === 'TENSOR_CORRUPT'))
          return { have: this.#acked, error };
        throw error;
      }
      o.onProgress?.(this.#acked, bytes.length);
    }
    return { have: this.#acked };
  }
}

export interface DownloadOptions {
  /** The most this tensor may have, in bytes: a coordinator cannot fill a site's disk. */
  readonly maxBytes: number;
  /** How many it has, where that was said before: then no first part is waited for to tell. */
  readonly bytes?: number;
  /** Where parts wait until the whole is here; a file store makes the download outlive a restart. */
  readonly store?: BlobStore;
  readonly onProgress?: OnProgress;
}

/**
 * Fetches a tensor by its hash.
 *
 * Guarantee: what comes back hashes to `hash`. With a `store`, a call after an interruption goes on where it stopped,
 * and once whole the tensor stays in it, sealed, under the name of its hash. One call at a time per store and hash.
 * @throws {FedError} LINK_LOST: call again; TENSOR_UNKNOWN; TENSOR_TOO_LARGE; TENSOR_CORRUPT, after which the spool is empty.
 */
export async function downloadTensor(link: CoordinatorLink, hash: string, o: DownloadOptions): Promise<Uint8Array> {
  const store = o.store ?? new MemoryBlobStore();
  const already = await store.size(hash);
  if (already !== null) return checked(store, hash, already);
  let at = await store.spooled(hash);
  let total = o.bytes !== undefined && o.bytes <= o.maxBytes ? o.bytes : null;
  let asked = at;
  const underWay: Promise<TensorPart>[] = [];
  while (total === null || at < total) {
    // The first answer tells the size; until then one request is under way.
    while (underWay.length < (total === null ? 1 : DOWNLOAD_WINDOW) && (total === null || asked < total)) {
      const part = get(link, hash, asked);
      part.catch(() => undefined);
      underWay.push(part);
      asked += MAX_CHUNK_BYTES;
    }
    const part = await underWay.shift()!;
    total ??= part.bytes;
    if (total > o.maxBytes) throw new FedError('TENSOR_TOO_LARGE', `${hash}: ${total} of at most ${o.maxBytes} bytes`);
    if (part.bytes !== total || part.data.length !== Math.min(MAX_CHUNK_BYTES, Math.max(0, total - at)))
      throw await dropped(store, hash, `part at ${at} of ${total} has ${part.data.length} bytes`);
    if (sha256(part.data) !== part.chunkSha256) throw await dropped(store, hash, `part at ${at}`);
    if (part.data.length > 0) await store.append(hash, at, part.data);
    at += part.data.length;
    o.onProgress?.(at, total);
  }
  const whole = createHash('sha256');
  for await (const piece of store.readSpool(hash)) whole.update(piece);
  if (at === 0 || whole.digest('hex') !== hash) throw await dropped(store, hash, 'the whole');
  await store.seal(hash);
  return store.read(hash, 0, at);
}

/**
 * Keeps a tensor that came along with what names it, where `downloadTensor` finds it, checks it and asks for what is wrong.
 * Everything else in the store goes, so nobody fills it with what is never asked for.
 */
export async function keepPieces(
  store: BlobStore,
  { sha256: hash, bytes }: { readonly sha256: string; readonly bytes: number },
  pieces: readonly Uint8Array[],
  maxBytes: number,
): Promise<void> {
  const given = pieces.reduce((sum, { length }) => sum + length, 0);
  if (bytes > maxBytes || given !== bytes || (await store.size(hash)) !== null) return;
  for (const { name } of await store.list('')) await store.delete(name);
  let at = 0;
  for (const piece of pieces) {
    await store.append(hash, at, piece);
    at += piece.length;
  }
}

async function checked(store: BlobStore, hash: string, bytes: number): Promise<Uint8Array> {
  const whole = await store.read(hash, 0, bytes);
  if (sha256(whole) !== hash) throw await dropped(store, hash, 'the sealed copy');
  return whole;
}

async function dropped(store: BlobStore, hash: string, what: string): Promise<FedError> {
  await store.delete(hash);
  return new FedError('TENSOR_CORRUPT', `${hash}: ${what}`);
}

const have = async (link: CoordinatorLink, type: string, payload: unknown): Promise<TensorHave> =>
  parseMessage(TensorHave, await link.call(type, payload));

const get = async (link: CoordinatorLink, hash: string, offset: number): Promise<TensorPart> =>
  parseMessage(TensorPart, await link.call('tensor.get', { sha256: hash, offset, length: MAX_CHUNK_BYTES }));

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Sends a message right behind the tensor that it names, and once more where that came too late to be waited for. */
export async function uploadThen(
  link: CoordinatorLink,
  tensor: Uint8Array,
  o: UploadOptions,
  sendMessage: () => Promise<unknown>,
): Promise<void> {
  let early: Promise<unknown> | null = null;
  const onSent = () => {
    early ??= sendMessage();
    // Heard of below, unless the upload has failed.
    early.catch(() => undefined);
  };
  await uploadTensor(link, tensor, { ...o, onSent });
  try {
    await (early ?? sendMessage());
  } catch (error) {
    if (early === null || !(error instanceof FedError) || error.code !== 'TENSOR_UNKNOWN') throw error;
    await sendMessage();
  }
}

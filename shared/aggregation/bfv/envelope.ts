/**
 * What travels: our header, then for every chunk its tag and its ciphertext as SEAL wrote it, unchanged. The layout is
 * in docs/aggregation-bfv.md; `test/reference/bfv-envelope.test.ts` reads it without this file and without SEAL.
 */
import { FedError } from '../../errors.ts';
import type { SpooledTensor } from '../aggregation.ts';
import { chunksOf } from './parameters.ts';
import type { BfvParameters } from './parameters.ts';
import type { Frame } from './seal-core.ts';

/** Reads "VGBF". */
const MAGIC = 0x46424756;
const VERSION = 1;
const KINDS = { update: 1, sum: 2 } as const;
/** What the ciphertexts are: one site's, with the second polynomial as a seed, or a sum. */
export type EnvelopeKind = keyof typeof KINDS;

const HEADER_BYTES = 52;
/** Before each ciphertext: its length (4) and its tag (8). */
const FRAME_BYTES = 12;
/** No ciphertext under our parameters is longer, compressed or not. */
const MAX_SEAL_BYTES = 36 * 1024;
/** SEAL's own header: magic 0xA15E, then the length of header, version, compression and size of the whole. */
const SEAL_HEADER_BYTES = 16;
const SEAL_MAGIC = 0xa15e;

/** The most an envelope can have, in bytes. */
export const mostEnvelopeBytes = (p: BfvParameters, length: number): number =>
  HEADER_BYTES + chunksOf(p, length) * (FRAME_BYTES + MAX_SEAL_BYTES);

/** @param length - values in all chunks together. */
export function writeEnvelope(kind: EnvelopeKind, p: BfvParameters, length: number, frames: readonly Frame[]) {
  const bytes = frames.reduce((sum, { seal }) => sum + FRAME_BYTES + seal.length, HEADER_BYTES);
  const out = new Uint8Array(bytes);
  const view = new DataView(out.buffer);
  [MAGIC, VERSION, KINDS[kind], length, frames.length].forEach((word, i) => view.setUint32(4 * i, word, true));
  out.set(Buffer.from(p.sha256, 'hex'), 20);
  let at = HEADER_BYTES;
  for (const { tag, seal } of frames) {
    view.setUint32(at, seal.length, true);
    view.setBigUint64(at + 4, tag, true);
    out.set(seal, at + FRAME_BYTES);
    at += FRAME_BYTES + seal.length;
  }
  return out;
}

/**
 * Reads an envelope once, in order, a few frames at a time.
 * @param size - frames in a group; the last may have fewer.
 * @throws {FedError} UPDATE_SHAPE for anything but an envelope of this kind, these parameters and this length.
 */
export async function* readEnvelope(
  tensor: SpooledTensor,
  kind: EnvelopeKind,
  p: BfvParameters,
  length: number,
  size: number,
): AsyncGenerator<Frame[], void> {
  const chunks = chunksOf(p, length);
  const reader = new Reader(tensor);
  const header = viewOf(await reader.take(HEADER_BYTES));
  const wanted = [MAGIC, VERSION, KINDS[kind], length, chunks];
  const isOurs = wanted.every((word, i) => header.getUint32(4 * i, true) === word);
  const sha256 = Buffer.from(header.buffer, header.byteOffset + 20, 32).toString('hex');
  if (!isOurs || sha256 !== p.sha256) throw shapeError(`not an envelope of ${length} values, kind ${kind}`);
  for (let first = 0; first < chunks; first += size) {
    const group: Frame[] = [];
    for (let i = first; i < Math.min(first + size, chunks); i++) {
      const head = viewOf(await reader.take(FRAME_BYTES));
      const bytes = head.getUint32(0, true);
      if (bytes < SEAL_HEADER_BYTES || bytes > MAX_SEAL_BYTES) throw shapeError(`chunk ${i}: ${bytes} bytes`);
      const seal = await reader.take(bytes);
      const inner = viewOf(seal);
      if (inner.getUint16(0, true) !== SEAL_MAGIC || inner.getBigUint64(8, true) !== BigInt(bytes))
        throw shapeError(`chunk ${i} is not what SEAL writes`);
      group.push({ tag: head.getBigUint64(4, true), seal });
    }
    yield group;
  }
  if (!(await reader.atEnd())) throw shapeError('bytes behind the last chunk');
}

/** Pieces of any size as runs of the size asked for. */
class Reader {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #held = new Uint8Array();

  constructor(tensor: SpooledTensor) {
    this.#pieces = tensor.chunks()[Symbol.asyncIterator]();
  }

  /** A copy of the next bytes. */
  async take(bytes: number): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#held.length < bytes) {
      const next = await this.#pieces.next();
      if (next.done === true) throw shapeError(`it ends ${bytes - this.#held.length} bytes early`);
      this.#held = Uint8Array.from(Buffer.concat([this.#held, next.value]));
    }
    const taken = this.#held.slice(0, bytes);
    this.#held = this.#held.subarray(bytes);
    return taken;
  }

  async atEnd(): Promise<boolean> {
    return this.#held.length === 0 && (await this.#pieces.next()).done === true;
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const shapeError = (detail: string): FedError => new FedError('UPDATE_SHAPE', detail);

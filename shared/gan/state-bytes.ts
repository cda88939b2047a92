/**
 * Training states as bytes and back, bit for bit: what is made durable between two steps.
 *
 * A header (magic, version, number of vectors, their length, steps), then each vector as little-endian float32. Weights
 * that others download may lie before it.
 */
import { FedError } from '../errors.ts';

const MAGIC = 0x4e41_4756; // "VGAN", little-endian
const VERSION = 1;
const HEADER = 5;

/** Length of an encoded state, in bytes. */
export const stateBytes = (vectors: number, d: number): number => 4 * (HEADER + vectors * d);

/**
 * @param vectors - all of one length.
 * @param before - lies before the header, as it is.
 */
export function encodeState(
  steps: number,
  vectors: readonly Float32Array[],
  before: Float32Array = new Float32Array(),
): Uint8Array {
  const d = vectors[0].length;
  const start = before.length + HEADER;
  const words = new Uint32Array(start + vectors.length * d);
  words.set(bitsOf(before));
  words.set([MAGIC, VERSION, vectors.length, d, steps], before.length);
  vectors.forEach((vector, i) => words.set(bitsOf(vector), start + i * d));
  return new Uint8Array(words.buffer);
}
const bitsOf = ({ buffer, byteOffset, length }: Float32Array): Uint32Array =>
  new Uint32Array(buffer, byteOffset, length);

/** @throws {FedError} STORE_CORRUPT when the bytes are not `count` vectors of `d` values. */
export function decodeState(bytes: Uint8Array, count: number, d: number): { steps: number; vectors: Float32Array[] } {
  const expected = stateBytes(count, d);
  if (bytes.length !== expected) throw new FedError('STORE_CORRUPT', `state of ${bytes.length} bytes, not ${expected}`);
  const copy = new Uint8Array(bytes).buffer; // aligned, whatever the source is a view of
  const [magic, version, vectors, length, steps] = new Uint32Array(copy, 0, HEADER);
  if (magic !== MAGIC || version !== VERSION || vectors !== count || length !== d)
    throw new FedError('STORE_CORRUPT', `state of version ${version} with ${vectors} vectors of ${length}`);
  const at = (i: number) => new Float32Array(copy, 4 * (HEADER + i * d), d);
  return { steps, vectors: Array.from({ length: count }, (_, i) => at(i)) };
}

/**
 * Whole numbers of a fixed width, packed bit by bit: value i takes bits i·width to (i+1)·width - 1, least significant
 * first, in a string of 32-bit words, each little-endian. 32 values fill exactly `width` words.
 */
import { FedError } from '../errors.ts';
import type { SpooledTensor } from './aggregation.ts';
import { toWire } from './integers.ts';

/** Words of this machine as little-endian bytes, and back: in place. */
export function wordsAsBytes(words: Uint32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return toWire(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
}

/** Bytes of `length` packed values: whole words. */
export const packedBytes = (length: number, width: number): number => 4 * Math.ceil((length * width) / 32);

/** @param values - [d]; what is above `width` bits is cut off, which is what counting modulo 2^width means. */
export function packBits(values: Uint32Array, width: number): Uint8Array<ArrayBuffer> {
  const out = new Uint32Array(packedBytes(values.length, width) / 4);
  if (width === 32) {
    out.set(values);
    return wordsAsBytes(out);
  }
  const mask = 2 ** width - 1;
  let word = 0;
  let at = 0;
  let held = 0;
  for (let i = 0; i < values.length; i++) {
    const v = values[i] & mask;
    held |= v << at;
    at += width;
    if (at >= 32) {
      out[word++] = held;
      at -= 32;
      // A shift by 32 is a shift by 0: nothing is left over then.
      held = at === 0 ? 0 : v >>> (width - at);
    }
  }
  if (at > 0) out[word] = held;
  return wordsAsBytes(out);
}

/**
 * Adds packed values to a sum, modulo 2^32, in one pass over an upload.
 * @param sum - [length]; changed.
 * @throws {FedError} UPDATE_SHAPE when the upload is not `length` values of this width.
 */
export async function addPacked(sum: Uint32Array, tensor: SpooledTensor, width: number): Promise<void> {
  const { length } = sum;
  const wanted = packedBytes(length, width);
  if (tensor.bytes !== wanted) throw new FedError('UPDATE_SHAPE', `${tensor.bytes} bytes, wanted ${wanted}`);
  const group = 4 * width;
  let held: Uint8Array = new Uint8Array();
  let index = 0;
  for await (const chunk of tensor.chunks()) {
    const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    const whole = bytes.length - (bytes.length % group);
    index = addRun(sum, index, bytes.subarray(0, whole), width);
    held = bytes.slice(whole);
  }
  index = addRun(sum, index, held, width);
  if (index < length) throw new FedError('UPDATE_SHAPE', `${index} values, wanted ${length}`);
}

/** Adds whole values of a run that begins at a word; what lies beyond the sum is padding. */
function addRun(sum: Uint32Array, start: number, bytes: Uint8Array, width: number): number {
  const words = new Uint32Array(bytes.length >> 2);
  const own = new Uint8Array(words.buffer);
  own.set(bytes.subarray(0, own.length));
  toWire(own);
  const count = Math.min(sum.length - start, Math.floor((32 * words.length) / width));
  if (width === 32) {
    for (let i = 0; i < count; i++) sum[start + i] += words[i];
    return start + count;
  }
  const mask = 2 ** width - 1;
  let word = 0;
  let at = 0;
  for (let i = 0; i < count; i++) {
    let v = words[word] >>> at;
    at += width;
    if (at >= 32) {
      word += 1;
      at -= 32;
      if (at > 0) v |= words[word] << (width - at);
    }
    sum[start + i] += v & mask;
  }
  return start + count;
}

/**
 * Masks: the keystream of AES-256-CTR under a seed of 256 bits, as words of 32 bits, added to values modulo 2^32. A
 * modulus of fewer bits divides 2^32, so cutting the sum down to it leaves the mask uniform there. A seed makes one mask
 * in its life.
 */
import { createCipheriv } from 'node:crypto';
import { FedError } from '../../errors.ts';
import { LITTLE_ENDIAN } from '../../little-endian.ts';

export const SEED_BYTES = 32;
/** Words expanded at a time: 64 KiB, which stays in the cache. */
const BLOCK_WORDS = 16_384;
const ZEROS = Buffer.alloc(4 * BLOCK_WORDS);
const COUNTER_START = Buffer.alloc(16);

export interface Mask {
  readonly seed: Uint8Array;
  /** Whether it is added or taken away. */
  readonly sign: 1 | -1;
}

/**
 * Adds masks, block by block, so that a block of values stays in the cache under all of them. The same words on every
 * machine.
 * @param values - [d]; changed, modulo 2^32.
 * @throws {FedError} PARAMETER_INVALID for a seed that is not 256 bits.
 */
export function addMasks(values: Uint32Array, masks: readonly Mask[]): void {
  const streams = masks.map(({ seed, sign }) => {
    if (seed.length !== SEED_BYTES) throw new FedError('PARAMETER_INVALID', `a seed of ${8 * seed.length} bits`);
    return { cipher: createCipheriv('aes-256-ctr', seed, COUNTER_START), sign };
  });
  // As signed words: 32-bit addition without a detour over floats, and the same bits.
  const own = new Int32Array(values.buffer, values.byteOffset, values.length);
  for (let start = 0; start < own.length; start += BLOCK_WORDS) {
    const block = own.subarray(start, start + BLOCK_WORDS);
    for (const { cipher, sign } of streams)
      addWords(block, asWords(cipher.update(ZEROS.subarray(0, 4 * block.length))), sign);
  }
}

/** Adds words of 32 bits, or takes them away, modulo 2^32. */
export function addWords(to: Int32Array, words: Int32Array, sign: 1 | -1): void {
  if (sign === 1) for (let i = 0; i < to.length; i++) to[i] = (to[i] + words[i]) | 0;
  else for (let i = 0; i < to.length; i++) to[i] = (to[i] - words[i]) | 0;
}

function asWords(bytes: Buffer): Int32Array {
  if (!LITTLE_ENDIAN) bytes.swap32();
  if (bytes.byteOffset % 4 === 0) return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  return new Int32Array(Uint8Array.from(bytes).buffer);
}

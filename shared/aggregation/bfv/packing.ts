/** Quantised values side by side in the slots of a plaintext, and sums of them taken apart again. Pure. */
import type { BfvParameters } from './parameters.ts';
import { RESERVED_SLOTS } from './parameters.ts';

/**
 * The slots of one chunk: the check value, then values from the lowest bits up; what is left over is zero.
 * @param values - at most `valuesPerChunk` of them, each below 2^bits.
 * @returns [N]
 */
export function packChunk(p: BfvParameters, values: Uint32Array, check: bigint): BigUint64Array {
  const slots = new BigUint64Array(p.polyModulusDegree);
  slots[0] = check;
  // 32 bits a slot and little-endian words: the low word is written, the high one stays zero.
  const words = new Uint32Array(slots.buffer);
  for (let i = 0; i < values.length; i++) {
    const slot = RESERVED_SLOTS + Math.floor(i / p.valuesPerSlot);
    words[2 * slot] += values[i] * 2 ** (p.sumBits * (i % p.valuesPerSlot));
  }
  return slots;
}

/** The inverse for slots that were added up. @param count - how many values the chunk has. */
export function unpackChunk(p: BfvParameters, slots: BigUint64Array, count: number): Uint32Array {
  const words = new Uint32Array(slots.buffer, slots.byteOffset, 2 * slots.length);
  const size = 2 ** p.sumBits;
  return Uint32Array.from({ length: count }, (_, i) => {
    const slot = words[2 * (RESERVED_SLOTS + Math.floor(i / p.valuesPerSlot))];
    return Math.floor(slot / size ** (i % p.valuesPerSlot)) % size;
  });
}

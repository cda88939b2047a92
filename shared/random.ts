import { randomFillSync } from 'node:crypto';

/**
 * A source of independent uniform bytes. Everything random takes one as an argument: production passes
 * `secureBytes`, tests pass `fixedBytesForTests`, public batches pass `publicBytes(seed)`.
 */
export type RandomBytes = (out: Uint8Array) => void;

/** Noise, masks, keys and sampling use this one: the operating system's generator, all bits kept. */
export const secureBytes: RandomBytes = (out) => {
  randomFillSync(out);
};

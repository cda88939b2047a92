import { createCipheriv, createHash } from 'node:crypto';
import { FedError } from '../errors.ts';

/**
 * A public, repeatable generator: AES-256 in counter mode under the SHA-256 of a seed text.
 *
 * For phantoms, demo splits and contact sheets alone. Whoever knows the seed knows every value, so that noise,
 * masks, keys and sampling must never come from here; see `secureBytes`.
 */
export interface Seeded {
  /** An integer in [0, 2^32). */
  uint32(): number;
  /** In [0, 1), or [low, high). */
  uniform(low?: number, high?: number): number;
  /** An integer in [0, n), every one equally likely. */
  below(n: number): number;
  /** N(mean, std²). */
  normal(mean?: number, std?: number): number;
  /** Gamma(shape, 1), shape > 0. */
  gamma(shape: number): number;
  /** A new array in random order (Fisher-Yates). */
  shuffled<T>(items: readonly T[]): T[];
  /** An independent generator for a named part, whatever has been drawn here before. */
  fork(name: string | number): Seeded;
}

/** Words made at a time: few at first, since most generators are asked for few. */
const BLOCK_WORDS = { first: 64, later: 1024 };

/** The generator of a seed; equal seeds give equal values on every machine. */
export function seeded(seed: string): Seeded {
  const cipher = createCipheriv(
    'aes-256-ctr',
    createHash('sha256').update(`veilgan seeded v1\0${seed}`).digest(),
    Buffer.alloc(16),
  );
  let block = cipher.update(Buffer.alloc(BLOCK_WORDS.first * 4));
  let at = 0;
  let spare: number | undefined;

  const uint32 = (): number => {
    if (4 * at === block.length) {
      block = cipher.update(Buffer.alloc(BLOCK_WORDS.later * 4));
      at = 0;
    }
    return block.readUInt32LE(4 * at++);
  };
  const uniform = (low = 0, high = 1): number => low + (uint32() / 2 ** 32) * (high - low);
  const below = (n: number): number => {
    if (!(Number.isInteger(n) && n >= 1 && n <= 2 ** 32)) throw new FedError('PARAMETER_INVALID', `below(${n})`);
    // Values above the last multiple of n would favour small results.
    const limit = 2 ** 32 - (2 ** 32 % n);
    let x = uint32();
    while (x >= limit) x = uint32();
    return x % n;
  };
  const normal = (mean = 0, std = 1): number => {
    if (spare !== undefined) {
      const z = spare;
      spare = undefined;
      return mean + std * z;
    }
    const r = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = r * Math.sin(angle);
    return mean + std * r * Math.cos(angle);
  };
  // Marsaglia and Tsang 2000; below shape 1 by their boost.
  const gamma = (shape: number): number => {
    if (!(shape > 0 && shape < Infinity)) throw new FedError('PARAMETER_INVALID', `gamma(${shape})`);
    if (shape < 1) return gamma(shape + 1) * (1 - uniform()) ** (1 / shape);
    const d = shape - 1 / 3;
    const c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = normal();
      const v = (1 + c * x) ** 3;
      if (v > 0 && Math.log(1 - uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
    }
  };
  const shuffled = <T>(items: readonly T[]): T[] => {
    const out = [...items];
    for (let i = out.length - 1; i > 0; i--) {
      const j = below(i + 1);
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  };
  return { uint32, uniform, below, normal, gamma, shuffled, fork: (name) => seeded(`${seed}\0${name}`) };
}

/**
 * Randomness that everybody may know: batches of latent vectors, initial weights, feature directions, shuffles of public
 * data. Two machines with the same seed draw the same values. Never for noise, sampling, masks or keys: those take
 * `secureBytes`.
 */
import { createCipheriv, createHash } from 'node:crypto';
import type { RandomBytes } from './random.ts';

/** The keystream of AES-256-CTR under SHA-256 of the seed. @see NIST SP 800-38A, section 6.5 */
export function publicBytes(seed: string): RandomBytes {
  const key = createHash('sha256').update('veilgan public stream v1\0').update(seed).digest();
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  return (out) => {
    out.set(cipher.update(new Uint8Array(out.length)));
  };
}

/** Draws of one public stream. Uniforms have 32 bits: enough for batches, not for privacy. */
export class PublicRandom {
  readonly #bytes: RandomBytes;

  constructor(seed: string) {
    this.#bytes = publicBytes(seed);
  }

  /** Independent uniform draws in (0, 1). */
  uniforms(n: number): Float64Array {
    const words = new Uint32Array(n);
    this.#bytes(new Uint8Array(words.buffer));
    return Float64Array.from(words, (w) => (w + 0.5) / 2 ** 32);
  }

  /** Independent N(0, 1) draws, by Box and Muller. */
  gaussians(n: number): Float32Array {
    const pairs = Math.ceil(n / 2);
    const u = this.uniforms(2 * pairs);
    const out = new Float32Array(n);
    for (let i = 0; i < pairs; i++) {
      const radius = Math.sqrt(-2 * Math.log(u[2 * i]));
      const angle = 2 * Math.PI * u[2 * i + 1];
      out[2 * i] = radius * Math.cos(angle);
      if (2 * i + 1 < n) out[2 * i + 1] = radius * Math.sin(angle);
    }
    return out;
  }

  /** Independent draws from 0 to k - 1. */
  integers(n: number, k: number): Int32Array {
    return Int32Array.from(this.uniforms(n), (u) => Math.floor(u * k));
  }

  /** Independent draws of an index with the given probabilities (public, summing to 1). */
  categorical(n: number, probabilities: readonly number[]): Int32Array {
    return Int32Array.from(this.uniforms(n), (u) => {
      let rest = u;
      for (let k = 0; k < probabilities.length - 1; k++) {
        rest -= probabilities[k];
        if (rest < 0) return k;
      }
      // Rounding may leave a crumb: it goes to the last index that can be drawn at all.
      return probabilities.findLastIndex((p) => p > 0);
    });
  }

  /** A random order of 0 to n - 1 (Fisher and Yates). */
  permutation(n: number): Int32Array {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    const u = this.uniforms(n);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(u[i] * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}

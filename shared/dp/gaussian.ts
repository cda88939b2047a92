/**
 * Gaussian noise in bulk, on whole numbers.
 *
 * Position on floating-point attacks (Mironov 2012; Jin et al., arXiv 2107.10138; Holohan and Braghin, arXiv
 * 2112.05307): they read a secret out of the low bits of secret + noise, because a float sampler reaches only some
 * floats and which ones it reaches moves with the secret. Here nothing private is ever added to a float. The sum is
 * rounded to a public lattice, the noise is a discrete Gaussian on the same lattice, the addition is one of whole
 * numbers, and floats are made afterwards from the result: post-processing. So every output is reachable from every
 * input, with the probability the proof speaks of. What the rounding adds to the sensitivity is paid in noise, see
 * `noised.ts`. The whole moments of the privacy loss of a discrete Gaussian are exactly those of the continuous one
 * (Canonne, Kamath and Steinke 2020, arXiv 2004.00010, section 2; the binomial sum for sampling is made of them), and
 * for one as wide as this, 4.2 million steps, the fractional ones differ by less than any float can show. So the
 * accountants' Gaussian events describe it.
 *
 * One draw is x + 128·y + 128²·z with x, y, z from one table of σ = 256. The sum of such terms is again a discrete
 * Gaussian, of variance 256²·(1 + 128² + 128⁴), but for a factor 1 ± 2^-112 in each probability: by completing the
 * square, the sum over y is one over a Gaussian of σ ≈ 2 on the whole numbers at any offset (Micciancio and Walter 2017,
 * eprint 2017/259, theorem 2.1).
 *
 * All randomness comes in bulk, three 32-bit words a draw. About one lookup in 2^19 asks for more; how often does not
 * depend on private data. Not protected: an observer of the caches while noise is drawn. Not audited outside.
 */
import type { RandomBytes } from '../random.ts';
import { buildLatticeTable, HIGH_BITS, type LatticeTable, TABLE_SIGMA, TABLE_SLOTS } from './lattice-table.ts';

const STRIDE = 128;

/** Standard deviation of a draw, in steps of the lattice: about 4.19 million. */
export const LATTICE_SIGMA = TABLE_SIGMA * Math.sqrt(1 + STRIDE ** 2 + STRIDE ** 4);

/** Fills `out` with independent draws of the discrete Gaussian of parameter `LATTICE_SIGMA`. */
export type LatticeGaussian = (out: Int32Array) => void;

const DRAWS_PER_BLOCK = 4096;
const SLOT_MASK = TABLE_SLOTS - 1;
const SLOT_BITS = 32 - HIGH_BITS;

let table: LatticeTable | undefined;

/**
 * A source of lattice noise over a source of bytes.
 *
 * Guarantee: given independent uniform bytes, draws are independent and each is within 2^-68 (total variation) of the
 * discrete Gaussian; a run of a million coordinates and ten thousand steps stays below 2^-34, which no delta notices.
 */
export function latticeGaussian(random: RandomBytes): LatticeGaussian {
  const { high, low, own, alias } = (table ??= buildLatticeTable());
  const words = new Uint32Array(3 * DRAWS_PER_BLOCK);
  const extra = new Uint32Array(2);

  /** Both thresholds agree in their first 19 bits: the other 53 decide. */
  const fallsBelow = (slot: number): boolean => {
    random(new Uint8Array(extra.buffer));
    return (extra[0] >>> 5) * 2 ** 26 + (extra[1] >>> 6) < low[slot];
  };
  const look = (word: number): number => {
    const slot = word & SLOT_MASK;
    const bits = word >>> SLOT_BITS;
    const limit = high[slot];
    if (bits < limit || (bits === limit && fallsBelow(slot))) return own[slot];
    return alias[slot];
  };

  return (out) => {
    for (let start = 0; start < out.length; start += DRAWS_PER_BLOCK) {
      const n = Math.min(DRAWS_PER_BLOCK, out.length - start);
      random(new Uint8Array(words.buffer, 0, 12 * n));
      for (let i = 0; i < n; i++)
        out[start + i] = look(words[3 * i]) + STRIDE * (look(words[3 * i + 1]) + STRIDE * look(words[3 * i + 2]));
    }
    words.fill(0);
    extra.fill(0);
  };
}

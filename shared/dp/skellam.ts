/**
 * Skellam noise in bulk, on whole numbers: a site's share of the noise of a pooled sum. Sums of independent Skellam
 * variables are Skellam variables whose variances add up, so shares that different sites draw make exactly the noise
 * that one of them would have drawn; sums of discrete Gaussians do not have their law.
 *
 * One draw is one lookup: one 32-bit word chooses a slot of the alias table and begins the comparison with its
 * threshold; 106 further bits are drawn in the rare case that the first are equal. How often depends on no private data.
 * Not protected: an observer of the caches while noise is drawn. Not audited outside.
 *
 * @see Agarwal, Kairouz and Liu 2021, "The Skellam mechanism for differentially private federated learning",
 *   https://arxiv.org/abs/2110.04995
 */
import type { RandomBytes } from '../random.ts';
import { buildSkellamTable, type SkellamTable } from './skellam-table.ts';

/** Total-variation distance of one draw from the Skellam law, at most. */
export const SKELLAM_DISTANCE = 2 ** -119;

/** Fills `out` with independent draws of variance `variance`. */
export interface SkellamSource {
  readonly variance: number;
  readonly fill: (out: Int32Array) => void;
}

/** Tables by variance: a run has one or two, and they take a while to build. */
const tables = new Map<number, SkellamTable>();
const MAX_TABLES = 4;

function tableOf(variance: number): SkellamTable {
  const known = tables.get(variance);
  if (known) return known;
  if (tables.size >= MAX_TABLES) tables.clear();
  const table = buildSkellamTable(variance);
  tables.set(variance, table);
  return table;
}

const DRAWS_PER_BLOCK = 8192;

/**
 * A source of noise over a source of bytes. A variance of 0 gives zeros, and costs infinity wherever it is charged.
 *
 * Guarantee: given independent uniform bytes, draws are independent, each within `SKELLAM_DISTANCE` of its law.
 * @throws {FedError} PARAMETER_INVALID
 */
export function skellamSource(variance: number, random: RandomBytes): SkellamSource {
  if (variance === 0) return { variance, fill: (out) => void out.fill(0) };
  const { high, middle, low, alias, reach, slotBits } = tableOf(variance);
  const mask = 2 ** slotBits - 1;
  const words = new Uint32Array(DRAWS_PER_BLOCK);
  const extra = new Uint32Array(4);

  /** The first bits agree with the threshold's: the other 106 decide. */
  const fallsBelow = (slot: number): boolean => {
    random(new Uint8Array(extra.buffer));
    const first = (extra[0] >>> 5) * 2 ** 26 + (extra[1] >>> 6);
    if (first !== middle[slot]) return first < middle[slot];
    return (extra[2] >>> 5) * 2 ** 26 + (extra[3] >>> 6) < low[slot];
  };

  const fill = (out: Int32Array): void => {
    for (let start = 0; start < out.length; start += DRAWS_PER_BLOCK) {
      const n = Math.min(DRAWS_PER_BLOCK, out.length - start);
      random(new Uint8Array(words.buffer, 0, 4 * n));
      for (let i = 0; i < n; i++) {
        const slot = words[i] & mask;
        const bits = words[i] >>> slotBits;
        const limit = high[slot];
        out[start + i] = bits < limit || (bits === limit && fallsBelow(slot)) ? slot - reach : alias[slot];
      }
    }
    words.fill(0);
    extra.fill(0);
  };
  return { variance, fill };
}

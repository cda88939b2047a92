/**
 * The table behind the noise: one discrete Gaussian on the whole numbers, as an alias table with exact thresholds.
 * Built with big integers, so no probability passes through floating point.
 */

/** Standard deviation parameter of one lookup: P[x] ∝ exp(-x² / (2·256²)). */
export const TABLE_SIGMA = 256;
/** Lookups lie in [-TABLE_REACH, TABLE_REACH], 12σ; the mass outside, 2^-107, is left out. */
export const TABLE_REACH = 12 * TABLE_SIGMA;
/** Slots of the alias table; a power of two, so that 13 random bits choose one without bias. */
export const TABLE_SLOTS = 8192;

const SLOT_BITS = 13;
/** Bits of a threshold that are compared at once, and those looked at only when the first are equal. */
export const HIGH_BITS = 32 - SLOT_BITS;
export const LOW_BITS = 53;

export interface LatticeTable {
  /** Per slot: below `high·2^53 + low` out of 2^72 the slot stands for itself, otherwise for its alias. */
  readonly high: Uint32Array;
  readonly low: Float64Array;
  /** Values, minus the reach applied already. */
  readonly own: Int32Array;
  readonly alias: Int32Array;
}

const FIXED = 256n;
const ONE = 1n << FIXED;

/** exp(-1/n) with 256 bits after the point, by its series. */
function expMinusOneOver(n: bigint): bigint {
  let term = ONE;
  let sum = ONE;
  for (let k = 1n; term !== 0n; k++) {
    term = -term / (k * n);
    sum += term;
  }
  return sum;
}

/** exp(-x²/2σ²) for x = 0 … reach, with 256 bits after the point; each from the last by one multiplication. */
export function latticeWeights(sigma: number, reach: number): bigint[] {
  const root = expMinusOneOver(BigInt(2 * sigma * sigma));
  const step = (root * root) >> FIXED;
  const weights = [ONE];
  let ratio = root;
  for (let x = 1; x <= reach; x++) {
    weights.push((weights[x - 1] * ratio) >> FIXED);
    ratio = (ratio * step) >> FIXED;
  }
  return weights;
}

/**
 * Builds the table: a few milliseconds, once.
 *
 * Guarantee: the distribution of a lookup is within 2^-70 of the discrete Gaussian, in total variation.
 * @see Walker 1974; Vose 1991, "A linear algorithm for generating random numbers with a given distribution"
 */
export function buildLatticeTable(): LatticeTable {
  const half = latticeWeights(TABLE_SIGMA, TABLE_REACH);
  const total = half.reduce((sum, w, x) => sum + (x === 0 ? w : 2n * w), 0n);
  const capacity = 1n << BigInt(HIGH_BITS + LOW_BITS);
  const slots = BigInt(TABLE_SLOTS);

  // Mass of each slot in units of capacity/2^72; what rounding down leaves over goes to zero, the likeliest value.
  const mass = new Array<bigint>(TABLE_SLOTS).fill(0n);
  const own = new Int32Array(TABLE_SLOTS);
  for (let x = -TABLE_REACH; x <= TABLE_REACH; x++) {
    mass[x + TABLE_REACH] = (half[Math.abs(x)] * slots * capacity) / total;
    own[x + TABLE_REACH] = x;
  }
  mass[TABLE_REACH] += slots * capacity - mass.reduce((sum, m) => sum + m, 0n);

  const alias = own.slice();
  const threshold = new Array<bigint>(TABLE_SLOTS).fill(capacity);
  const small: number[] = [];
  const large: number[] = [];
  mass.forEach((m, i) => (m < capacity ? small : large).push(i));
  while (small.length > 0 && large.length > 0) {
    const poor = small.pop()!;
    const rich = large.pop()!;
    threshold[poor] = mass[poor];
    alias[poor] = own[rich];
    mass[rich] -= capacity - mass[poor];
    (mass[rich] < capacity ? small : large).push(rich);
  }

  const lowMask = (1n << BigInt(LOW_BITS)) - 1n;
  return {
    high: Uint32Array.from(threshold, (t) => Number(t >> BigInt(LOW_BITS))),
    low: Float64Array.from(threshold, (t) => Number(t & lowMask)),
    own,
    alias,
  };
}

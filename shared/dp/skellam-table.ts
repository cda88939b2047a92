/**
 * The table behind pooled noise: one Skellam distribution on the whole numbers, the law of the difference of two Poisson
 * variables of mean variance/2, as an alias table with exact thresholds. P[k] = e^-μ I_k(μ), μ the variance and I_k the
 * modified Bessel function. Built with big integers, so no probability passes through floating point.
 */
import { FedError } from '../errors.ts';
import { skellamReach } from './pooled-lattice.ts';

/** Bits that are looked at only when those before are equal: twice 53. */
const LOW_BITS = 53n;
/** Largest table: 18 of a word's 32 bits choose the slot. */
const MAX_SLOT_BITS = 18;
/** Largest variance whose draws fit the largest table: a standard deviation of 9,800 lattice steps. */
export const MAX_SHARE_VARIANCE = 9800 ** 2;

export interface SkellamTable {
  readonly variance: number;
  /** Draws lie in [-reach, reach]; slot s stands for s - reach. */
  readonly reach: number;
  readonly slotBits: number;
  /** Per slot, of 2^(32 - slotBits + 106): below the threshold, cut in three, it stands for itself, else for its alias. */
  readonly high: Uint32Array;
  readonly middle: Float64Array;
  readonly low: Float64Array;
  readonly alias: Int32Array;
}

/**
 * Weights proportional to P[0] … P[reach], by Miller's backward recurrence I_(k-1) = I_(k+1) + (2k/μ) I_k, which is
 * stable: what is wrong at the start is forgotten, and truncation adds less than 2^-230 relative.
 * @param variance - a whole number ≥ 1.
 */
export function skellamWeights(variance: number, reach: number): bigint[] {
  const mu = BigInt(variance);
  const start = Math.ceil(1.5 * reach) + 64;
  const weights = new Array<bigint>(reach + 1);
  let [above, here] = [0n, 1n << 256n];
  for (let k = start; k > 0; k--) {
    [above, here] = [here, above + (2n * BigInt(k) * here) / mu];
    if (k - 1 <= reach) weights[k - 1] = here;
  }
  return weights;
}

/**
 * Builds the table: some tens of milliseconds.
 *
 * Guarantee: the law of a lookup is within 2^-119 of the Skellam law, in total variation: 2^-125 for the tails that are
 * left out, and less than one unit of 2^-120 a slot for thresholds that are cut.
 * @param variance - a whole number from 1 to `MAX_SHARE_VARIANCE`.
 * @throws {FedError} PARAMETER_INVALID
 * @see Walker 1974; Vose 1991, "A linear algorithm for generating random numbers with a given distribution"
 */
export function buildSkellamTable(variance: number): SkellamTable {
  if (!(Number.isSafeInteger(variance) && variance >= 1 && variance <= MAX_SHARE_VARIANCE))
    throw new FedError('PARAMETER_INVALID', `a share of the noise has variance ${variance}`);
  const reach = skellamReach(variance);
  const slotBits = Math.ceil(Math.log2(2 * reach + 1));
  if (slotBits > MAX_SLOT_BITS) throw new FedError('PARAMETER_INVALID', `a noise table of 2^${slotBits} slots`);
  const half = skellamWeights(variance, reach);
  const total = half.reduce((sum, w, k) => sum + (k === 0 ? w : 2n * w), 0n);
  const size = 2 ** slotBits;
  const capacity = 1n << (BigInt(32 - slotBits) + 2n * LOW_BITS);
  const whole = BigInt(size) * capacity;

  // Mass of each slot; what rounding down leaves over goes to zero, the likeliest value.
  const mass = new Array<bigint>(size).fill(0n);
  let given = 0n;
  half.forEach((w, k) => {
    const m = (w * whole) / total;
    mass[reach + k] = m;
    mass[reach - k] = m;
    given += k === 0 ? m : 2n * m;
  });
  mass[reach] += whole - given;
  return { variance, reach, slotBits, ...aliasOf(mass, capacity, reach) };
}

/** Slots poorer than `capacity` get an alias that gives of its own. */
function aliasOf(mass: bigint[], capacity: bigint, reach: number) {
  const alias = Int32Array.from(mass, (_, slot) => slot - reach);
  const threshold = new Array<bigint>(mass.length).fill(capacity);
  const poor: number[] = [];
  const rich: number[] = [];
  mass.forEach((m, i) => (m < capacity ? poor : rich).push(i));
  while (poor.length > 0 && rich.length > 0) {
    const taker = poor.pop()!;
    const giver = rich.pop()!;
    threshold[taker] = mass[taker];
    alias[taker] = giver - reach;
    mass[giver] -= capacity - mass[taker];
    (mass[giver] < capacity ? poor : rich).push(giver);
  }
  const mask = (1n << LOW_BITS) - 1n;
  return {
    high: Uint32Array.from(threshold, (t) => Number(t >> (2n * LOW_BITS))),
    middle: Float64Array.from(threshold, (t) => Number((t >> LOW_BITS) & mask)),
    low: Float64Array.from(threshold, (t) => Number(t & mask)),
    alias,
  };
}

/**
 * Privacy losses on a grid, from above and from below.
 *
 * Above: "connect the dots" (Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022, arXiv 2207.04380). What lies between two
 * points of the grid is split over them so that the mass under P and the mass under Q both stay: the result dominates,
 * and is exact at every point of the grid. Any subset of the grid will do, so thin tails take wide strides.
 * Below: outcomes are merged until their ratio is exactly that of a point of the grid. Merging is post-processing, so
 * the result is dominated. Both err by the square of the grid only.
 */
import {
  type Edge,
  edgeAt,
  lossRange,
  massBetween,
  pointOfLoss,
  ratioAboveRest,
  type ShiftMixture,
} from './pld-mechanism.ts';

/** Losses of one direction; `at` ascends and counts in strides of the grid. */
export interface LossPmf {
  readonly at: Int32Array;
  readonly mass: Float64Array;
  /** Mass of an infinite loss. */
  readonly infinite: number;
  /** Mass that rounding and cut tails may have misplaced: added to delta, or taken off it for a lower bound. */
  readonly error: number;
}

/** Both directions of add-or-remove on one grid. */
export interface LossPair {
  readonly remove: LossPmf;
  readonly add: LossPmf;
}

export type Side = 'upper' | 'lower';

/** Between two edges, in strides of the grid: mass under Q, under the shifted part of P, and under P. */
interface Bin {
  readonly from: number;
  readonly to: number;
  readonly base: number;
  readonly shifted: number;
  readonly whole: number;
}

interface Binned {
  readonly bins: readonly Bin[];
  readonly below: Bin;
  readonly above: Bin;
}

/** Largest index of a grid; a coarser one is taken beyond it. */
const MOST_INDEX = 2 ** 29;
const MOST_BINS = 2 ** 18;
/** Strides above which e^loss would leave the range of numbers: there losses are just rounded to the safe side. */
const MOST_LOSS = 600;
/** A bin may be w strides wide when its mass times w² is at most this, and w no more than the caller allows. */
const WIDE_BIN = 1e-3;

export interface Grid {
  /** Stride, > 0. */
  readonly grid: number;
  /** Strides that a bin of next to no mass may span. */
  readonly widest: number;
  /** About how much mass may be cut off at either end. */
  readonly tail: number;
}

/**
 * Losses of one mechanism on a grid.
 * @returns null when the grid is too fine to be held.
 */
export function discretise(m: ShiftMixture, o: Grid, side: Side): LossPair | null {
  const binned = binsOf(m, o);
  if (binned === null) return null;
  return side === 'upper' ? connectDots(m, o.grid, binned) : mergeToGrid(o.grid, binned);
}

function binsOf(m: ShiftMixture, { grid, widest, tail }: Grid): Binned | null {
  const { low, high } = lossRange(m, tail);
  const last = Math.ceil(high / grid);
  const first = Math.floor(low / grid);
  if (!(first >= -MOST_INDEX && last <= MOST_INDEX && last > first)) return null;
  const bin = (from: number, x: Edge, to: number, y: Edge): Bin => {
    const { base, shifted } = massBetween(m, x, y);
    return { from, to, base, shifted, whole: shifted + m.rest * base };
  };
  const start = edgeAt(m, pointOfLoss(m, first * grid));
  const bins: Bin[] = [];
  let x = start;
  let width = widest;
  let load = WIDE_BIN;
  for (let at = first; at < last; at += width) {
    // Twice as wide a bin weighs some eight times as much.
    if (8 * load < WIDE_BIN) width = Math.min(2 * width, widest);
    width = Math.min(width, last - at);
    for (;;) {
      const y = edgeAt(m, pointOfLoss(m, (at + width) * grid));
      const next = bin(at, x, at + width, y);
      load = Math.max(next.base, next.whole) * width * width;
      if (width === 1 || load <= WIDE_BIN) {
        bins.push(next);
        x = y;
        break;
      }
      width = Math.floor(width / 2);
    }
    if (bins.length > MOST_BINS) return null;
  }
  const ends = { low: edgeAt(m, -Infinity), high: edgeAt(m, Infinity) };
  return { bins, below: bin(first, ends.low, first, start), above: bin(last, x, last, ends.high) };
}

const clamp = (x: number, most: number): number => (x > 0 ? Math.min(x, most) : 0);

function connectDots(m: ShiftMixture, grid: number, { bins, below, above }: Binned): LossPair {
  const n = bins.length + 1;
  const at = Int32Array.from({ length: n }, (_, i) => (i === 0 ? bins[0].from : bins[i - 1].to));
  const p = new Float64Array(n);
  const q = new Float64Array(n);
  bins.forEach(({ from, to, base, shifted, whole }, i) => {
    const low = from * grid;
    const high = to * grid;
    if (low < -MOST_LOSS || high > MOST_LOSS) {
      // Rounded up in either direction: the loss of adding is minus that of removing.
      p[i + 1] += whole;
      q[i] += base;
      return;
    }
    const excess = shifted - ratioAboveRest(m, low) * base;
    const upper = clamp(excess / -Math.expm1(low - high), whole);
    p[i + 1] += upper;
    p[i] += whole - upper;
    const upperBase = clamp(upper * Math.exp(-high), base);
    q[i + 1] += upperBase;
    q[i] += base - upperBase;
  });
  p[0] += below.whole;
  q[n - 1] += above.base;
  return {
    remove: { at, mass: p, infinite: above.whole, error: 0 },
    add: { at: at.map((k) => -k).reverse(), mass: q.reverse(), infinite: below.base, error: 0 },
  };
}

function mergeToGrid(grid: number, { bins, below, above }: Binned): LossPair {
  const removed = new Map<number, number>();
  const added = new Map<number, number>();
  const put = (masses: Map<number, number>, k: number, mass: number) => masses.set(k, (masses.get(k) ?? 0) + mass);
  // What lies beyond the grid keeps its mass where its loss is only understated, and is dropped elsewhere.
  put(removed, above.from, above.whole);
  put(added, -below.to, below.base);
  let whole = 0;
  let base = 0;
  let k = -Infinity;
  for (const bin of bins) {
    const ratio = Math.log(bin.whole / bin.base);
    if (!Number.isFinite(ratio)) continue;
    if (Math.abs(ratio) > MOST_LOSS) {
      put(removed, Math.floor(ratio / grid), bin.whole);
      put(added, Math.floor(-ratio / grid), bin.base);
      continue;
    }
    let left = 1;
    while (left > 0) {
      if (whole === 0 && base === 0) k = Math.max(k, Math.ceil(ratio / grid));
      const target = Math.exp(k * grid);
      // What the rest of this bin has above the ratio sought, and what is still missing for it.
      const excess = bin.whole - target * bin.base;
      const missing = target * base - whole;
      if (excess * left <= missing) {
        whole += left * bin.whole;
        base += left * bin.base;
        break;
      }
      const share = clamp(missing / excess, left);
      put(removed, k, whole + share * bin.whole);
      put(added, -k, base + share * bin.base);
      left -= share;
      whole = 0;
      base = 0;
      k += 1;
    }
  }
  // What is left has not reached the ratio at k, and is above that at k - 1.
  if (whole > 0) put(removed, k - 1, whole);
  if (base > 0) put(added, -k, base);
  return { remove: fromMap(removed), add: fromMap(added) };
}

function fromMap(masses: Map<number, number>): LossPmf {
  const at = Int32Array.from(masses.keys()).sort();
  return { at, mass: Float64Array.from(at, (k) => masses.get(k)!), infinite: 0, error: 0 };
}

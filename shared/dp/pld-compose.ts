/**
 * Composition of privacy losses: sums of independent losses, by transform, product and inverse transform, with powers for
 * what is repeated. The transform is cyclic; how wide it must be, and how much mass may still fall outside and come round
 * at the wrong end, is bounded by moments (Chernoff), as in Koskela, Jälkö and Honkela 2020 (arXiv 1906.03049).
 */
import { type Complex, complexZeros, forwardFft, inverseFft, oppositePairs } from './pld-fft.ts';
import type { LossPair, LossPmf } from './pld-discretise.ts';

/** A pair of losses, `count` times. */
export interface Part {
  readonly pair: LossPair;
  readonly count: number;
}

/** Mass that one composition may lose at either end of one direction. */
export const CUT_TAIL = 1e-16;
const MARGIN = -Math.log(CUT_TAIL);
/** Widest transform. */
export const MOST_POINTS = 2 ** 18;
/** How many different parts one transform takes before the results are composed in turn. */
const TOGETHER = 16;
const UNIT = 2 ** -53;
/** Tilts at which the tails are bounded, in units of 8 over the standard deviation. */
const TILTS = [1 / 256, 1 / 64, 1 / 16, 1 / 4, 1, 3];

/** All parts together; null when the grid is too fine for the widest transform. */
export function composeAll(parts: readonly Part[]): LossPair | null {
  let left = parts;
  while (left.length > TOGETHER) {
    const next: Part[] = [];
    for (let i = 0; i < left.length; i += TOGETHER) {
      const pair = compose(left.slice(i, i + TOGETHER));
      if (pair === null) return null;
      next.push({ pair, count: 1 });
    }
    left = next;
  }
  return compose(left);
}

const DIRECTIONS = ['remove', 'add'] as const;
type Direction = (typeof DIRECTIONS)[number];

function compose(parts: readonly Part[]): LossPair | null {
  if (parts.length === 1 && parts[0].count === 1) return parts[0].pair;
  const windows = { remove: windowOf(parts, 'remove'), add: windowOf(parts, 'add') };
  const width = Math.max(...DIRECTIONS.map((d) => windows[d].high - windows[d].low + 1));
  if (!(width <= MOST_POINTS)) return null;
  const n = 2 ** Math.max(4, Math.ceil(Math.log2(width)));
  // Both directions are real, so that one complex transform carries them: one as its real part, one as its imaginary.
  const x = complexZeros(n);
  const products = { remove: new Product(n), add: new Product(n) };
  parts.forEach(({ pair, count }, i) => {
    x.re.fill(0);
    x.im.fill(0);
    fold(pair.remove, windows.remove.centres[i], x.re);
    fold(pair.add, windows.add.centres[i], x.im);
    forwardFft(x);
    multiply(x, products, count);
  });
  join(products, x);
  inverseFft(x);
  const unit = 4 * UNIT * Math.log2(n);
  const of = (d: Direction, values: Float64Array) => read(parts, d, windows[d], values, unit * products[d].reach());
  return { remove: of('remove', x.re), add: of('add', x.im) };
}

/** The transform of a sum, as far as it is multiplied, at one of every two opposite places. */
class Product {
  readonly re: Float64Array;
  readonly im: Float64Array;
  /** Absolute value at each place. */
  readonly size: Float64Array;
  /** How far an error of one in every factor would have carried. */
  readonly sway: Float64Array;
  constructor(n: number) {
    this.re = new Float64Array(n / 2 + 1).fill(1);
    this.im = new Float64Array(n / 2 + 1);
    this.size = new Float64Array(n / 2 + 1).fill(1);
    this.sway = new Float64Array(n / 2 + 1);
  }
  /**
   * What rounding can move in all, in units of it: errors of the transform at most as large in sum of absolute values
   * as in root mean square over its places (Cauchy and Parseval), its own size for the way back with them.
   */
  reach(): number {
    let sum = 0;
    for (let i = 0; i < this.re.length; i++) {
      const error = this.sway[i] + this.size[i];
      sum += (i < 2 ? 1 : 2) * error * error;
    }
    return Math.sqrt(sum);
  }
}

/** Takes one transform apart into both directions and multiplies `count` of each into its product. */
function multiply(x: Complex, { remove, add }: Readonly<Record<Direction, Product>>, count: number): void {
  const pairs = oppositePairs(x.re.length);
  for (let i = 0; i < remove.re.length; i++) {
    const place = pairs[2 * i];
    const opposite = pairs[2 * i + 1];
    const re = x.re[place] / 2;
    const im = x.im[place] / 2;
    const oppositeRe = x.re[opposite] / 2;
    const oppositeIm = x.im[opposite] / 2;
    power(remove, i, count, re + oppositeRe, im - oppositeIm);
    power(add, i, count, im + oppositeIm, oppositeRe - re);
  }
}

/** Multiplies `count` factors into one place, and notes how far an error in one of them would carry. */
function power(total: Product, i: number, count: number, re: number, im: number): void {
  const a = total.re[i];
  const b = total.im[i];
  let c = re;
  let d = im;
  const size = Math.sqrt(re * re + im * im);
  let whole = size;
  let carried = 1;
  if (count > 1) {
    const logSize = Math.log(size);
    whole = Math.exp(count * logSize);
    carried = count * Math.exp((count - 1) * logSize);
    // Below e^-80 it is nothing, and its angle would not be right either.
    const angle = count * logSize > -80 ? count * Math.atan2(im, re) : 0;
    c = whole * Math.cos(angle);
    d = whole * Math.sin(angle);
  }
  total.sway[i] = total.sway[i] * whole + total.size[i] * carried;
  total.size[i] *= whole;
  total.re[i] = a * c - b * d;
  total.im[i] = a * d + b * c;
}

/** Puts both products back into one transform. */
function join({ remove: r, add: a }: Readonly<Record<Direction, Product>>, x: Complex): void {
  const pairs = oppositePairs(x.re.length);
  for (let i = 0; i < r.re.length; i++) {
    const place = pairs[2 * i];
    const opposite = pairs[2 * i + 1];
    x.re[place] = r.re[i] - a.im[i];
    x.im[place] = r.im[i] + a.re[i];
    if (opposite === place) continue;
    x.re[opposite] = r.re[i] + a.im[i];
    x.im[opposite] = a.re[i] - r.im[i];
  }
}

/** Where the sum lies but for `CUT_TAIL` at either end, in strides; and about where each part lies. */
interface Window {
  readonly low: number;
  readonly high: number;
  readonly centres: readonly number[];
  /** Sum of the centres. */
  readonly centre: number;
}

function windowOf(parts: readonly Part[], direction: Direction): Window {
  let [low, high, variance, centre] = [0, 0, 0, 0];
  const centres = parts.map(({ pair, count }) => {
    const { at, mass } = pair[direction];
    let [sum, first, second] = [0, 0, 0];
    for (let i = 0; i < at.length; i++) {
      sum += mass[i];
      first += mass[i] * at[i];
      second += mass[i] * at[i] * at[i];
    }
    const mean = sum > 0 ? first / sum : 0;
    if (sum > 0) variance += count * Math.max(0, second / sum - mean * mean);
    low += count * at[0];
    high += count * at[at.length - 1];
    centre += count * Math.round(mean);
    return Math.round(mean);
  });
  const deviation = Math.sqrt(variance);
  const all = parts.map(({ pair, count }, i) => ({ pmf: pair[direction], count, centre: centres[i] }));
  // Every tilt gives a bound. Where many single steps meet, the best for the widest of them will do, and the next one up.
  const many = parts.length > 4 && parts.every(({ count }) => count === 1);
  const widest = all.reduce((w, one) => (spanOf(one.pmf) > spanOf(w.pmf) ? one : w));
  const like = [{ ...widest, count: parts.length }];
  for (const side of [1, -1]) {
    const tilts = TILTS.map((factor) => (8 * factor) / deviation).filter((tilt) => tilt > 0 && tilt < Infinity);
    const reach = (tilt: number, of: typeof all) =>
      (of.reduce((sum, o) => sum + o.count * logMoment(o.pmf, side * tilt, o.centre), 0) + MARGIN) / tilt;
    const best = many ? tilts.reduce((i, tilt, j) => (reach(tilt, like) < reach(tilts[i], like) ? j : i), 0) : 0;
    const least = Math.min(...(many ? tilts.slice(best, best + 2) : tilts).map((tilt) => reach(tilt, all)));
    if (!Number.isFinite(least)) continue;
    if (side === 1) high = Math.min(high, Math.ceil(centre + least) + 1);
    else low = Math.max(low, Math.floor(centre - least) - 1);
  }
  return { low, high: Math.max(low, high), centres, centre };
}

const spanOf = ({ at }: LossPmf): number => at[at.length - 1] - at[0];

/** ln E[e^(tilt·(loss - centre))], losses in strides; Infinity where it cannot be told. */
function logMoment({ at, mass }: LossPmf, tilt: number, centre: number): number {
  const most = Math.abs(tilt) * Math.max(Math.abs(at[0] - centre), Math.abs(at[at.length - 1] - centre));
  if (most > 700) {
    // Only the side on which the exponent grows can overflow.
    const end = tilt > 0 ? at[at.length - 1] : at[0];
    if (tilt * (end - centre) > 700) return Infinity;
  }
  let sum = 0;
  let previous = at[0];
  let factor = Math.exp(tilt * (at[0] - centre));
  const stride = Math.exp(tilt);
  for (let i = 0; i < at.length; i++) {
    // A run of neighbours needs one product each; anew every so often, before rounding adds up.
    if (at[i] - previous === 1 && (i & 63) !== 0 && factor > 1e-290) factor *= stride;
    else factor = Math.exp(tilt * (at[i] - centre));
    previous = at[i];
    sum += mass[i] * factor;
  }
  return Math.log(sum) + 1e-12;
}

/** Puts masses on a circle of x.length points, `centre` at 0. */
function fold({ at, mass }: LossPmf, centre: number, x: Float64Array): void {
  const mask = x.length - 1;
  for (let i = 0; i < at.length; i++) x[(at[i] - centre) & mask] += mass[i];
}

/** What the inverse transform holds of one direction, and all that may have gone wrong with it. */
function read(
  parts: readonly Part[],
  direction: Direction,
  { low, high, centre }: Window,
  x: Float64Array,
  rounding: number,
): LossPmf {
  const mask = x.length - 1;
  const n = high - low + 1;
  const at = new Int32Array(n);
  const mass = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    at[i] = low + i;
    mass[i] = Math.max(0, x[(low + i - centre) & mask]);
  }
  let logFinite = 0;
  let error = 2 * CUT_TAIL + rounding;
  for (const { pair, count } of parts) {
    logFinite += count * Math.log1p(-pair[direction].infinite);
    error += count * pair[direction].error;
  }
  return { at, mass, infinite: -Math.expm1(logFinite), error };
}

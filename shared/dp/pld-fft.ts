/**
 * A small fast Fourier transform for the tight accountant: complex, in place, sizes that are powers of two.
 *
 * Forward by decimation in frequency, which leaves its result in bit-reversed order; inverse by decimation in time, which
 * takes that order. What lies between the two is pointwise here, so nothing is ever reordered.
 * @see Press et al., Numerical Recipes, chapter 12
 */
import { FedError } from '../errors.ts';

/** Real and imaginary parts, equally long. */
export interface Complex {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

export const complexZeros = (n: number): Complex => ({ re: new Float64Array(n), im: new Float64Array(n) });

/** cos and sin of 2πk/n for k < n/2, by size. */
const tables = new Map<number, Complex>();
function twiddles(n: number): Complex {
  const known = tables.get(n);
  if (known !== undefined) return known;
  const table = complexZeros(n / 2);
  for (let k = 0; k < n / 2; k++) {
    table.re[k] = Math.cos((2 * Math.PI * k) / n);
    table.im[k] = Math.sin((2 * Math.PI * k) / n);
  }
  tables.set(n, table);
  return table;
}

function sizeOf({ re, im }: Complex): number {
  const n = re.length;
  if (n < 2 || (n & (n - 1)) !== 0 || im.length !== n) throw new FedError('PARAMETER_INVALID', `a transform of ${n}`);
  return n;
}

/** X[k] = Σ x[j] e^(-2πijk/n), in place; X[k] ends at the place whose index is k with its bits reversed. */
export function forwardFft(x: Complex): void {
  const n = sizeOf(x);
  const { re, im } = x;
  let size = n;
  // Two halvings a pass; where their number is odd, one alone comes first.
  if (Math.log2(n) % 2 === 1) {
    const { re: cos, im: sin } = twiddles(n);
    const half = n / 2;
    for (let j = 0; j < half; j++) {
      const dr = re[j] - re[j + half];
      const di = im[j] - im[j + half];
      re[j] += re[j + half];
      im[j] += im[j + half];
      re[j + half] = dr * cos[j] + di * sin[j];
      im[j + half] = di * cos[j] - dr * sin[j];
    }
    size = half;
  }
  for (; size >= 4; size /= 4) forwardPass(re, im, size);
}

/** Blocks of `size`, in place, two halvings at once: four values at a quarter's distance. */
function forwardPass(re: Float64Array, im: Float64Array, size: number): void {
  const q = size / 4;
  const { re: cos, im: sin } = twiddles(size);
  for (let block = 0; block < re.length; block += size)
    for (let j = 0; j < q; j++) {
      const a = block + j;
      const b = a + q;
      const c = b + q;
      const d = c + q;
      const sr = re[a] + re[c];
      const si = im[a] + im[c];
      const tr = re[b] + re[d];
      const ti = im[b] + im[d];
      const ur = re[a] - re[c];
      const ui = im[a] - im[c];
      const vr = im[b] - im[d];
      const vi = re[d] - re[b];
      re[a] = sr + tr;
      im[a] = si + ti;
      if (j === 0) {
        re[b] = sr - tr;
        im[b] = si - ti;
        re[c] = ur + vr;
        im[c] = ui + vi;
        re[d] = ur - vr;
        im[d] = ui - vi;
        continue;
      }
      const c1 = cos[j];
      const s1 = sin[j];
      const c2 = c1 * c1 - s1 * s1;
      const s2 = 2 * c1 * s1;
      const c3 = c1 * c2 - s1 * s2;
      const s3 = s1 * c2 + c1 * s2;
      re[b] = (sr - tr) * c2 + (si - ti) * s2;
      im[b] = (si - ti) * c2 - (sr - tr) * s2;
      re[c] = (ur + vr) * c1 + (ui + vi) * s1;
      im[c] = (ui + vi) * c1 - (ur + vr) * s1;
      re[d] = (ur - vr) * c3 + (ui - vi) * s3;
      im[d] = (ui - vi) * c3 - (ur - vr) * s3;
    }
}

/** Undoes `forwardFft`, from bit-reversed order to natural order. */
export function inverseFft(x: Complex): void {
  const n = sizeOf(x);
  const { re, im } = x;
  const odd = Math.log2(n) % 2 === 1;
  for (let size = 4; size <= (odd ? n / 2 : n); size *= 4) inversePass(re, im, size);
  if (odd) {
    const { re: cos, im: sin } = twiddles(n);
    const half = n / 2;
    for (let j = 0; j < half; j++) {
      const tr = re[j + half] * cos[j] - im[j + half] * sin[j];
      const ti = im[j + half] * cos[j] + re[j + half] * sin[j];
      re[j + half] = re[j] - tr;
      im[j + half] = im[j] - ti;
      re[j] += tr;
      im[j] += ti;
    }
  }
  for (let j = 0; j < n; j++) {
    re[j] /= n;
    im[j] /= n;
  }
}

function inversePass(re: Float64Array, im: Float64Array, size: number): void {
  const q = size / 4;
  const { re: cos, im: sin } = twiddles(size);
  for (let block = 0; block < re.length; block += size)
    for (let j = 0; j < q; j++) {
      const a = block + j;
      const b = a + q;
      const c = b + q;
      const d = c + q;
      const c1 = cos[j];
      const s1 = sin[j];
      const c2 = c1 * c1 - s1 * s1;
      const s2 = 2 * c1 * s1;
      const c3 = c1 * c2 - s1 * s2;
      const s3 = s1 * c2 + c1 * s2;
      const br = re[b] * c2 - im[b] * s2;
      const bi = im[b] * c2 + re[b] * s2;
      const ur = re[c] * c1 - im[c] * s1;
      const ui = im[c] * c1 + re[c] * s1;
      const vr = re[d] * c3 - im[d] * s3;
      const vi = im[d] * c3 + re[d] * s3;
      const sr = re[a] + br;
      const si = im[a] + bi;
      const tr = re[a] - br;
      const ti = im[a] - bi;
      re[a] = sr + ur + vr;
      im[a] = si + ui + vi;
      re[b] = tr - ui + vi;
      im[b] = ti + ur - vr;
      re[c] = sr - ur - vr;
      im[c] = si - ui - vi;
      re[d] = tr + ui - vi;
      im[d] = ti - ur + vr;
    }
}

/**
 * Places of a transform in bit-reversed order, one of every pair of opposite frequencies, and its partner: 0 and n/2 are
 * their own. The places top … 2·top - 1 hold frequencies that are opposite from both ends inwards.
 * @returns [place, opposite, place, opposite, …], n/2 + 1 pairs.
 */
export function oppositePairs(n: number): Int32Array {
  const known = pairTables.get(n);
  if (known !== undefined) return known;
  const pairs = new Int32Array(n + 2);
  pairs[2] = 1;
  pairs[3] = 1;
  let filled = 4;
  for (let top = 2; top < n; top *= 2)
    for (let place = top; place < top + top / 2; place++) {
      pairs[filled++] = place;
      pairs[filled++] = 3 * top - 1 - place;
    }
  pairTables.set(n, pairs);
  return pairs;
}
const pairTables = new Map<number, Int32Array>();

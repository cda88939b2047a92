import { FedError } from '../errors.ts';

/** All in [0, 1], but density, which may exceed 1. */
export interface Prdc {
  readonly precision: number;
  readonly recall: number;
  readonly density: number;
  readonly coverage: number;
}

/**
 * Precision, recall, density and coverage of `fake` against `real`, by k nearest neighbours in Euclidean distance.
 *
 * @param real - [n, d] row-major.
 * @param fake - [m, d] row-major.
 * @param k - neighbours; 5 as in the paper.
 * @throws {FedError} PARAMETER_INVALID unless both sets hold more than k rows.
 * @see Naeem et al. 2020, https://arxiv.org/abs/2002.09797, sections 2.2 and 3.1
 */
export function prdc(real: Float32Array, fake: Float32Array, d: number, k = 5): Prdc {
  const n = real.length / d;
  const m = fake.length / d;
  if (!(n > k && m > k)) throw new FedError('PARAMETER_INVALID', `prdc wants more than ${k} rows, got ${n} and ${m}`);
  const realRadius = kthNeighbour(real, n, d, k);
  const fakeRadius = kthNeighbour(fake, m, d, k);
  let precise = 0;
  let dense = 0;
  const recalled = new Uint8Array(n);
  const nearest = new Float64Array(n).fill(Infinity);
  for (let j = 0; j < m; j++) {
    let inside = 0;
    for (let i = 0; i < n; i++) {
      const square = squaredDistance(real, i, fake, j, d);
      if (square <= realRadius[i]) inside++;
      if (square <= fakeRadius[j]) recalled[i] = 1;
      if (square < nearest[i]) nearest[i] = square;
    }
    if (inside > 0) precise++;
    dense += inside;
  }
  let recall = 0;
  let covered = 0;
  for (let i = 0; i < n; i++) {
    recall += recalled[i];
    if (nearest[i] <= realRadius[i]) covered++;
  }
  return { precision: precise / m, recall: recall / n, density: dense / (k * m), coverage: covered / n };
}

function squaredDistance(a: Float32Array, i: number, b: Float32Array, j: number, d: number): number {
  let sum = 0;
  for (let x = i * d, y = j * d, end = x + d; x < end; x++, y++) {
    const diff = a[x] - b[y];
    sum += diff * diff;
  }
  return sum;
}

/** Squared distance of each row to its k-th nearest other row. */
function kthNeighbour(rows: Float32Array, n: number, d: number, k: number): Float64Array {
  const out = new Float64Array(n);
  const best = new Float64Array(k);
  for (let i = 0; i < n; i++) {
    best.fill(Infinity);
    for (let j = 0; j < n; j++) {
      if (j === i) continue;
      const square = squaredDistance(rows, i, rows, j, d);
      if (square >= best[k - 1]) continue;
      let at = k - 1;
      for (; at > 0 && best[at - 1] > square; at--) best[at] = best[at - 1];
      best[at] = square;
    }
    out[i] = best[k - 1];
  }
  return out;
}

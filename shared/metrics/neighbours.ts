import { createHash } from 'node:crypto';
import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { eachDistance, exactSquare, rowsOf } from './distance-blocks.ts';

/** The k nearest references of n queries, nearest first; of two as near, the one with the lower index first. */
export interface Neighbours {
  readonly k: number;
  /** [n, k] Euclidean distances, in the unit of the rows. */
  readonly distances: Float64Array;
  /** [n, k] indices of references. */
  readonly indices: Int32Array;
}

export interface NeighbourSearch {
  /** How many; 1 when left out. */
  readonly k?: number;
  /** Queries and references are one set: row i is no neighbour of itself. A copy of it in another row is. */
  readonly withinOneSet?: boolean;
  readonly progress?: (share: number) => void;
}

/**
 * Exact k nearest neighbours in Euclidean distance.
 *
 * Guarantee: exact. Products in single precision only leave out what is too far by more than their own rounding; what
 * is left is measured in double precision. Every engine therefore finds the same neighbours.
 *
 * @param queries - [n, d] row-major, finite. @param references - [m, d] row-major, finite.
 * @throws {FedError} PARAMETER_INVALID when there are fewer than k references (k + 1 within one set), or rows that are
 *   none.
 */
export async function nearestNeighbours(
  engine: Engine,
  queries: Float32Array,
  references: Float32Array,
  d: number,
  { k = 1, withinOneSet = false, progress }: NeighbourSearch = {},
): Promise<Neighbours> {
  const [n, m] = [rowsOf(queries, d), rowsOf(references, d)];
  if (!(Number.isInteger(k) && k >= 1)) throw new FedError('PARAMETER_INVALID', `${k} neighbours`);
  if (m < k + Number(withinOneSet)) throw new FedError('PARAMETER_INVALID', `${k} neighbours wanted of ${m} rows`);
  if (withinOneSet && n !== m) throw new FedError('PARAMETER_INVALID', `${n} and ${m} rows are not one set`);
  const result = { k, distances: new Float64Array(n * k), indices: new Int32Array(n * k) };
  const first = firstOfAlike(references, d);
  const candidates = Array.from({ length: n }, (): Candidates | null => null);
  await eachDistance(
    engine,
    queries,
    references,
    d,
    (i, firstColumn, count, squares, bound) => {
      const own = (candidates[i] ??= new Candidates(k, bound));
      const self = withinOneSet ? i - firstColumn : -1;
      for (let c = 0; c < count; c++) if (squares[c] <= own.limit && c !== self) own.add(firstColumn + c, squares[c]);
      if (firstColumn + count < m) return;
      settle(own, i, result, (j) => exactSquare(queries, i, references, j, d), first);
      candidates[i] = null;
    },
    progress,
  );
  return result;
}

/** What may still be among the k nearest of one query. */
class Candidates {
  readonly #k: number;
  readonly #bound: number;
  readonly #best: Float64Array;
  readonly #indices: number[] = [];
  readonly #squares: number[] = [];
  /** A square above it is out: the k-th best is nearer for certain. */
  limit = Infinity;

  constructor(k: number, bound: number) {
    this.#k = k;
    this.#bound = bound;
    this.#best = new Float64Array(k).fill(Infinity);
  }

  add(index: number, square: number): void {
    this.#indices.push(index);
    this.#squares.push(square);
    const best = this.#best;
    let at = this.#k - 1;
    if (square >= best[at]) return;
    for (; at > 0 && best[at - 1] > square; at--) best[at] = best[at - 1];
    best[at] = square;
    this.limit = best[this.#k - 1] + 2 * this.#bound;
  }

  /** Indices, ascending. */
  left(): number[] {
    return this.#indices.filter((_, c) => this.#squares[c] <= this.limit);
  }
}

/** Measures the candidates of query i and writes the k nearest. Rows that are alike are measured once. */
function settle(
  candidates: Candidates,
  i: number,
  { k, distances, indices }: Neighbours,
  square: (j: number) => number,
  first: Int32Array,
): void {
  const known = new Map<number, number>();
  const best = new Float64Array(k).fill(Infinity);
  for (const j of candidates.left()) {
    let exact = known.get(first[j]);
    if (exact === undefined) known.set(first[j], (exact = square(j)));
    let at = k - 1;
    if (exact >= best[at]) continue;
    for (; at > 0 && best[at - 1] > exact; at--) {
      best[at] = best[at - 1];
      indices[i * k + at] = indices[i * k + at - 1];
    }
    best[at] = exact;
    indices[i * k + at] = j;
  }
  for (let c = 0; c < k; c++) distances[i * k + c] = Math.sqrt(best[c]);
}

/** [n]: the first row with the same bytes. A generator that makes one image many times would else cost n² distances. */
function firstOfAlike(rows: Float32Array, d: number): Int32Array {
  const seen = new Map<string, number>();
  return Int32Array.from({ length: rows.length / d }, (_, j) => {
    const digest = createHash('sha1')
      .update(rows.subarray(j * d, (j + 1) * d))
      .digest('base64');
    const known = seen.get(digest);
    if (known === undefined) seen.set(digest, j);
    return known ?? j;
  });
}

/**
 * All Euclidean distances between two sets of rows, a strip at a time, by matrix products on an engine: what neighbour
 * searches, PRDC and kernels of 10,000 against 10,000 are built from. The matrix of distances is never held whole.
 */
import * as tf from '@tensorflow/tfjs';
import { float32, type Engine, type Program } from '../engine/program.ts';
import { FedError } from '../errors.ts';

/** Rows and columns of one product at most. */
const BLOCK = 512;
const SINGLE = 2 ** -24;
/** Products of graphics processors may be of numbers rounded to 11 bits (TF32). */
const TENSOR_FLOAT = 2 ** -11;

/**
 * Sees the distances from row i of the first set to `count` rows of the second, from row `first` on.
 * @param squares - squared distances; overwritten after the call. Each is off by at most `bound`.
 */
export type DistanceVisitor = (i: number, first: number, count: number, squares: Float64Array, bound: number) => void;

/**
 * Shows every pair's squared distance, in strips of 512 rows of the first set: of each strip the first 512 columns of all
 * its rows, then the next. A row is thus seen in pieces, its columns in order, other rows of its strip in between.
 *
 * Both sets are shifted by the mean of the second before products are taken, so that what cancels in |x|² + |y|² - 2xy is
 * small. Guarantee: no square is off by more than the `bound` shown with it, which counts every rounding of the product,
 * in any order of addition (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1). Whoever needs
 * more computes it again by `exactSquare`.
 *
 * @param a - [n, d] row-major, finite; @param b - [m, d] row-major, finite.
 * @throws {FedError} PARAMETER_INVALID when a set is empty, no whole number of rows, or not finite.
 */
export async function eachDistance(
  engine: Engine,
  a: Float32Array,
  b: Float32Array,
  d: number,
  visit: DistanceVisitor,
  progress?: (share: number) => void,
): Promise<void> {
  const n = rowsOf(a, d);
  rowsOf(b, d);
  const mean = columnMeans(b, d);
  const [left, right] = [shifted(a, mean), shifted(b, mean)];
  const [leftSquares, rightSquares] = [squaredNorms(left, d), squaredNorms(right, d)];
  const largest = Math.sqrt(rightSquares.reduce((x, y) => Math.max(x, y), 0));
  const product = (engine.name === 'cpu' || engine.name === 'tfjs' ? 0 : 2.1 * TENSOR_FLOAT) + 1.01 * d * SINGLE;
  const bounds = leftSquares.map((square) => {
    const norm = Math.sqrt(square);
    return 2 * product * norm * largest + 2.1 * SINGLE * (norm + largest) ** 2;
  });
  const squares = new Float64Array(BLOCK);
  const show = (rowAt: number, rows: number, columnAt: number, columns: number, width: number, dots: Float32Array) => {
    for (let r = 0; r < rows; r++) {
      const own = leftSquares[rowAt + r];
      for (let c = 0, at = r * width; c < columns; c++, at++)
        squares[c] = own + rightSquares[columnAt + c] - 2 * dots[at];
      visit(rowAt + r, columnAt, columns, squares, bounds[rowAt + r]);
    }
  };
  await eachProduct(engine, left, right, d, show, (rows) => progress?.(rows / n));
}

/** Sees a block of inner products, `rows` of `width` values, of which the first `columns` count. */
export type ProductVisitor = (
  rowAt: number,
  rows: number,
  columnAt: number,
  columns: number,
  width: number,
  dots: Float32Array,
) => void;

/**
 * Shows every inner product of a row of `a` with a row of `b`, in blocks.
 * @param a - [n, d]; @param b - [m, d]. @param done - told how many rows of `a` are through.
 */
export async function eachProduct(
  engine: Engine,
  a: Float32Array,
  b: Float32Array,
  d: number,
  visit: ProductVisitor,
  done?: (rows: number) => void,
): Promise<void> {
  const [n, m] = [rowsOf(a, d), rowsOf(b, d)];
  const [height, width] = [Math.min(BLOCK, n), Math.min(BLOCK, m)];
  const program = await innerProducts(engine, height, width, d);
  try {
    const columns: Float32Array[] = [];
    for (let at = 0; at < m; at += width) columns.push(strip(b, at, width, d));
    for (let rowAt = 0; rowAt < n; rowAt += height) {
      const x = strip(a, rowAt, height, d);
      const rows = Math.min(height, n - rowAt);
      for (let k = 0; k < columns.length; k++) {
        const { dots } = await program.run({ x, y: columns[k] });
        visit(rowAt, rows, k * width, Math.min(width, m - k * width), width, dots as Float32Array);
      }
      done?.(rowAt + rows);
    }
  } finally {
    await program.dispose();
  }
}

/** A program from `x` [rows, d] and `y` [columns, d] to `dots` [rows, columns]. */
export const innerProducts = (engine: Engine, rows: number, columns: number, d: number): Promise<Program> =>
  engine.compile('inner-products', ({ x, y }) => ({ dots: tf.matMul(x, y, false, true) }), {
    x: float32(rows, d),
    y: float32(columns, d),
  });

/** Squared distance of row i of `a` to row j of `b`, in double precision. */
export function exactSquare(a: Float32Array, i: number, b: Float32Array, j: number, d: number): number {
  let sum = 0;
  for (let x = i * d, y = j * d, end = x + d; x < end; x++, y++) {
    const difference = a[x] - b[y];
    sum += difference * difference;
  }
  return sum;
}

/** Number of rows. @throws {FedError} PARAMETER_INVALID when it is no whole number above zero, or a value not finite. */
export function rowsOf(values: Float32Array, d: number): number {
  const n = values.length / d;
  if (!(Number.isInteger(n) && n > 0)) throw new FedError('PARAMETER_INVALID', `${values.length} values, rows of ${d}`);
  if (!values.every(Number.isFinite)) throw new FedError('PARAMETER_INVALID', 'a row holds what is no finite number');
  return n;
}

/** Mean of each column of [n, d]. */
export function columnMeans(values: Float32Array, d: number): Float64Array {
  const sums = new Float64Array(d);
  for (let at = 0; at < values.length; at += d) for (let j = 0; j < d; j++) sums[j] += values[at + j];
  return sums.map((sum) => (sum * d) / values.length);
}

function shifted(values: Float32Array, by: Float64Array): Float32Array {
  const out = new Float32Array(values.length);
  for (let at = 0; at < out.length; at += by.length)
    for (let j = 0; j < by.length; j++) out[at + j] = values[at + j] - by[j];
  return out;
}

function squaredNorms(values: Float32Array, d: number): Float64Array {
  const out = new Float64Array(values.length / d);
  for (let i = 0, at = 0; i < out.length; i++) for (const end = at + d; at < end; at++) out[i] += values[at] ** 2;
  return out;
}

/** `count` rows from row `first` on; where rows are missing, zeros. */
function strip(values: Float32Array, first: number, count: number, d: number): Float32Array {
  const part = values.subarray(first * d, (first + count) * d);
  if (part.length === count * d) return part;
  const out = new Float32Array(count * d);
  out.set(part);
  return out;
}

import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { PublicRandom } from '../public-random.ts';
import { eachProduct, rowsOf } from './distance-blocks.ts';

/**
 * Sliced 2-Wasserstein distance: the root of the mean, over random directions of length 1, of the squared 2-Wasserstein
 * distance of the projections, each of which is exact by sorting. Needs no network. Two sets of one distribution are not
 * at zero: put it beside the distance of two halves of the real set.
 *
 * @param a - [n, d] row-major. @param b - [m, d] row-major; n and m may differ.
 * @param options.seed - of the directions; public. @param options.directions - 256 when left out.
 * @returns in the unit of the rows, about 1/√d of the distance by which one set is moved.
 * @throws {FedError} PARAMETER_INVALID when a set is empty or not finite, or no direction is wanted.
 * @see Rabin et al. 2011; Bonneel et al. 2015, section 3.1, https://doi.org/10.1007/s10851-014-0506-3
 */
export async function slicedWasserstein(
  engine: Engine,
  a: Float32Array,
  b: Float32Array,
  d: number,
  options: { seed: string; directions?: number },
): Promise<number> {
  const { directions: count = 256 } = options;
  if (!(count >= 1)) throw new FedError('PARAMETER_INVALID', `${count} directions`);
  const [n, m] = [rowsOf(a, d), rowsOf(b, d)];
  const directions = new PublicRandom(`sliced wasserstein ${options.seed}`).gaussians(count * d);
  for (let at = 0; at < directions.length; at += d) {
    const own = directions.subarray(at, at + d);
    const norm = Math.sqrt(own.reduce((sum, x) => sum + x * x, 0));
    for (let j = 0; j < d; j++) own[j] /= norm;
  }
  const [left, right] = [await shadows(engine, directions, a, d, n), await shadows(engine, directions, b, d, m)];
  let sum = 0;
  for (let k = 0; k < count; k++)
    sum += squaredWasserstein(left.subarray(k * n, (k + 1) * n).sort(), right.subarray(k * m, (k + 1) * m).sort());
  return Math.sqrt(sum / count);
}

/** [directions, rows] */
async function shadows(
  engine: Engine,
  directions: Float32Array,
  rows: Float32Array,
  d: number,
  n: number,
): Promise<Float32Array> {
  const out = new Float32Array((directions.length / d) * n);
  await eachProduct(engine, directions, rows, d, (rowAt, count, columnAt, columns, width, dots) => {
    for (let r = 0; r < count; r++) out.set(dots.subarray(r * width, r * width + columns), (rowAt + r) * n + columnAt);
  });
  return out;
}

/**
 * Squared 2-Wasserstein distance of two samples of numbers: the mean squared difference of their quantile functions.
 * @param a - ascending. @param b - ascending.
 */
export function squaredWasserstein(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [n, m] = [a.length, b.length];
  let sum = 0;
  // Both quantile functions are steps: of width m and n in units of 1 / (n m).
  for (let i = 0, j = 0, at = 0; i < n && j < m;) {
    const next = Math.min((i + 1) * m, (j + 1) * n);
    sum += (next - at) * (a[i] - b[j]) ** 2;
    at = next;
    if (at === (i + 1) * m) i++;
    if (at === (j + 1) * n) j++;
  }
  return sum / (n * m);
}

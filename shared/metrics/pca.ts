import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { PublicRandom } from '../public-random.ts';
import { columnMeans, eachProduct, rowsOf } from './distance-blocks.ts';

/** Principal axes of a set of rows. */
export interface PrincipalComponents {
  /** [d] */
  readonly mean: Float64Array;
  /** [k, d], orthonormal, of falling variance. */
  readonly axes: Float32Array;
  /** [k], with divisor n - 1. */
  readonly variances: Float64Array;
  /** Share of all variance that the k axes hold, in [0, 1]. */
  readonly share: number;
}

/** Axes beyond those wanted, which make the wanted ones converge. */
const OVERSAMPLED = 16;
const ITERATIONS = 5;

/**
 * The k leading principal components, by randomised subspace iteration: never an array of d × d, so that 64 × 64 colour
 * images are no harder than small ones. Fit it on public or synthetic rows: the axes are a release of what they are fitted on.
 *
 * @param rows - [n, d]; a few thousand are enough. @param seed - of the first guess; public.
 * @throws {FedError} PARAMETER_INVALID when n ≤ k or d < k.
 * @see Halko, Martinsson and Tropp 2011, algorithm 4.4, https://arxiv.org/abs/0909.4061
 */
export function principalComponents(rows: Float32Array, d: number, k: number, seed = 'pca'): PrincipalComponents {
  const n = rowsOf(rows, d);
  if (!(Number.isInteger(k) && k >= 1 && k <= d && k < n))
    throw new FedError('PARAMETER_INVALID', `${k} components of ${n} rows of ${d}`);
  const width = Math.min(k + OVERSAMPLED, d, n - 1);
  const mean = columnMeans(rows, d);
  const centred = new Float64Array(rows.length);
  for (let at = 0; at < rows.length; at += d) for (let j = 0; j < d; j++) centred[at + j] = rows[at + j] - mean[j];
  // [width, d]: one axis a row, so that every inner loop runs along memory.
  let axes: Float64Array = orthonormal(Float64Array.from(new PublicRandom(`pca ${seed}`).gaussians(width * d)), d);
  let scores: Float64Array = new Float64Array(0);
  for (let t = 0; t < ITERATIONS; t++) {
    scores = scoresOn(centred, axes, n, d, width);
    const next = new Float64Array(width * d);
    for (let i = 0; i < n; i++)
      for (let p = 0; p < width; p++) {
        const score = scores[i * width + p];
        for (let j = 0, x = i * d, y = p * d; j < d; j++, x++, y++) next[y] += score * centred[x];
      }
    axes = orthonormal(next, d);
  }
  scores = scoresOn(centred, axes, n, d, width);
  const covariance = Matrix.zeros(width, width);
  for (let p = 0; p < width; p++)
    for (let q = p; q < width; q++) {
      let sum = 0;
      for (let at = 0; at < scores.length; at += width) sum += scores[at + p] * scores[at + q];
      covariance.set(p, q, sum / (n - 1));
      covariance.set(q, p, sum / (n - 1));
    }
  const { eigenvectorMatrix, realEigenvalues } = new EigenvalueDecomposition(covariance, { assumeSymmetric: true });
  const order = realEigenvalues.map((_, p) => p).sort((p, q) => realEigenvalues[q] - realEigenvalues[p]);
  const turned = new Float32Array(k * d);
  const row = new Float64Array(d);
  for (let c = 0; c < k; c++) {
    row.fill(0);
    for (let p = 0; p < width; p++) {
      const weight = eigenvectorMatrix.get(p, order[c]);
      for (let j = 0; j < d; j++) row[j] += weight * axes[p * d + j];
    }
    turned.set(row, c * d);
  }
  const variances = Float64Array.from(order.slice(0, k), (p) => Math.max(0, realEigenvalues[p]));
  const all = centred.reduce((sum, x) => sum + x * x, 0) / (n - 1);
  return { mean, axes: turned, variances, share: all > 0 ? variances.reduce((a, b) => a + b, 0) / all : 1 };
}

/** Rows in the coordinates of the components: [n, k]. */
export async function projected(
  engine: Engine,
  { mean, axes, variances }: PrincipalComponents,
  rows: Float32Array,
): Promise<Float32Array> {
  const [d, k] = [mean.length, variances.length];
  const out = new Float32Array((rows.length / d) * k);
  const shift = new Float64Array(k);
  for (let c = 0; c < k; c++) for (let j = 0; j < d; j++) shift[c] += axes[c * d + j] * mean[j];
  await eachProduct(engine, rows, axes, d, (rowAt, count, columnAt, columns, width, dots) => {
    for (let r = 0; r < count; r++)
      for (let c = 0; c < columns; c++) out[(rowAt + r) * k + columnAt + c] = dots[r * width + c] - shift[columnAt + c];
  });
  return out;
}

/** [n, width] */
function scoresOn(centred: Float64Array, axes: Float64Array, n: number, d: number, width: number): Float64Array {
  const out = new Float64Array(n * width);
  for (let i = 0; i < n; i++)
    for (let p = 0; p < width; p++) {
      let sum = 0;
      for (let j = 0, x = i * d, y = p * d; j < d; j++, x++, y++) sum += centred[x] * axes[y];
      out[i * width + p] = sum;
    }
  return out;
}

/** Rows made orthonormal by Gram and Schmidt, twice; what depends on earlier rows becomes zero. */
function orthonormal(rows: Float64Array, d: number): Float64Array {
  const width = rows.length / d;
  for (let p = 0; p < width; p++) {
    const own = rows.subarray(p * d, (p + 1) * d);
    const before = Math.hypot(...own);
    for (let pass = 0; pass < 2; pass++)
      for (let q = 0; q < p; q++) {
        let dot = 0;
        for (let j = 0; j < d; j++) dot += own[j] * rows[q * d + j];
        for (let j = 0; j < d; j++) own[j] -= dot * rows[q * d + j];
      }
    const norm = Math.hypot(...own);
    const scale = norm > 1e-12 * before ? 1 / norm : 0;
    for (let j = 0; j < d; j++) own[j] *= scale;
  }
  return rows;
}

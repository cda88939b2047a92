import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import { FedError } from '../errors.ts';

/** Mean and covariance of feature vectors, all an image set's Fréchet distance depends on. */
export interface FeatureMoments {
  readonly mean: Float64Array;
  /** [d, d], with divisor n - 1. */
  readonly covariance: Matrix;
}

/**
 * @param features - [n, d] row-major, n ≥ 2, finite.
 * @throws {FedError} PARAMETER_INVALID when fewer than two rows are given, or a value is not finite.
 */
export function featureMoments(features: Float32Array | Float64Array, d: number): FeatureMoments {
  const n = features.length / d;
  if (!Number.isInteger(n) || n < 2) throw new FedError('PARAMETER_INVALID', `features is not [n >= 2, ${d}]`);
  if (!features.every(Number.isFinite)) throw new FedError('PARAMETER_INVALID', 'a feature is no finite number');
  const mean = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let j = 0; j < d; j++) mean[j] += features[i * d + j] / n;
  const c = new Float64Array(d * d);
  const row = new Float64Array(d);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < d; j++) row[j] = features[i * d + j] - mean[j];
    for (let j = 0; j < d; j++) {
      const r = row[j];
      if (r !== 0) for (let k = j; k < d; k++) c[j * d + k] += r * row[k];
    }
  }
  const covariance = new Matrix(d, d);
  for (let j = 0; j < d; j++)
    for (let k = j; k < d; k++) {
      covariance.set(j, k, c[j * d + k] / (n - 1));
      covariance.set(k, j, c[j * d + k] / (n - 1));
    }
  return { mean, covariance };
}

/**
 * Fréchet distance between two Gaussians: |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁^½ Σ₂ Σ₁^½)^½).
 *
 * The name FID belongs to Inception features; on the features of another network this is "Fréchet distance on …".
 * @throws {FedError} PARAMETER_INVALID when the two are of features of different length.
 * @see Heusel et al. 2017, equation 6, https://arxiv.org/abs/1706.08500
 */
export function frechetDistance(a: FeatureMoments, b: FeatureMoments): number {
  if (a.mean.length !== b.mean.length)
    throw new FedError('PARAMETER_INVALID', `features of ${a.mean.length} and of ${b.mean.length} numbers`);
  const root = symmetricRoot(a.covariance);
  const cross = symmetricEigenvalues(root.mmul(b.covariance).mmul(root));
  let distance = a.covariance.trace() + b.covariance.trace();
  for (const v of cross) distance -= 2 * Math.sqrt(Math.max(0, v));
  for (let j = 0; j < a.mean.length; j++) distance += (a.mean[j] - b.mean[j]) ** 2;
  return Math.max(0, distance);
}

function symmetricEigenvalues(m: Matrix): number[] {
  const symmetric = Matrix.add(m, m.transpose()).mul(0.5);
  return new EigenvalueDecomposition(symmetric, { assumeSymmetric: true }).realEigenvalues;
}

function symmetricRoot(m: Matrix): Matrix {
  const e = new EigenvalueDecomposition(m, { assumeSymmetric: true });
  const v = e.eigenvectorMatrix;
  return v.mmul(Matrix.diag(e.realEigenvalues.map((x) => Math.sqrt(Math.max(0, x))))).mmul(v.transpose());
}

/**
 * Inversion of what leaves a site: an attacker who has run the site's own program on many images of its own learns the
 * way back, from the bytes to the image, by ridge regression, and applies it to bytes whose image it has never seen. No
 * knowledge of the network or of the scheme is put in, so the same attack serves every scheme. It is judged by
 * whether the true image can be picked out of many.
 */
import { CholeskyDecomposition, Matrix } from 'ml-matrix';
import { logBinomialUpperTail } from '../dp/special.ts';

export interface InversionVerdict {
  readonly shown: number;
  /** Mean correlation of what was reconstructed with the true image, both less the mean image. */
  readonly correlation: number;
  /** How often the true image was the one that fitted best, among all that were shown. */
  readonly named: number;
  /** How often by chance. */
  readonly chance: number;
  /** How rarely chance alone does so well. */
  readonly pValue: number;
}

/** Rarer than this by chance: the attack works. */
export const INVERSION_LEVEL = 1e-3;

/**
 * @param seen - what left, one vector for each image; all of one length.
 * @param images - [n, d] in the same order. The first `training` are the attacker's own.
 */
export function judgeInversion(
  seen: readonly ArrayLike<number>[],
  images: readonly ArrayLike<number>[],
  training: number,
): InversionVerdict {
  const meanImage = meanOf(images.slice(0, training));
  const meanSeen = meanOf(seen.slice(0, training));
  const x = images.map((image) => Array.from(image, (v, j) => v - meanImage[j]));
  const u = seen.map((vector) => Array.from(vector, (v, j) => v - meanSeen[j]));
  const own = new Matrix(u.slice(0, training));
  const gram = own.mmul(own.transpose());
  // Of the size of the average vector: little enough to read a clean channel, enough to be stable on a noisy one.
  const ridge = (0.01 * gram.trace()) / training || 1;
  const back = new CholeskyDecomposition(gram.add(Matrix.eye(training, training).mul(ridge))).solve(
    new Matrix(x.slice(0, training)),
  );
  const shown = x.length - training;
  let [correlations, named] = [0, 0];
  for (let i = training; i < x.length; i++) {
    const similarity = own.mmul(Matrix.columnVector(u[i])).to1DArray();
    const guess = back.transpose().mmul(Matrix.columnVector(similarity)).to1DArray();
    const fits = x.slice(training).map((image) => correlation(guess, image));
    const own_ = fits[i - training];
    correlations += own_;
    if (fits.every((f, j) => j === i - training || f < own_)) named += 1;
  }
  const chance = 1 / shown;
  const pValue = Math.exp(logBinomialUpperTail(shown, chance, named));
  return { shown, correlation: correlations / shown, named: named / shown, chance, pValue };
}

function meanOf(rows: readonly ArrayLike<number>[]): Float64Array {
  const mean = new Float64Array(rows[0].length);
  for (const row of rows) for (let j = 0; j < mean.length; j++) mean[j] += row[j] / rows.length;
  return mean;
}

function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = a.length;
  let [sa, sb, saa, sbb, sab] = [0, 0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    sa += a[i];
    sb += b[i];
    saa += a[i] * a[i];
    sbb += b[i] * b[i];
    sab += a[i] * b[i];
  }
  const spread = (saa - (sa * sa) / n) * (sbb - (sb * sb) / n);
  return spread > 0 ? (sab - (sa * sb) / n) / Math.sqrt(spread) : 0;
}

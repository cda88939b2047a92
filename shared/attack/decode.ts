/**
 * From a noised sum to a score for each of the vectors that may be in it: the best linear estimate of who is. The
 * attacker knows every candidate vector, what else is in the sum, and the size of the noise: more than anybody does in
 * truth, so that what cannot be found this way is not easily found another way.
 */
import { FedError } from '../errors.ts';
import { CholeskyDecomposition, Matrix } from 'ml-matrix';

/** From a sum, what else was in it taken off, to a score for each candidate: near 1 for those in, as far as noise lets see. */
export type Scores = (sum: ArrayLike<number>) => Float64Array;

/**
 * @param candidates - [m] vectors of length d; what each adds to the sum when it is in.
 * @param noise - standard deviation of the noise on every coordinate.
 * @param share - chance that a candidate is in the sum; 1/2 for a fair coin.
 */
export function decodedScores(candidates: readonly ArrayLike<number>[], noise: number, share = 0.5): Scores {
  const m = candidates.length;
  const gram = Matrix.zeros(m, m);
  for (let i = 0; i < m; i++)
    for (let j = 0; j <= i; j++) {
      const value = dot(candidates[i], candidates[j]);
      gram.set(i, j, value);
      gram.set(j, i, value);
    }
  // Ridge: the mean given the sum, under a prior of this variance. A hair more, so that two that are alike do no harm.
  const ridge = noise ** 2 / (share * (1 - share)) + 1e-9 * (gram.trace() / m || 1);
  const expected = gram.mmul(Matrix.ones(m, 1)).mul(share).to1DArray();
  const cholesky = new CholeskyDecomposition(gram.add(Matrix.eye(m, m).mul(ridge)));
  return (sum) => {
    // About the mean, so that what cannot be seen is guessed at the share and not at 0.
    const centred = candidates.map((c, i) => dot(c, sum) - expected[i]);
    const found = cholesky.solve(Matrix.columnVector(centred));
    return Float64Array.from({ length: m }, (_, i) => share + found.get(i, 0));
  };
}

/** All settings of more coins are not tried one by one. */
const MOST_COINS = 10;

/**
 * The same where what leaves is some function of who is in, linear or not: it is worked out for every setting of the coins, and
 * a coin's score is how much nearer to what was seen the nearest setting with it comes than the nearest without.
 *
 * @param m - at most 10: there are 2^m settings.
 * @param observed - what leaves when these are in, without noise. [m] of 0 and 1 to [d].
 * @throws {FedError} PARAMETER_INVALID
 */
export async function nearestSetting(
  m: number,
  observed: (bits: Uint8Array) => Promise<ArrayLike<number>>,
): Promise<Scores> {
  if (!(m >= 1 && m <= MOST_COINS)) throw new FedError('PARAMETER_INVALID', `${m} coins, of at most ${MOST_COINS}`);
  const settings: { bits: Uint8Array; seen: Float64Array }[] = [];
  for (let setting = 0; setting < 2 ** m; setting++) {
    const bits = Uint8Array.from({ length: m }, (_, i) => (setting >> i) & 1);
    settings.push({ bits, seen: Float64Array.from(await observed(bits)) });
  }
  return (seen) => {
    const nearest = [new Float64Array(m).fill(Infinity), new Float64Array(m).fill(Infinity)];
    for (const { bits, seen: expected } of settings) {
      const difference = expected.map((x, j) => x - seen[j]);
      const square = dot(difference, difference);
      bits.forEach((bit, i) => (nearest[bit][i] = Math.min(nearest[bit][i], square)));
    }
    return nearest[0].map((without, i) => without - nearest[1][i]);
  };
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

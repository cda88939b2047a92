/**
 * From a noised sum to a score for each of the vectors that may be in it: the best linear estimate of who is. The
 * attacker knows every candidate vector, what else is in the sum, and the size of the noise: more than anybody does in
 * truth, so that what cannot be found this way is not easily found another way.
 */
import { CholeskyDecomposition, Matrix } from 'ml-matrix';
import type { RandomBytes } from '../random.ts';

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

/** Draws with which the effect of one coin is averaged over the others. */
const BACKGROUNDS = 4;
const MEAN_DRAWS = 40;

/**
 * The same where what leaves is some function of who is in, not linear but nearly so: the effect of each coin is measured
 * on the function itself, over random settings of the others.
 *
 * @param observed - what leaves when these are in, without noise. [m] of 0 and 1 to [d].
 */
export async function linearResponse(
  m: number,
  observed: (bits: Uint8Array) => Promise<ArrayLike<number>>,
  random: RandomBytes,
): Promise<Scores> {
  const toss = (): Uint8Array => {
    const bytes = new Uint8Array(m);
    random(bytes);
    return bytes.map((b) => b & 1);
  };
  const effects: Float64Array[] = [];
  for (let i = 0; i < m; i++) {
    let effect: Float64Array | null = null;
    for (let b = 0; b < BACKGROUNDS; b++) {
      const bits = toss();
      const [with_, without] = [await observed(bits.with(i, 1)), await observed(bits.with(i, 0))];
      effect ??= new Float64Array(with_.length);
      for (let j = 0; j < effect.length; j++) effect[j] += (with_[j] - without[j]) / BACKGROUNDS;
    }
    effects.push(effect!);
  }
  const half = new Float64Array(effects[0].length);
  for (const effect of effects) for (let j = 0; j < half.length; j++) half[j] += effect[j] / 2;
  const mean = new Float64Array(half.length);
  for (let b = 0; b < MEAN_DRAWS; b++) {
    const seen = await observed(toss());
    for (let j = 0; j < mean.length; j++) mean[j] += seen[j] / MEAN_DRAWS;
  }
  // What the linear picture leaves unexplained counts as noise: about as long as the effect of one coin.
  const length = effects.reduce((all, e) => all + Math.sqrt(dot(e, e)), 0) / m;
  const scores = decodedScores(effects, length / Math.sqrt(half.length));
  return (seen) => scores(Float64Array.from(mean, (v, j) => seen[j] - v + half[j]));
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

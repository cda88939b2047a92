/** What measured numbers are summed up with: quantiles, ranks, exact intervals of a share. No chance in any of it. */
import { logBinomialUpperTail, normalCdf } from '../dp/special.ts';
import { FedError } from '../errors.ts';

/** Of values, ascending. */
const ascending = (values: ArrayLike<number>): Float64Array => Float64Array.from(values).sort();

/**
 * Quantiles by linear interpolation between order statistics (type 7 of Hyndman and Fan 1996; numpy's default).
 * @param at - in [0, 1]. @throws {FedError} PARAMETER_INVALID when there are no values.
 */
export function quantiles(values: ArrayLike<number>, at: readonly number[]): number[] {
  if (values.length === 0) throw new FedError('PARAMETER_INVALID', 'no values, no quantiles');
  const sorted = ascending(values);
  return at.map((q) => {
    const place = q * (sorted.length - 1);
    const low = Math.floor(place);
    const next = sorted[Math.min(low + 1, sorted.length - 1)];
    return sorted[low] + (place - low) * (next - sorted[low]);
  });
}

/** Mean and standard deviation with divisor n - 1 (zero for one value). */
export function meanAndStd(values: ArrayLike<number>): { readonly mean: number; readonly std: number } {
  const n = values.length;
  let mean = 0;
  for (let i = 0; i < n; i++) mean += values[i] / n;
  let squares = 0;
  for (let i = 0; i < n; i++) squares += (values[i] - mean) ** 2;
  return { mean, std: n > 1 ? Math.sqrt(squares / (n - 1)) : 0 };
}

/** Two samples compared by their ranks. */
export interface RankComparison {
  /** Chance that one of the first sample is above one of the second, ties halved: the area under the ROC curve. */
  readonly area: number;
  /** In standard deviations of the null hypothesis, above zero when the first sample is higher. */
  readonly z: number;
  /** Two-sided, by the normal approximation: for samples of about 20 and more. */
  readonly pValue: number;
}

/**
 * Mann and Whitney's test, with the correction for ties and none for continuity.
 * @see Mann and Whitney 1947, Ann. Math. Statist. 18(1), 50-60
 */
export function compareRanks(first: ArrayLike<number>, second: ArrayLike<number>): RankComparison {
  const [n, m] = [first.length, second.length];
  if (n === 0 || m === 0) throw new FedError('PARAMETER_INVALID', `${n} and ${m} values cannot be compared`);
  const [a, b] = [ascending(first), ascending(second)];
  let above = 0;
  let ties = 0;
  for (let i = 0, j = 0; i < n || j < m;) {
    const value = j >= m || (i < n && a[i] <= b[j]) ? a[i] : b[j];
    if (Number.isNaN(value)) throw new FedError('PARAMETER_INVALID', 'a value to be ranked is no number');
    let [inA, inB] = [0, 0];
    for (; i + inA < n && a[i + inA] === value;) inA++;
    for (; j + inB < m && b[j + inB] === value;) inB++;
    above += inA * (j + inB / 2);
    ties += (inA + inB) ** 3 - (inA + inB);
    i += inA;
    j += inB;
  }
  const all = n + m;
  const variance = ((n * m) / 12) * (all + 1 - ties / (all * Math.max(1, all - 1)));
  const z = variance > 0 ? (above - (n * m) / 2) / Math.sqrt(variance) : 0;
  return { area: above / (n * m), z, pValue: 2 * normalCdf(-Math.abs(z)) };
}

/** Clopper and Pearson 1934: the least chance at which so many successes, or more, are not rarer than `tail`. */
export function lowerLimit(successes: number, trials: number, tail: number): number {
  if (successes === 0) return 0;
  let [low, high] = [0, 1];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (Math.exp(logBinomialUpperTail(trials, middle, successes)) < tail) low = middle;
    else high = middle;
  }
  return low;
}

/** The same from above: the largest chance at which so few successes, or fewer, are not rarer than `tail`. */
export const upperLimit = (successes: number, trials: number, tail: number): number =>
  1 - lowerLimit(trials - successes, trials, tail);

/**
 * Intervals for what several readers said of the same cases. Their answers are not independent: a case that is hard is hard
 * for all, and a reader who is strict is strict throughout. So readers and cases are both drawn again.
 *
 * @see Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1, 386-411: never too narrow for means, as the numbers of
 *   readers and of cases grow. With two or three readers how much readers differ is poorly known, whatever is done.
 */
import type { Seeded } from '../imaging/seeded.ts';
import { type Interval, wilson } from './proportion.ts';
import { meanAndStd, quantiles } from './statistics.ts';

export interface ReaderValue {
  readonly reader: string;
  readonly case: string;
  /** Cases are drawn again within their stratum, whose size is the study's choice: real or synthetic. */
  readonly stratum: string;
  readonly value: number;
}

export const RESAMPLES = 2000;

/** How often each value counts in a resample. Readers or cases that are all left out leave a sum of 0. */
function* weights(values: readonly ReaderValue[], random: Seeded, resamples: number): Generator<Float64Array> {
  const readers = [...new Set(values.map((v) => v.reader))];
  const strata = [...Map.groupBy(values, (v) => v.stratum).values()].map((s) => [...new Set(s.map((v) => v.case))]);
  const cases = strata.flat();
  const numberOf = (names: readonly string[]) => new Map(names.map((name, i) => [name, i]));
  const [readerOf, caseOf] = [numberOf(readers), numberOf(cases)];
  const places = values.map((v) => [readerOf.get(v.reader)!, caseOf.get(v.case)!] as const);
  for (let k = 0; k < resamples; k++) {
    const ofReader = new Uint32Array(readers.length);
    const ofCase = new Uint32Array(cases.length);
    for (let i = 0; i < readers.length; i++) ofReader[random.below(readers.length)]++;
    let first = 0;
    for (const { length } of strata) {
      for (let i = 0; i < length; i++) ofCase[first + random.below(length)]++;
      first += length;
    }
    yield Float64Array.from(places, ([r, c]) => ofReader[r] * ofCase[c]);
  }
}

function weightedMean(values: readonly ReaderValue[], weight: Float64Array, stratum?: string): number {
  let [sum, all] = [0, 0];
  values.forEach((v, i) => {
    if (stratum !== undefined && v.stratum !== stratum) return;
    sum += weight[i] * v.value;
    all += weight[i];
  });
  return sum / all;
}

const even = (values: readonly ReaderValue[]): Float64Array => new Float64Array(values.length).fill(1);

/** The 2.5th and 97.5th percentile. @returns NaN of fewer than 40 numbers. */
export function percentileInterval(draws: readonly number[]): Interval {
  const numbers = draws.filter((x) => !Number.isNaN(x));
  const [low, high] = numbers.length < 40 ? [NaN, NaN] : quantiles(numbers, [0.025, 0.975]);
  return { low, high };
}

export interface Estimate extends Interval {
  readonly value: number;
}

/** The mean over all answers, with its percentile interval. NaN of none. */
export function meanEstimate(values: readonly ReaderValue[], random: Seeded, resamples = RESAMPLES): Estimate {
  const draws = Array.from(weights(values, random, resamples), (w) => weightedMean(values, w));
  return { value: weightedMean(values, even(values)), ...percentileInterval(draws) };
}

/** The mean in stratum `a` less the mean in stratum `b`. */
export function differenceEstimate(
  values: readonly ReaderValue[],
  [a, b]: readonly [string, string],
  random: Seeded,
  resamples = RESAMPLES,
): Estimate {
  const difference = (w: Float64Array): number => weightedMean(values, w, a) - weightedMean(values, w, b);
  const draws = Array.from(weights(values, random, resamples), difference);
  return { value: difference(even(values)), ...percentileInterval(draws) };
}

/**
 * A share, with Wilson's interval at the effective sample size: as many independent answers as have the variance that was found
 * by drawing readers and cases again. Where all answers are alike nothing varies, and every case counts once, as if all readers
 * were one. So it stays inside [0, 1], and is never of width zero.
 *
 * @param values - 0 or 1 each. [0, 1] of none.
 * @see Korn and Graubard 1998, Survey Methodology 24, 193-201, who do so with the exact interval
 */
export function shareEstimate(values: readonly ReaderValue[], random: Seeded, resamples = RESAMPLES): Estimate {
  if (values.length === 0) return { value: NaN, low: 0, high: 1 };
  const share = weightedMean(values, even(values));
  const draws = Array.from(weights(values, random, resamples), (w) => weightedMean(values, w)).filter((x) => !Number.isNaN(x)); // prettier-ignore
  const variance = meanAndStd(draws).std ** 2;
  const cases = new Set(values.map((v) => v.case)).size;
  const varies = share > 0 && share < 1 && variance > 0;
  const effective = varies ? Math.min(values.length, (share * (1 - share)) / variance) : cases;
  return { value: share, ...wilson(share * effective, effective) };
}

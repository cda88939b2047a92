/**
 * Step 1 of 9, the draw: which patients join a step. Each patient joins independently with probability `sampleRate`,
 * decided by its own 53 random bits. Patients are drawn, never images: see `imagesPerPatient` in the policy.
 *
 * The number of padded micro-batches is constant, so a step takes the same time whoever joined. That needs a cap,
 * `maxBatch`, and the cap needs a price. When more patients are drawn than fit, a uniformly random subset of them stays.
 * As long as the *other* patients drawn leave a place free, the step is the Poisson-sampled Gaussian exactly; the
 * probability that in any of the `steps` they do not, `overflowDelta`, is added to delta. (The draws of the others do
 * not depend on whether a patient is in the data, so the bad event has the same probability in both worlds and is
 * paid once: no factor e^epsilon.) It is a function of public numbers alone: `patientsAtMost` bounds a site's patients,
 * and a site that has more must not join.
 */
import { FedError } from '../errors.ts';
import type { RandomBytes } from '../random.ts';
import { logBinomialUpperTail } from './special.ts';

/** Public numbers of a Poisson draw. */
export interface PoissonParams {
  /** q in (0, 1]. */
  readonly sampleRate: number;
  /** Patients that fit into one step. */
  readonly maxBatch: number;
}

const TWO_TO_26 = 2 ** 26;
const TWO_TO_53 = 2 ** 53;

/** Independent 53-bit whole numbers, uniform on [0, 2^53), exactly representable. */
function uniform53(n: number, random: RandomBytes): Float64Array {
  const words = new Uint32Array(2 * n);
  random(new Uint8Array(words.buffer));
  const numbers = new Float64Array(n);
  for (let i = 0; i < n; i++) numbers[i] = (words[2 * i] >>> 5) * TWO_TO_26 + (words[2 * i + 1] >>> 6);
  return numbers;
}

/** A whole number uniform on [0, below), without modulo bias: values of the incomplete last run are drawn again. */
function uniformBelow(below: number, random: RandomBytes): number {
  const limit = TWO_TO_53 - (TWO_TO_53 % below);
  for (;;) {
    const [draw] = uniform53(1, random);
    if (draw < limit) return draw % below;
  }
}

/**
 * Indices of the patients that join one step, ascending, at most `maxBatch` of them.
 *
 * Guarantee: patient i is drawn with probability floor(q·2^53)/2^53 ≤ q, independent of all others and of all data.
 * An empty result is a step like any other: it still takes noise and costs the same.
 * @param patients - how many the site holds.
 * @throws {FedError} PARAMETER_INVALID on parameters only.
 */
export function samplePatients(patients: number, p: PoissonParams, random: RandomBytes): Int32Array {
  const { sampleRate, maxBatch } = p;
  if (!(sampleRate > 0 && sampleRate <= 1)) throw new FedError('PARAMETER_INVALID', `sampleRate=${sampleRate}`);
  if (!Number.isSafeInteger(maxBatch) || maxBatch < 1) throw new FedError('PARAMETER_INVALID', `maxBatch=${maxBatch}`);
  if (!Number.isSafeInteger(patients) || patients < 0) throw new FedError('PARAMETER_INVALID', 'patients');
  const threshold = Math.floor(sampleRate * TWO_TO_53);
  const draws = uniform53(patients, random);
  const drawn: number[] = [];
  for (let i = 0; i < patients; i++) if (draws[i] < threshold) drawn.push(i);
  // A partial Fisher-Yates shuffle: the first maxBatch places become a uniformly random subset.
  if (drawn.length > maxBatch) {
    for (let i = 0; i < maxBatch; i++) {
      const j = i + uniformBelow(drawn.length - i, random);
      [drawn[i], drawn[j]] = [drawn[j], drawn[i]];
    }
    drawn.length = maxBatch;
  }
  return Int32Array.from(drawn).sort();
}

/** How many micro-batches every step runs, whoever joined. */
export const microBatchCount = (maxBatch: number, microBatch: number): number => Math.ceil(maxBatch / microBatch);

/** A fixed place for a patient in a padded step. */
export const EMPTY_SLOT = -1;

/**
 * Spreads the drawn patients over a constant number of micro-batches of constant size.
 *
 * Guarantee: the shape of the result depends on `maxBatch` and `microBatch` alone. A patient is in one slot of one
 * micro-batch; free slots hold `EMPTY_SLOT` and must be masked out of the sum.
 * @returns `microBatchCount` arrays of length `microBatch`.
 * @throws {FedError} PARAMETER_INVALID when more are given than fit, which `samplePatients` never does.
 */
export function padIntoMicroBatches(drawn: Int32Array, maxBatch: number, microBatch: number): Int32Array[] {
  if (drawn.length > maxBatch) throw new FedError('PARAMETER_INVALID', `more patients than maxBatch=${maxBatch}`);
  return Array.from({ length: microBatchCount(maxBatch, microBatch) }, (_, b) => {
    const slots = new Int32Array(microBatch).fill(EMPTY_SLOT);
    slots.set(drawn.subarray(b * microBatch, Math.min(drawn.length, (b + 1) * microBatch)));
    return slots;
  });
}

/** What `overflowDelta` needs, all public. */
export interface OverflowParams extends PoissonParams {
  /** A site with more patients than this must not join under these numbers. */
  readonly patientsAtMost: number;
  readonly steps: number;
}

/**
 * Probability that in any of `steps` steps the other patients drawn fill every place, by the union bound over the exact
 * binomial tail. What the cap on the batch adds to delta.
 *
 * Guarantee: in [0, 1]; parameters out of range give 1.
 */
export function overflowDelta({ patientsAtMost, sampleRate, maxBatch, steps }: OverflowParams): number {
  if (!(patientsAtMost >= 1 && sampleRate > 0 && sampleRate <= 1 && maxBatch >= 1 && steps >= 0)) return 1;
  const tail = logBinomialUpperTail(Math.ceil(patientsAtMost) - 1, sampleRate, maxBatch);
  return Math.min(1, steps * Math.exp(tail));
}

/** Smallest cap whose `overflowDelta` is at most `delta`. */
export function smallestMaxBatch(p: Omit<OverflowParams, 'maxBatch'>, delta: number): number {
  let [low, high] = [1, Math.max(1, Math.ceil(p.patientsAtMost))];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (overflowDelta({ ...p, maxBatch: middle }) <= delta) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Real updates as whole numbers, which can be masked and encrypted: clamp, scale, round at random, add up modulo a power
 * of two, scale back. Both `secagg` and `bfv` use it; nobody has audited it.
 *
 * A value v of [-range, range] becomes a whole number of [0, 2^bits): (v + range) / step, rounded up or down at random
 * so that its expectation is exact. The offset `range` is taken off once per site that is in the sum. What goes in was
 * clipped and noised before, so all of this is post-processing: it costs no epsilon.
 */
import { FedError } from '../errors.ts';
import { samplingOf } from '../policy/cost.ts';
import type { DeepReadonly } from '../policy/freeze.ts';
import type { Policy } from '../policy/schema.ts';
import type { RoundPlan } from '../protocol/plan.ts';
import type { RandomBytes } from '../random.ts';

/** A sum is added up in words of 32 bits: bits of a value and of the number of sites together may not be more. */
export const WORD_BITS = 32;
/** How far beyond the largest sum of embeddings the noise of a moment round may reach, in standard deviations. */
const MOMENT_NOISE_REACH = 8;

export interface Quantiser {
  /** Bits of one site's value. */
  readonly bits: number;
  /** The largest absolute value that is not clamped. */
  readonly range: number;
  /** Whole numbers a value can be: 2^bits. */
  readonly levels: number;
}

/** @throws {FedError} PARAMETER_INVALID */
export function createQuantiser(bits: number, range: number): Quantiser {
  if (!Number.isInteger(bits) || bits < 2 || bits > WORD_BITS - 1)
    throw new FedError('PARAMETER_INVALID', `${bits} bits a value`);
  if (!(range > 0 && range < Infinity)) throw new FedError('PARAMETER_INVALID', `range ${range}`);
  return Object.freeze({ bits, range, levels: 2 ** bits });
}

/** Distance between two neighbouring values, in the unit of the update. */
export const stepOf = ({ range, levels }: Quantiser): number => (2 * range) / (levels - 1);

/**
 * Bits of the modulus: the values of `maxSites` sites add up below 2^this, so no sum wraps.
 * @throws {FedError} PARAMETER_INVALID when that is more than a word has.
 */
export function modulusBits(bits: number, maxSites: number): number {
  const total = bits + Math.ceil(Math.log2(maxSites));
  if (!(total <= WORD_BITS))
    throw new FedError('PARAMETER_INVALID', `${bits} bits for ${maxSites} sites take ${total}, at most ${WORD_BITS}`);
  return total;
}

/**
 * How this round's updates are quantised: public, a function of policy and plan.
 *
 * A generator update has norm at most `generatorClipNorm`, so no coordinate is beyond it. A moment sum has at most one
 * per declared patient in each coordinate, and noise; beyond eight standard deviations the noise is clamped.
 * @throws {FedError} PARAMETER_INVALID when the policy has no `aggregation.bits`.
 */
export function quantiserOf(policy: DeepReadonly<Policy>, plan: Pick<RoundPlan, 'kind'>): Quantiser {
  const { bits } = policy.aggregation;
  if (bits === undefined) throw new FedError('PARAMETER_INVALID', 'the policy has no aggregation.bits');
  if (plan.kind !== 'moments') return createQuantiser(bits, policy.privacy.generatorClipNorm);
  const patients = [undefined, ...Object.keys(policy.sites ?? {})].map((id) => samplingOf(policy, id).patientsAtMost);
  const sigma = policy.warmStart.kind === 'moments' ? policy.warmStart.noiseMultiplier : 0;
  return createQuantiser(bits, Math.max(...patients) + MOMENT_NOISE_REACH * sigma);
}

/**
 * An update as whole numbers, in chunks of random bytes drawn in bulk.
 *
 * Guarantee: for a value within the range, the expectation of the result is the exact one, up to 2^-33 of a step; the
 * result is one of its two neighbours. What is outside is clamped. What is not a number becomes zero: to refuse it here
 * would be to say something of the data; the engine's checks come before.
 * @param values - [d], in the unit of the update.
 * @returns [d], each in [0, 2^bits).
 */
export function quantise(values: Float32Array, q: Quantiser, random: RandomBytes): Uint32Array<ArrayBuffer> {
  const { range, levels } = q;
  const inverse = 1 / stepOf(q);
  const top = levels - 1;
  const out = new Uint32Array(values.length);
  // As signed words: values have at most 31 bits, and cutting to 32 is what the processor does.
  const words = new Int32Array(out.buffer);
  const draws = new Int32Array(Math.min(values.length, DRAWS));
  for (let start = 0; start < values.length; start += DRAWS) {
    const run = values.subarray(start, start + DRAWS);
    const to = words.subarray(start, start + DRAWS);
    random(new Uint8Array(draws.buffer, 0, 4 * run.length));
    for (let i = 0; i < run.length; i++) {
      const x = (run[i] + range) * inverse;
      // Comparisons with NaN are false: it becomes the middle.
      const above = x > 0 ? x : x <= 0 ? 0 : top / 2;
      const within = above < top ? above : top;
      // Rounded down after a draw of [0, 1): up with the chance of its fraction, and never beyond the top.
      to[i] = (within + (draws[i] * 2 ** -32 + 0.5)) | 0;
    }
  }
  return out;
}
const DRAWS = 65_536;

/**
 * The sum of updates from the sum of their whole numbers.
 *
 * Guarantee: within `contributors` steps of the exact sum of what was clamped.
 * @param sums - [d], exact: below 2^modulusBits.
 * @param contributors - sites that are in the sum, each with its offset.
 */
export function dequantiseSum(sums: ArrayLike<number>, q: Quantiser, contributors: number): Float64Array {
  const step = stepOf(q);
  const offset = contributors * q.range;
  const out = new Float64Array(sums.length);
  for (let i = 0; i < out.length; i++) out[i] = sums[i] * step - offset;
  return out;
}

/**
 * The most the L2 norm of a sum of `contributors` quantised updates of norm at most `clipNorm` can be: rounding moves
 * each value by less than a step.
 */
export const mostNormOfSum = (q: Quantiser, contributors: number, clipNorm: number, length: number): number =>
  contributors * (clipNorm * (1 + 1e-5) + stepOf(q) * Math.sqrt(length));

/** A site's update as words that can be masked, and a sum of such words as numbers. */
import { FedError } from '../../errors.ts';
import type { CheckedPolicy } from '../../policy/load.ts';
import { integerLimitOf } from '../../policy/pooled.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import type { RandomBytes } from '../../random.ts';
import type { SiteUpdate } from '../aggregation.ts';
import { dequantiseSum, modulusBits, mostNormOfSum, quantise, quantiserOf, WORD_BITS } from '../quantise.ts';

export interface ValueCodec {
  /** Bits of the modulus, and of a value on the wire. */
  readonly width: number;
  /** @returns [d], each below 2^width over the most sites. @throws {FedError} PARAMETER_INVALID */
  encode(update: SiteUpdate, random: RandomBytes): Uint32Array<ArrayBuffer>;
  /**
   * @param sums - [d], unmasked, modulo 2^width.
   * @throws {FedError} SUM_TOO_LARGE when these cannot be sums of what sites may send: a mask is left on them, or a site
   *   went beyond its clip.
   */
  decode(sums: Uint32Array, contributors: number): Float64Array;
}

/** How the updates of this plan are encoded: whole numbers where they are on a lattice already, quantised otherwise. */
export function codecOf(policy: CheckedPolicy, plan: RoundPlan): ValueCodec {
  const { maxSites } = policy.aggregation;
  if (maxSites === undefined) throw new FedError('PARAMETER_INVALID', 'the policy has no aggregation.maxSites');
  const limit = integerLimitOf(policy, plan);
  return limit === null ? quantising(policy, plan, maxSites) : shifting(limit, maxSites);
}

function quantising(policy: CheckedPolicy, plan: RoundPlan, maxSites: number): ValueCodec {
  const q = quantiserOf(policy, plan);
  const width = modulusBits(q.bits, maxSites);
  // A moment sum carries noise of its own, whose norm has no bound.
  const clipNorm = plan.kind === 'generator' ? policy.privacy.generatorClipNorm : null;
  return {
    width,
    encode(update, random) {
      if (!(update instanceof Float32Array))
        throw new FedError('PARAMETER_INVALID', 'whole numbers where floats belong');
      return quantise(update, q, random);
    },
    decode(sums, contributors) {
      requireAtMost(sums, contributors * (q.levels - 1));
      const sum = dequantiseSum(sums, q, contributors);
      let squares = 0;
      for (let i = 0; i < sum.length; i++) squares += sum[i] * sum[i];
      const most = clipNorm === null ? Infinity : mostNormOfSum(q, contributors, clipNorm, sum.length);
      // The norm stays out of the detail: it is a statistic of the updates.
      if (!(Math.sqrt(squares) <= most)) throw new FedError('SUM_TOO_LARGE', `norm above ${most}`);
      return sum;
    },
  };
}

/** Whole numbers of [-limit, limit], moved to begin at 0. */
function shifting(limit: number, maxSites: number): ValueCodec {
  const width = integerWidth(limit, maxSites);
  return {
    width,
    encode(update) {
      if (!(update instanceof Int32Array)) throw new FedError('PARAMETER_INVALID', 'floats where whole numbers belong');
      return moved(update, limit);
    },
    decode(sums, contributors) {
      requireAtMost(sums, 2 * limit * contributors);
      return movedBack(sums, limit * contributors);
    },
  };
}

// Functions of the module: closures made anew for every step would never run long enough to be compiled well.
function moved(update: Int32Array, limit: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(update.length);
  for (let i = 0; i < words.length; i++) words[i] = Math.min(limit, Math.max(-limit, update[i])) + limit;
  return words;
}
function movedBack(sums: Uint32Array, by: number): Float64Array {
  const values = new Float64Array(sums.length);
  for (let i = 0; i < values.length; i++) values[i] = sums[i] - by;
  return values;
}

/** Bits of a sum of `maxSites` whole numbers of [-limit, limit]. @throws {FedError} PARAMETER_INVALID beyond a word */
export function integerWidth(limit: number, maxSites: number): number {
  const width = Math.ceil(Math.log2(2 * limit * maxSites + 1));
  if (!Number.isInteger(limit) || !(width <= WORD_BITS))
    throw new FedError('PARAMETER_INVALID', `values up to ${limit} of ${maxSites} sites take ${width} bits`);
  return width;
}

function requireAtMost(sums: Uint32Array, most: number): void {
  let over = 0;
  for (let i = 0; i < sums.length; i++) if (sums[i] > most) over += 1;
  if (over > 0) throw new FedError('SUM_TOO_LARGE', `${over} of ${sums.length} values beyond what sites may send`);
}

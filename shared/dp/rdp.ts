/**
 * Rényi accounting of events, at orders fixed in advance.
 *
 * What it is: the moments of Mironov, Talwar and Zhang 2019 (arXiv 1908.10530) for the Poisson-sampled Gaussian, as in
 * Opacus and dp_accounting, with one difference: whole orders sum only the positive terms of A - 1, so tiny costs keep
 * their digits. What it is not: a tight accountant; a numerical one reads the same events. Not audited outside.
 */
import { eventKey, type PrivacyEvent } from './event.ts';
import { sampledSkellamCurve } from './skellam-rdp.ts';
import { logAdd, logErfc } from './special.ts';

const tenths = Array.from({ length: 99 }, (_, i) => 1 + (i + 1) / 10);
const whole = Array.from({ length: 53 }, (_, i) => 11 + i);

/** Opacus' orders (1.1 … 10.9, 12 … 63) with dp_accounting's (11, 128, 256, 512, 1024). Fixed before any data is seen. */
export const RDP_ORDERS: readonly number[] = Object.freeze([...tenths, ...whole, 128, 256, 512, 1024]);

/** Terms after which the fractional series gives up and answers infinity. */
const MAX_TERMS = 200_000;
/** Orders above it are not summed but cost infinity: nothing is gained there. */
const MAX_ORDER = 65_536;

/** ln(1 + e^x) without overflow. */
const softplus = (x: number): number => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x)));

/**
 * ln A at a whole order. A = Σ C(α,k) q^k (1-q)^(α-k) e^((k²-k)/2σ²); the binomial weights add up to one and the
 * exponent is zero for k = 0 and 1, so A - 1 is a sum over k ≥ 2 of positive terms: no digits cancel.
 */
function logMomentWhole(q: number, sigma: number, alpha: number): number {
  const variance = sigma * sigma;
  let logBinomial = 0;
  let logExcess = -Infinity;
  for (let k = 1; k <= alpha; k++) {
    logBinomial += Math.log((alpha - k + 1) / k);
    if (k === 1) continue;
    const exponent = (k * k - k) / (2 * variance);
    const logExpm1 = exponent + Math.log(-Math.expm1(-exponent));
    logExcess = logAdd(logExcess, logBinomial + k * Math.log(q) + (alpha - k) * Math.log1p(-q) + logExpm1);
  }
  return softplus(logExcess);
}

/**
 * ln A at a fractional order: the two alternating series of section 3.3, one for each side of the point z0 where both
 * densities of the mixture weigh the same. Positive and negative terms are summed apart; what rounding and the terms
 * left out could hide is added, so the result is not below the true one by more than the logarithm's own rounding.
 */
function logMomentFractional(q: number, sigma: number, alpha: number): number {
  const variance = sigma * sigma;
  const logQ = Math.log(q);
  const log1Q = Math.log1p(-q);
  const z0 = variance * (log1Q - logQ) + 0.5;
  const root = Math.SQRT2 * sigma;
  let logCoefficient = 0;
  let sign = 1;
  let plus = -Infinity;
  let minus = -Infinity;
  for (let i = 0; i < MAX_TERMS; i++) {
    const j = alpha - i;
    const left =
      logCoefficient + i * logQ + j * log1Q + (i * i - i) / (2 * variance) - Math.LN2 + logErfc((i - z0) / root);
    const right =
      logCoefficient + j * logQ + i * log1Q + (j * j - j) / (2 * variance) - Math.LN2 + logErfc((z0 - j) / root);
    const term = logAdd(left, right);
    if (Number.isNaN(term)) return Infinity;
    if (sign > 0) plus = logAdd(plus, term);
    else minus = logAdd(minus, term);
    // Past alpha the terms alternate and shrink, so the first one left out bounds the rest.
    if (i > alpha + 1 && (term < -40 || (i > 1000 && term < -28))) {
      const slack = logAdd(term, logAdd(plus, minus) - 34);
      const upper = logAdd(plus, slack);
      if (minus >= upper) return Infinity;
      return upper + Math.log1p(-Math.exp(minus - upper));
    }
    logCoefficient += Math.log(Math.abs(j) / (i + 1));
    if (j < 0) sign = -sign;
  }
  return Infinity;
}

/**
 * Rényi divergence of order `alpha` of one Poisson-sampled Gaussian step, in either direction of add-or-remove-one.
 *
 * Guarantee: never below zero, never NaN. A parameter outside its range costs infinity.
 * @param sampleRate - q in [0, 1]; 1 is the plain Gaussian, 0 touches no data.
 * @param noiseMultiplier - σ > 0, in units of the sensitivity.
 * @param alpha - order, in (1, 65,536].
 */
export function rdpSampledGaussian(sampleRate: number, noiseMultiplier: number, alpha: number): number {
  if (!(sampleRate >= 0 && sampleRate <= 1) || !(alpha > 1 && alpha <= MAX_ORDER)) return Infinity;
  if (!(noiseMultiplier > 0 && noiseMultiplier < Infinity)) return Infinity;
  if (sampleRate === 0) return 0;
  if (sampleRate === 1) return alpha / (2 * noiseMultiplier * noiseMultiplier);
  const logMoment = Number.isInteger(alpha)
    ? logMomentWhole(sampleRate, noiseMultiplier, alpha)
    : logMomentFractional(sampleRate, noiseMultiplier, alpha);
  const rdp = logMoment / (alpha - 1);
  return rdp > 0 ? rdp : Number.isNaN(rdp) ? Infinity : Number.MIN_VALUE;
}

/** RDP of one occurrence of an event at each order. What is not understood costs infinity at every order. */
export function rdpCurve(event: PrivacyEvent, orders: readonly number[] = RDP_ORDERS): Float64Array {
  switch (event.kind) {
    case 'gaussian':
      if ((event.sensitivity as number) !== 1) return new Float64Array(orders.length).fill(Infinity);
      return Float64Array.from(orders, (alpha) => rdpSampledGaussian(1, event.noiseMultiplier, alpha));
    case 'poisson-gaussian':
      return Float64Array.from(orders, (alpha) => rdpSampledGaussian(event.sampleRate, event.noiseMultiplier, alpha));
    case 'poisson-skellam':
      return sampledSkellamCurve(event, orders);
    case 'not-private':
      return new Float64Array(orders.length).fill(Infinity);
    default:
      event satisfies never;
      return new Float64Array(orders.length).fill(Infinity);
  }
}

/** Curves by grid and mechanism, so that asking before every step costs one curve a run. Bounded; holds no counts. */
const curves = new WeakMap<readonly number[], Map<string, Float64Array>>();
const MAX_CURVES = 256;

function rememberedCurve(event: PrivacyEvent, orders: readonly number[]): Float64Array {
  const known = curves.get(orders) ?? new Map<string, Float64Array>();
  curves.set(orders, known);
  const key = eventKey(event);
  const curve = known.get(key) ?? rdpCurve(event, orders);
  if (known.size >= MAX_CURVES) known.clear();
  known.set(key, curve);
  return curve;
}

/**
 * Adds events up. The curve of each distinct mechanism is computed once and kept, so a ledger of ten thousand equal
 * steps costs one curve and ten thousand additions.
 */
export class RdpAccountant {
  readonly orders: readonly number[];
  readonly #total: Float64Array;

  constructor(orders: readonly number[] = RDP_ORDERS) {
    this.orders = orders;
    this.#total = new Float64Array(orders.length);
  }

  /** Charges an event. A count that is not a whole number ≥ 1 charges infinity. */
  add(event: PrivacyEvent): this {
    const curve = rememberedCurve(event, this.orders);
    const count = Number.isSafeInteger(event.count) && event.count >= 1 ? event.count : Infinity;
    for (let i = 0; i < curve.length; i++) this.#total[i] += count * curve[i];
    return this;
  }

  /** Charges all of them. */
  addAll(events: Iterable<PrivacyEvent>): this {
    for (const event of events) this.add(event);
    return this;
  }

  /** RDP so far, per order; a copy. */
  rdp(): Float64Array {
    return this.#total.slice();
  }
}

/** RDP of a list of events at each order. Equal events are computed once. */
export const rdpOfEvents = (events: Iterable<PrivacyEvent>, orders: readonly number[] = RDP_ORDERS): Float64Array =>
  new RdpAccountant(orders).addAll(events).rdp();

/**
 * From Rényi divergences to (epsilon, delta), both ways, as dp_accounting does it: the bound of Canonne, Kamath and
 * Steinke 2020 (arXiv 2004.00010, proposition 12) with a rule for divergences so small that epsilon is zero.
 */
import type { PrivacyEvent } from './event.ts';
import { RDP_ORDERS, rdpOfEvents } from './rdp.ts';

/** What a list of events costs. `order` is the Rényi order the bound came from; NaN when there was none. */
export interface PrivacyCost {
  readonly epsilon: number;
  readonly delta: number;
  readonly order: number;
}

/**
 * Smallest epsilon over the orders at this delta.
 *
 * Guarantee: fails closed. NaN or a negative divergence counts as infinity, an empty grid or a delta outside (0, 1)
 * gives infinity.
 * @see google/differential-privacy, `rdp_privacy_accountant.compute_epsilon`
 */
export function epsilonFromRdp(orders: readonly number[], rdp: ArrayLike<number>, delta: number): PrivacyCost {
  let epsilon = Infinity;
  let order = NaN;
  if (!(delta > 0 && delta < 1) || rdp.length !== orders.length) return { epsilon, delta, order };
  for (let i = 0; i < orders.length; i++) {
    const alpha = orders[i];
    const candidate = epsilonAtOrder(alpha, rdp[i], delta);
    if (candidate < epsilon) [epsilon, order] = [candidate, alpha];
  }
  return { epsilon: Math.max(0, epsilon), delta, order };
}

/** The bound at one order. Infinity where it cannot be computed. */
export function epsilonAtOrder(alpha: number, rdp: number, delta: number): number {
  if (!(rdp >= 0) || !(alpha > 1)) return Infinity;
  // The Kullback-Leibler divergence is at most `rdp`, so total variation is at most sqrt(1 - exp(-rdp)).
  if (delta * delta + Math.expm1(-rdp) > 0) return 0;
  // Below 1.01 the division by (alpha - 1) loses its meaning; dp_accounting draws the same line.
  if (alpha <= 1.01) return Infinity;
  const epsilon = rdp + Math.log1p(-1 / alpha) - Math.log(delta * alpha) / (alpha - 1);
  return Number.isNaN(epsilon) ? Infinity : epsilon;
}

/** Smallest delta over the orders at this epsilon; 1 where nothing can be said. */
export function deltaFromRdp(orders: readonly number[], rdp: ArrayLike<number>, epsilon: number): number {
  let logDelta = 0;
  if (!(epsilon >= 0) || rdp.length !== orders.length) return 1;
  for (let i = 0; i < orders.length; i++) {
    const [alpha, r] = [orders[i], rdp[i]];
    if (!(r >= 0) || !(alpha > 1)) continue;
    logDelta = Math.min(logDelta, 0.5 * Math.log(-Math.expm1(-r)));
    if (alpha <= 1.01 || r === Infinity) continue;
    const bound = (alpha - 1) * (r - epsilon + Math.log1p(-1 / alpha)) - Math.log(alpha);
    if (!Number.isNaN(bound)) logDelta = Math.min(logDelta, bound);
  }
  return Math.exp(logDelta);
}

/** What these events cost at `delta`, by RDP. No events cost nothing. */
export const costOfEvents = (events: Iterable<PrivacyEvent>, delta: number): PrivacyCost =>
  epsilonFromRdp(RDP_ORDERS, rdpOfEvents(events), delta);

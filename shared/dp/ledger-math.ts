/**
 * What everything a site ever did to a patient's data costs together: the arithmetic of a ledger over its lifetime,
 * without its storage.
 *
 * One run is plain: its policy fixed every parameter and the number of steps beforehand, so plain composition holds and
 * the best of all orders may be taken afterwards (`costOfEvents`). Which run comes next, though, is decided after seeing
 * what earlier ones produced, and composition of adaptively chosen mechanisms needs a filter: a rule fixed in advance
 * that stops in time (Rogers et al. 2016; Feldman and Zrnic 2021, arXiv 2008.11193, theorem 4.3, for one Rényi order).
 * "Go on while any order allows it" is not a filter at one order: which order that is may depend on what was seen. So
 * delta is split evenly over the few orders of `LIFETIME_ORDERS`. Paths that end within the limit of one order are paths
 * of that order's filter, and add at most its share of delta; together they add at most delta.
 */
import { epsilonFromRdp, type PrivacyCost } from './convert.ts';
import type { PrivacyEvent } from './event.ts';
import { rdpOfEvents } from './rdp.ts';

/** Fixed in advance, once and for all: to change it is to give up what earlier ledgers claim. */
export const LIFETIME_ORDERS: readonly number[] = Object.freeze([1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128]);

/**
 * Epsilon of a whole ledger with the next charge in it, at `delta`.
 *
 * Guarantee: a site that makes no charge with which this exceeds a limit fixed beforehand is within that limit,
 * however runs were chosen. Fails closed as `epsilonFromRdp` does.
 * @param events - of all runs. @param delta - less what caps on batches take of it (`overflowDelta`), summed over runs.
 */
export function lifetimeCost(events: Iterable<PrivacyEvent>, delta: number): PrivacyCost {
  const rdp = rdpOfEvents(events, LIFETIME_ORDERS);
  const { epsilon, order } = epsilonFromRdp(LIFETIME_ORDERS, rdp, delta / LIFETIME_ORDERS.length);
  return { epsilon, delta, order };
}

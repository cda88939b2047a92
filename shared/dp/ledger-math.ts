/**
 * Whether the next use of private data is within budget: the arithmetic of a site's ledger, without its storage. Two
 * questions are asked before every step, and both must be answered yes.
 *
 * 1. Of the run. Its policy fixed every parameter and the number of steps beforehand, so plain composition holds and
 *    the best of all orders may be taken afterwards.
 * 2. Of the site's lifetime. Which run comes next is decided after seeing what earlier ones produced, and composition
 *    of adaptively chosen mechanisms needs a filter: a rule fixed in advance that stops in time (Rogers et al. 2016;
 *    Feldman and Zrnic 2021, arXiv 2008.11193, for one Rényi order). Taking the best of several orders afterwards is
 *    not covered by a filter at one order; so delta is split evenly over the few orders of `LIFETIME_ORDERS`, each of
 *    which is then a filter of its own, and the union bound pays for the choice.
 */
import { costOfEvents, epsilonFromRdp, type PrivacyCost } from './convert.ts';
import { composeEvents, type PrivacyEvent } from './event.ts';
import { rdpOfEvents } from './rdp.ts';

/** Fixed in advance, once and for all: to change it is to give up what earlier ledgers claim. */
export const LIFETIME_ORDERS: readonly number[] = Object.freeze([1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128]);

/** A limit, by a site or a policy. */
export interface Budget {
  readonly epsilon: number;
  readonly delta: number;
}

/** The lifetime cost of everything in a ledger, as the filter counts it. */
export const lifetimeCost = (events: Iterable<PrivacyEvent>, delta: number): PrivacyCost => ({
  ...epsilonFromRdp(
    LIFETIME_ORDERS,
    rdpOfEvents(composeEvents([...events]), LIFETIME_ORDERS),
    delta / LIFETIME_ORDERS.length,
  ),
  delta,
});

/** What a ledger answers to "may I?". Public but for the site that keeps it: it holds no patient's data. */
export interface ChargeDecision {
  readonly allowed: boolean;
  /** Which limit refused; absent when allowed. */
  readonly refusedBy?: 'plan' | 'run' | 'lifetime';
  /** After the charge. */
  readonly run: PrivacyCost;
  readonly lifetime: PrivacyCost;
}

export interface ChargeQuestion {
  /** The use that is about to happen. */
  readonly next: PrivacyEvent;
  /** Charged to this run so far. */
  readonly run: readonly PrivacyEvent[];
  /** Charged to earlier runs on the same patients. */
  readonly earlier: readonly PrivacyEvent[];
  /** All that this run's policy foresees (`eventsOfPolicy`); nothing else may be charged to it. */
  readonly plan: readonly PrivacyEvent[];
  /** The policy's epsilon, and its delta less what the batch cap costs (`epsilonOfPolicy`). */
  readonly runBudget: Budget;
  readonly lifetimeBudget: Budget;
}

/**
 * Decides one charge. Pure: same question, same answer; nothing is recorded here.
 *
 * Guarantee: refuses when any of the three limits would be passed, or cannot be computed.
 */
export function decideCharge(q: ChargeQuestion): ChargeDecision {
  const charged = composeEvents(q.run, [q.next]);
  const run = costOfEvents(charged, q.runBudget.delta);
  const lifetime = lifetimeCost([...q.earlier, ...charged], q.lifetimeBudget.delta);
  const refusedBy = !withinPlan(charged, q.plan)
    ? 'plan'
    : !(run.epsilon <= q.runBudget.epsilon)
      ? 'run'
      : !(lifetime.epsilon <= q.lifetimeBudget.epsilon)
        ? 'lifetime'
        : undefined;
  return refusedBy === undefined ? { allowed: true, run, lifetime } : { allowed: false, refusedBy, run, lifetime };
}

/** Whether every mechanism charged is one the plan names, and none more often. */
export function withinPlan(charged: readonly PrivacyEvent[], plan: readonly PrivacyEvent[]): boolean {
  const planned = composeEvents(plan);
  // Composing an event with the plan changes the number of entries exactly when the plan does not name it.
  return composeEvents(charged).every((event) =>
    planned.some((p) => p.count >= event.count && composeEvents([p], [event]).length === 1),
  );
}

import { costOfEvents } from '../../shared/dp/convert.ts';
import { composeEvents, eventKey, withCount } from '../../shared/dp/event.ts';
import type { PrivacyEvent } from '../../shared/dp/event.ts';
import { lifetimeCost } from '../../shared/dp/ledger-math.ts';
import { FedError } from '../../shared/errors.ts';
import { epsilonOfPolicy } from '../../shared/policy/cost.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';

/** What one run may do to this site's data: the policy's own claim for it, never more. */
export interface RunBudget {
  /** The most of every event; null where the policy has no mechanism and a count would mean nothing. */
  readonly caps: readonly PrivacyEvent[] | null;
  /** Infinite where the policy has no mechanism. */
  readonly epsilon: number;
  readonly delta: number;
  /** The part of delta that pays for the cap on the batch: events are converted at what is left. */
  readonly overflowDelta: number;
}

/** What all runs together may spend on a patient of this site. */
export interface LifetimeBudget {
  readonly epsilon: number;
  readonly delta: number;
}

/** @see RunBudget */
export function runBudgetOf(policy: CheckedPolicy, siteId: string): RunBudget {
  const { privacy } = policy;
  if (privacy.mechanism === 'none-insecure') return { caps: null, epsilon: Infinity, delta: 1e-5, overflowDelta: 0 };
  const { events, overflowDelta } = epsilonOfPolicy(policy, siteId);
  return { caps: events, epsilon: privacy.epsilon, delta: privacy.delta, overflowDelta };
}

/** Everything one run has done to the data so far, with the overflow its policy allows for. */
export interface RunSpending {
  readonly events: readonly PrivacyEvent[];
  readonly overflowDelta: number;
}

/** Epsilon of a run's events at its policy's delta, by RDP. */
export const epsilonSpent = (events: readonly PrivacyEvent[], b: Pick<RunBudget, 'delta' | 'overflowDelta'>): number =>
  events.length === 0 ? 0 : costOfEvents(events, b.delta - b.overflowDelta).epsilon;

/**
 * Epsilon of several runs together, at one delta that pays for the overflow of each: a privacy filter, since later runs
 * may be chosen in view of earlier ones. It costs more than the best order would: see `shared/dp/ledger-math.ts`.
 */
export function epsilonOfLifetime(runs: readonly RunSpending[], delta: number): number {
  const events = composeEvents(...runs.map((r) => r.events));
  if (events.length === 0) return 0;
  return lifetimeCost(events, delta - runs.reduce((sum, r) => sum + r.overflowDelta, 0)).epsilon;
}

/**
 * Refuses what would go beyond a budget; asked before every step, inside the transaction that charges it.
 *
 * Guarantee: fails closed. An event the policy does not have, a count above the policy's, and a cost that is not a
 * number are refused. The rule is a privacy filter: RDP composed at orders fixed in advance, so runs may be chosen in
 * view of what earlier ones showed.
 * @param p.lifetime - null where the site has agreed to a run without privacy: then there is nothing to hold.
 * @throws {FedError} BUDGET_EXHAUSTED naming the numbers.
 */
export function assertAffordable(p: {
  runId: string;
  next: PrivacyEvent;
  spentByRun: ReadonlyMap<string, RunSpending>;
  budget: RunBudget;
  lifetime: LifetimeBudget | null;
}): void {
  const { runId, next, spentByRun, budget, lifetime } = p;
  const events = composeEvents(spentByRun.get(runId)?.events ?? [], [next]);
  if (budget.caps !== null) {
    const key = eventKey(next);
    const cap = budget.caps.find((e) => eventKey(e) === key)?.count ?? 0;
    const count = events.find((e) => eventKey(e) === key)?.count ?? Infinity;
    if (!(count <= cap)) throw new FedError('BUDGET_EXHAUSTED', `${count} of "${key}", the policy has ${cap}`);
  }
  const run = epsilonSpent(events, budget);
  if (!(run <= budget.epsilon))
    throw new FedError('BUDGET_EXHAUSTED', `this run: epsilon ${show(run)} after the step, at most ${budget.epsilon}`);
  if (lifetime === null) return;
  const runs = new Map(spentByRun).set(runId, { events, overflowDelta: budget.overflowDelta });
  const all = epsilonOfLifetime([...runs.values()], lifetime.delta);
  if (!(all <= lifetime.epsilon))
    throw new FedError(
      'BUDGET_EXHAUSTED',
      `all runs: epsilon ${show(all)} after the step, at most ${lifetime.epsilon}`,
    );
}

/** `n` of one event, as one. */
export const times = (event: PrivacyEvent, n: number): PrivacyEvent => withCount(event, event.count * n);

const show = (x: number): string => x.toPrecision(6);

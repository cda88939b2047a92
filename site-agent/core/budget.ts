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

/** Everything one run has done to the data so far, with the delta that its policies take for what holds but rarely not. */
export interface RunSpending {
  readonly events: readonly PrivacyEvent[];
  /** Over all policies the run was charged under; a run has one, unless somebody plays foul. */
  readonly overflowDelta: number;
}

/** Epsilon of a run's events at its policy's delta, by RDP. */
export const epsilonSpent = (events: readonly PrivacyEvent[], b: Pick<RunBudget, 'delta' | 'overflowDelta'>): number =>
  events.length === 0 ? 0 : costOfEvents(events, b.delta - b.overflowDelta).epsilon;

/**
 * Epsilon of several runs together, at one delta that pays for the overflow of each: a privacy filter, since later runs
 * may be chosen in view of earlier ones. It costs more than the best order would: see `shared/dp/ledger-math.ts`.
 * Runs of one ledger are taken to share every patient, so they compose; whether they do is not looked up.
 */
export function epsilonOfLifetime(runs: readonly RunSpending[], delta: number): number {
  const events = composeEvents(...runs.map((r) => r.events));
  if (events.length === 0) return 0;
  return lifetimeCost(events, delta - runs.reduce((sum, r) => sum + r.overflowDelta, 0)).epsilon;
}

/** A bound on all runs together, and whose it is, for the sentence that names it. */
export interface NamedLifetime extends LifetimeBudget {
  /** `bounds`: this site's own bounds for this run. `data set`: written in the ledger, for every run that shares it. */
  readonly of: 'bounds' | 'data set';
}

/**
 * Refuses what would go beyond a budget; asked before every step, inside the transaction that charges it.
 *
 * Guarantee: fails closed. An event the policy does not have, a count above the policy's, and a cost that is not a
 * number are refused. The rule is a privacy filter: RDP composed at orders fixed in advance, so runs may be chosen in
 * view of what earlier ones showed.
 * @param p.overflowDelta - of the run with the step in it. @param p.lifetimes - every one must hold.
 * @throws {FedError} BUDGET_EXHAUSTED naming the numbers.
 */
export function assertAffordable(p: {
  runId: string;
  next: PrivacyEvent;
  spentByRun: ReadonlyMap<string, RunSpending>;
  budget: RunBudget;
  overflowDelta: number;
  lifetimes: readonly NamedLifetime[];
}): void {
  const { runId, next, spentByRun, budget, overflowDelta, lifetimes } = p;
  const events = composeEvents(spentByRun.get(runId)?.events ?? [], [next]);
  if (budget.caps !== null) {
    const key = eventKey(next);
    const cap = budget.caps.find((e) => eventKey(e) === key)?.count ?? 0;
    const count = events.find((e) => eventKey(e) === key)?.count ?? Infinity;
    if (!(count <= cap)) throw new FedError('BUDGET_EXHAUSTED', `${count} of "${key}", the policy has ${cap}`);
  }
  const run = epsilonSpent(events, { delta: budget.delta, overflowDelta });
  if (!(run <= budget.epsilon))
    throw new FedError('BUDGET_EXHAUSTED', `this run: epsilon ${show(run)} after the step, at most ${budget.epsilon}`);
  const runs = [...new Map(spentByRun).set(runId, { events, overflowDelta }).values()];
  for (const lifetime of lifetimes) {
    const all = epsilonOfLifetime(runs, lifetime.delta);
    if (!(all <= lifetime.epsilon))
      throw new FedError(
        'BUDGET_EXHAUSTED',
        `${everyRun(lifetime)}: epsilon ${show(all)} after the step, ${most(lifetime)}`,
      );
  }
}

/** What one lifetime would have spent when a run has come to its last charged step. */
export interface WholeRun {
  readonly lifetime: NamedLifetime;
  /** By all runs so far. */
  readonly spent: number;
  /** With this run to its end. */
  readonly atItsEnd: number;
  readonly fits: boolean;
}

/**
 * Looks ahead to the end of a run: everything its policy may charge beside what other runs have spent so far. What
 * other runs that are under way will still charge is not known here.
 * @param p.runId - null for a run that has no name yet.
 */
export function wholeRun(p: {
  runId: string | null;
  spentByRun: ReadonlyMap<string, RunSpending>;
  budget: RunBudget;
  lifetimes: readonly NamedLifetime[];
}): WholeRun[] {
  const { runId, spentByRun, budget, lifetimes } = p;
  const others = [...spentByRun].filter(([id]) => id !== runId).map(([, spent]) => spent);
  const { caps, overflowDelta } = budget;
  return lifetimes.map((lifetime) => {
    const spent = epsilonOfLifetime([...spentByRun.values()], lifetime.delta);
    const atItsEnd =
      caps === null ? Infinity : epsilonOfLifetime([...others, { events: caps, overflowDelta }], lifetime.delta);
    return { lifetime, spent, atItsEnd, fits: atItsEnd <= lifetime.epsilon };
  });
}

/** @throws {FedError} BUDGET_EXHAUSTED with one sentence for every lifetime that the whole run would pass. */
export function requireWholeRun(ahead: readonly WholeRun[]): void {
  const short = ahead.filter(({ fits }) => !fits);
  if (short.length > 0) throw new FedError('BUDGET_EXHAUSTED', short.map(shortage).join('\n'));
}

/** What of a lifetime is short for a whole run, in one sentence. */
export const shortage = ({ lifetime, spent, atItsEnd }: WholeRun): string =>
  `${everyRun(lifetime)}: the whole run would bring epsilon to ${show(atItsEnd)} at delta ${lifetime.delta}, ` +
  `${most(lifetime)}; ${show(spent)} is spent already`;

const everyRun = ({ of }: NamedLifetime): string => (of === 'bounds' ? 'all runs' : 'all runs on this data set');
const most = ({ of, epsilon }: NamedLifetime): string =>
  of === 'bounds' ? `at most ${epsilon}` : `at most ${epsilon} by the ledger’s own bound`;

/** `n` of one event, as one. */
export const times = (event: PrivacyEvent, n: number): PrivacyEvent => withCount(event, event.count * n);

const show = (x: number): string => x.toPrecision(6);

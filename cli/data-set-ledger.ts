/**
 * The ledger of a data set, which several runs of a site share: each in a folder of its own, all charging one file.
 * Runs over the same patients belong on one ledger, so that what they cost is added up.
 */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { FedError } from '../shared/errors.ts';
import type { SiteBounds } from '../shared/policy/bounds.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { type LifetimeBudget, requireWholeRun, runBudgetOf, type WholeRun } from '../site-agent/core/budget.ts';
import { Ledger } from '../site-agent/shell/ledger.ts';
import { Outbox } from '../site-agent/shell/outbox.ts';

/**
 * Opens a shared ledger, or makes it. One without a bound of its own gets the first: what all runs may spend together.
 * @param first - null where there is nothing to propose.
 * @returns the bound that is written in it.
 * @throws {FedError} PARAMETER_INVALID when its folder is not there; STORE_CORRUPT.
 */
export function adoptLedger(path: string, first: LifetimeBudget | null, nowMs: number): LifetimeBudget | null {
  if (!existsSync(dirname(path)))
    throw new FedError('PARAMETER_INVALID', `there is no folder ${dirname(path)} for the ledger`);
  const ledger = new Ledger(path);
  try {
    if (ledger.lifetimeBudget() === null && first !== null) ledger.setLifetime(first, nowMs);
    return ledger.lifetimeBudget();
  } finally {
    ledger.close();
  }
}

/** The site's own lifetime; null for a run without privacy that its bounds allow. */
export const lifetimeOf = (policy: CheckedPolicy, bounds: SiteBounds): LifetimeBudget | null =>
  policy.privacy.mechanism === 'none-insecure' && bounds.allowInsecure ? null : bounds.lifetime;

/** What every lifetime would come to at the end of a run that has not begun. */
export const aheadOf = (ledger: Ledger, policy: CheckedPolicy, siteId: string, bounds: SiteBounds): WholeRun[] =>
  ledger.wholeRun({ runId: null, budget: runBudgetOf(policy, siteId), lifetime: lifetimeOf(policy, bounds) });

/**
 * Refuses, before anything is read or said, a run that has not begun and cannot be paid for to its end. One that has
 * begun goes on as far as it may. Leaves no file behind.
 * @throws {FedError} BUDGET_EXHAUSTED naming what is short, and by how much.
 */
export function requireWholeRunFits(p: {
  readonly ledger: string;
  readonly outbox: string;
  readonly policy: CheckedPolicy;
  readonly siteId: string;
  readonly bounds: SiteBounds;
}): void {
  const there = (path: string) => (existsSync(path) ? path : ':memory:');
  const outbox = new Outbox(there(p.outbox));
  const ledger = new Ledger(there(p.ledger));
  try {
    if (!outbox.hasPlans()) requireWholeRun(aheadOf(ledger, p.policy, p.siteId, p.bounds));
  } finally {
    outbox.close();
    ledger.close();
  }
}

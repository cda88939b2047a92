/** `site ledger`: what was spent on this site's patients, and what is left. */
import { existsSync } from 'node:fs';
import type { SiteBounds } from '../shared/policy/bounds.ts';
import { policySha256 } from '../shared/policy/load.ts';
import { runBudgetOf } from '../site-agent/core/budget.ts';
import { Ledger } from '../site-agent/shell/ledger.ts';
import { showEpsilon } from './output.ts';
import { boundsPath, ledgerPath, readBounds, type SiteFolder } from './site-folder.ts';

export interface LedgerReport {
  readonly siteId: string;
  readonly entries: number;
  /** Hash of the last entry: what statements to the coordinator are held to. */
  readonly head: string;
  readonly runs: readonly {
    readonly runId: string;
    readonly policySha256: string;
    readonly entries: number;
    /** Null where it is infinite, or where the policy is not the one of this folder. */
    readonly epsilon: number | null;
    readonly atMost: number | null;
    readonly delta: number;
  }[];
  readonly lifetime: { readonly spent: number | null; readonly atMost: number; readonly delta: number };
}

/** @throws {FedError} STORE_CORRUPT when the chain of entries does not hold. */
export function ledgerReport({ dir, policy, enrolment }: SiteFolder): LedgerReport {
  const bounds: SiteBounds = readBounds(boundsPath(dir));
  const path = ledgerPath(dir);
  const ledger = new Ledger(existsSync(path) ? path : ':memory:');
  try {
    const budget = runBudgetOf(policy, enrolment.siteId);
    const all = ledger.entries();
    const runs = [...new Set(all.map((e) => e.runId))].map((runId) => {
      const of = all.find((e) => e.runId === runId)!;
      const spent = ledger.spent(runId, budget);
      const ours = of.policySha256 === policySha256(policy);
      return {
        runId,
        policySha256: of.policySha256,
        entries: spent.entries,
        epsilon: ours && Number.isFinite(spent.epsilon) ? spent.epsilon : null,
        atMost: ours && Number.isFinite(budget.epsilon) ? budget.epsilon : null,
        delta: budget.delta,
      };
    });
    const spent = ledger.lifetime(bounds.lifetime.delta);
    const { size, head } = ledger.head();
    const lifetime = { spent: Number.isFinite(spent) ? spent : null, atMost: bounds.lifetime.epsilon };
    return {
      siteId: enrolment.siteId,
      entries: size,
      head,
      runs,
      lifetime: { ...lifetime, delta: bounds.lifetime.delta },
    };
  } finally {
    ledger.close();
  }
}

export function ledgerText(r: LedgerReport): string {
  const { spent, atMost, delta } = r.lifetime;
  const left = spent === null ? 'nothing' : `epsilon ${showEpsilon(Math.max(0, atMost - spent))}, roughly`;
  return [
    `${r.siteId}: ${r.entries} entries, head ${r.head}`,
    ...r.runs.map((run) => {
      const of = run.atMost === null ? '' : ` of ${run.atMost}`;
      return `  run ${run.runId}: epsilon ${showEpsilon(run.epsilon)}${of} at delta ${run.delta}, ${run.entries} entries`;
    }),
    `all runs: epsilon ${showEpsilon(spent)} of ${atMost} at delta ${delta}; ${left} remains`,
    'Epsilons of several runs do not simply add up: the sum above is composed by RDP and is what the bounds are held to.',
  ].join('\n');
}

/** `site ledger`: what was spent on this site's patients, by both accountants, and what is left. */
import { existsSync } from 'node:fs';
import { pldAccountant, RELATION } from '../shared/dp/accountant.ts';
import { composeEvents, type PrivacyEvent, withCount } from '../shared/dp/event.ts';
import { FedError } from '../shared/errors.ts';
import { policySha256 } from '../shared/policy/load.ts';
import {
  epsilonOfLifetime,
  type LifetimeBudget,
  type RunBudget,
  runBudgetOf,
  shortage,
} from '../site-agent/core/budget.ts';
import { Ledger } from '../site-agent/shell/ledger.ts';
import { aheadOf } from './data-set-ledger.ts';
import { showEpsilon, showRemaining } from '../shared/dp/show-epsilon.ts';
import { boundsPath, readBounds, type SiteFolder } from './site-folder.ts';

export interface RunReport {
  readonly runId: string;
  readonly policySha256: string;
  readonly entries: number;
  /** By RDP, which the budget is held by, at `delta`; null where it is infinite. */
  readonly epsilon: number | null;
  /** By loss distributions, tighter; null where they have no bound. */
  readonly tight: number | null;
  /** Null where the policy is not the one of this folder, or has no mechanism. */
  readonly atMost: number | null;
  /** The policy's where it is the one of this folder, else that of the lifetime. */
  readonly delta: number;
}

export interface LifetimeReport {
  /** `bounds`: of this folder, for its run. `data set`: in the ledger, for all runs that share it. */
  readonly of: 'bounds' | 'data set';
  /** All runs together, by the filter the bound is held by; null where it is infinite. */
  readonly spent: number | null;
  readonly atMost: number;
  readonly delta: number;
  readonly remains: number;
  /** Steps of this folder's policy that would still be paid for; null without a folder, or without a mechanism. */
  readonly stepsLeft: number | null;
}

export interface LedgerReport {
  /** Null when a ledger is looked at without a site's folder. */
  readonly siteId: string | null;
  readonly file: string;
  readonly entries: number;
  /** Hash of the last entry: what statements to the coordinator are held to. */
  readonly head: string;
  readonly relation: typeof RELATION;
  readonly runs: readonly RunReport[];
  /** Every bound that holds; the least of them stops. */
  readonly lifetimes: readonly LifetimeReport[];
  /** All runs together by loss distributions; no filter, and nothing is held by it. */
  readonly tight: { readonly epsilon: number | null; readonly delta: number };
  /** What is short for a whole run of this folder's policy, one sentence each; empty when it fits or has begun. */
  readonly shortages: readonly string[];
}

const finite = (x: number): number | null => (Number.isFinite(x) ? x : null);

/**
 * @param o.file - a ledger to look at without a folder.
 * @throws {FedError} STORE_CORRUPT when the chain of entries does not hold; PARAMETER_INVALID without a file.
 */
export function ledgerReport(o: { readonly folder: SiteFolder } | { readonly file: string }): LedgerReport {
  const folder = 'folder' in o ? o.folder : null;
  const file = 'folder' in o ? o.folder.ledger : o.file;
  if (folder === null && !existsSync(file)) throw new FedError('PARAMETER_INVALID', `there is no ledger ${file}`);
  const ledger = new Ledger(existsSync(file) ? file : ':memory:');
  try {
    return reportOf(ledger, file, folder);
  } finally {
    ledger.close();
  }
}

/**
 * Writes a bound on all runs into the ledger: an operator's decision, which stays in the chain.
 * @param delta - as before where absent; where there was none, as the folder's bounds have it.
 * @throws {FedError} PARAMETER_INVALID
 */
export function raiseLifetime(
  o: { readonly folder: SiteFolder } | { readonly file: string },
  epsilon: number,
  delta: number | undefined,
  nowMs: number,
): void {
  const file = 'folder' in o ? o.folder.ledger : o.file;
  if (!('folder' in o) && !existsSync(file)) throw new FedError('PARAMETER_INVALID', `there is no ledger ${file}`);
  const ledger = new Ledger(file);
  try {
    const bounds = 'folder' in o ? readBounds(boundsPath(o.folder.dir)).lifetime.delta : undefined;
    const at = delta ?? ledger.lifetimeBudget()?.delta ?? bounds;
    if (at === undefined) throw new FedError('PARAMETER_INVALID', 'the ledger has no bound yet: name --delta too');
    ledger.setLifetime({ epsilon, delta: at }, nowMs);
  } finally {
    ledger.close();
  }
}

function reportOf(ledger: Ledger, file: string, folder: SiteFolder | null): LedgerReport {
  const bounds = folder && readBounds(boundsPath(folder.dir));
  const budget = folder && runBudgetOf(folder.policy, folder.enrolment.siteId);
  const all = ledger.entries();
  const dataSet = ledger.lifetimeBudget();
  const delta = dataSet?.delta ?? bounds?.lifetime.delta ?? 1e-5;
  const runs = [...new Set(all.map((e) => e.runId))].map((runId) => {
    const { policySha256: policy } = all.find((e) => e.runId === runId)!;
    const own = folder !== null && policy === policySha256(folder.policy) ? budget : null;
    return runReport(ledger, runId, policy, own, delta);
  });
  const step = budget?.caps?.at(-1) ?? null;
  const lifetimes = [
    ...(bounds ? [lifetimeReport(ledger, 'bounds', bounds.lifetime, step)] : []),
    ...(dataSet ? [lifetimeReport(ledger, 'data set', dataSet, step)] : []),
  ];
  const begun = folder !== null && all.some((e) => e.policySha256 === policySha256(folder.policy));
  const ahead = folder && bounds && !begun ? aheadOf(ledger, folder.policy, folder.enrolment.siteId, bounds) : [];
  const { events, overflowDelta } = ledger.spending();
  const { size, head } = ledger.head();
  return {
    siteId: folder?.enrolment.siteId ?? null,
    file,
    entries: size,
    head,
    relation: RELATION,
    runs,
    lifetimes,
    tight: { epsilon: finite(tightEpsilon(events, delta - overflowDelta)), delta },
    shortages: ahead.filter(({ fits }) => !fits).map(shortage),
  };
}

const tightEpsilon = (events: readonly PrivacyEvent[], delta: number): number =>
  pldAccountant.epsilon(events, delta).epsilon;

/** @param own - the budget of this folder's policy, when the run is one of it. */
function runReport(
  ledger: Ledger,
  runId: string,
  policy: string,
  own: RunBudget | null,
  lifetimeDelta: number,
): RunReport {
  const { events, overflowDelta } = ledger.spending(runId);
  const at = own ?? { delta: lifetimeDelta, overflowDelta };
  const { epsilon, entries } = ledger.spent(runId, at);
  return {
    runId,
    policySha256: policy,
    entries,
    epsilon: finite(epsilon),
    tight: finite(tightEpsilon(events, at.delta - Math.max(overflowDelta, at.overflowDelta))),
    atMost: own === null ? null : finite(own.epsilon),
    delta: at.delta,
  };
}

function lifetimeReport(
  ledger: Ledger,
  of: 'bounds' | 'data set',
  { epsilon: atMost, delta }: LifetimeBudget,
  step: PrivacyEvent | null,
): LifetimeReport {
  const spent = ledger.lifetime(delta);
  return {
    of,
    spent: finite(spent),
    atMost,
    delta,
    remains: Math.max(0, atMost - spent),
    stepsLeft: step && stepsLeft(ledger, step, { epsilon: atMost, delta }),
  };
}

/** Most steps of this kind that keep within a lifetime, up to a million. */
function stepsLeft(ledger: Ledger, step: PrivacyEvent, { epsilon, delta }: LifetimeBudget): number {
  const spent = ledger.spending();
  const holds = (steps: number) => {
    const events = steps === 0 ? spent.events : composeEvents(spent.events, [withCount(step, steps)]);
    return epsilonOfLifetime([{ ...spent, events }], delta) <= epsilon;
  };
  let [low, high] = [0, 1_000_001];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) low = middle;
    else high = middle;
  }
  return low;
}

export function ledgerText(r: LedgerReport): string {
  return [
    `${r.siteId ?? r.file}: ${r.entries} entries, head ${r.head}`,
    ...r.runs.map((run) => {
      const of = run.atMost === null ? '' : ` of ${run.atMost}`;
      const tight = run.tight === null ? '' : ` (tight: ${showEpsilon(run.tight)})`;
      return `  run ${run.runId}: epsilon ${showEpsilon(run.epsilon)}${of}${tight} at delta ${run.delta}, ${run.entries} entries`;
    }),
    ...r.lifetimes.map((l) => {
      const whose = l.of === 'bounds' ? 'by the bounds of this folder' : 'by the bound in the ledger';
      const steps = l.stepsLeft === null ? '' : `, ${l.stepsLeft} steps of this policy`;
      return `all runs: epsilon ${showEpsilon(l.spent)} of ${l.atMost} at delta ${l.delta} ${whose}; ${showRemaining(l.remains)} remains, roughly${steps}`;
    }),
    r.tight.epsilon === null
      ? 'The tight accountant has no bound for these events.'
      : `The tight accountant, which nothing is held by, has ${showEpsilon(r.tight.epsilon)} at delta ${r.tight.delta} for all runs together.`,
    ...r.shortages.map((sentence) => `Short for a whole run: ${sentence}.`),
    'For one patient added or removed. All runs of a ledger are taken to share their patients: they are composed, by a',
    'filter on Rényi divergences, and that is what the bounds are held to.',
  ].join('\n');
}

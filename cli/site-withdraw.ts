/** `site withdraw`: a patient is left out from now on; what was paid stays paid, and what a model has learnt stays learnt. */
import { type WithdrawalReason, Withdrawals, withdrawalsPath } from '../site-agent/shell/withdrawals.ts';
import { showEpsilon } from '../shared/dp/show-epsilon.ts';
import type { SiteFolder } from './site-folder.ts';
import { type LedgerReport, ledgerReport } from './site-ledger.ts';

export interface WithdrawalReport {
  /** Private: for this site's operator. */
  readonly patient: string;
  readonly what: 'withdrawn' | 'restored';
  readonly reason: WithdrawalReason;
  /** False: it was so already. */
  readonly changed: boolean;
  readonly runs: LedgerReport['runs'];
  readonly lifetimes: LedgerReport['lifetimes'];
}

/** Durable when this returns. Nothing is sent; what the site signs later carries a commitment to the list, which says nothing without its salt. */
export function withdrawPatient(
  folder: SiteFolder,
  o: { readonly patient: string; readonly issuer: string; readonly reason: WithdrawalReason; readonly undo: boolean },
  nowMs: number,
): WithdrawalReport {
  const what = o.undo ? 'restored' : 'withdrawn';
  const { patient, issuer, reason } = o;
  const list = new Withdrawals(withdrawalsPath(folder.ledger), null);
  const changed = list.note({ patient, issuer, reason, what }, nowMs);
  const { runs, lifetimes } = ledgerReport({ folder });
  return { patient, what, reason, changed, runs, lifetimes };
}

export function withdrawalText(r: WithdrawalReport): string {
  if (!r.changed) return `Nothing changed: the patient ${r.what === 'withdrawn' ? 'was out' : 'was not out'} already.`;
  if (r.what === 'restored')
    return 'The patient may be drawn again from the next step on. What was computed without the patient stays as it is.';
  const spent = r.runs.map((run) => {
    const stated =
      run.epsilon === null ? 'no finite epsilon' : `epsilon ${showEpsilon(run.epsilon)} at delta ${run.delta}`;
    return `  run ${run.runId}: ${run.entries} entries, ${stated}`;
  });
  const lifetimes = r.lifetimes.map(
    (l) => `  all runs together: epsilon ${l.spent === null ? 'infinite' : showEpsilon(l.spent)} at delta ${l.delta}`,
  );
  return [
    'The patient is left out from the next step on, of this run and of every run on this ledger.',
    '',
    spent.length === 0
      ? 'No run has used this site’s data yet: no model has learnt from the patient.'
      : 'What was computed before stays. The generator and this site’s discriminator may have learnt from the patient, and ' +
        'nothing can be taken out of them again. How much they can say about the patient is bounded by what was paid:',
    ...spent,
    ...(spent.length === 0 ? [] : lifetimes),
    '',
    'The charge stays: no epsilon comes back. Images that were released, and the generator where it was handed out, stay ' +
      'with those who have them.',
    ...(r.reason === 'other-site'
      ? ['', 'What the other site spends on the patient adds to the sums above, which this site does not know.']
      : []),
    '',
    'Nobody was told: that somebody withdrew is a fact about one patient. It is in a list beside the ledger, here alone; what ' +
      'this site signs from now on is tied to that list, and veilgan site withdrawals proves it to an auditor who sits here.',
    'The images are where they were; deleting them is a decision of its own. If the data name the patient in another way, ' +
      'nothing changes: veilgan site check counts who is left out.',
  ].join('\n');
}

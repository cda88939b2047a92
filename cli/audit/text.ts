/** A report as a person reads it in a terminal. */
import type { AuditReport, Verdict } from '../../shared/audit/verify/report.ts';
import { showEpsilon } from '../../shared/dp/show-epsilon.ts';
import { EXIT } from '../exit-codes.ts';

/** What the process exits with: these numbers never change meaning. */
export const exitOf: Record<Verdict, number> = { verified: EXIT.ok, incomplete: EXIT.incomplete, failed: EXIT.invalid };

const HEADLINE: Record<Verdict, string> = {
  verified: 'VERIFIED: everything that can be checked was checked, and holds',
  incomplete: 'INCOMPLETE: nothing is wrong in what could be checked, and not everything could be',
  failed: 'FAILED',
};

export function reportText(r: AuditReport): string {
  const { log, policy, generator } = r;
  const lines = [
    HEADLINE[r.verdict],
    `run ${r.runId ?? 'unknown'}, ${log.finished ?? 'not finished'}; policy ${policy.id ?? 'unread'} ${policy.sha256 ?? ''}`,
    `log: ${log.entries} entries under root ${log.root}; ${log.checkpoints} checkpoints, ${log.covered} entries under ${policy.witnessQuorum} cosignatures; ${log.signatures} signatures checked`,
    `coordinator's key ${r.keys.coordinator}${r.keys.from === 'folder' ? ' (from the folder itself: compare it)' : ''}`,
    `generator: ${generator.rounds} rounds, ${generator.replayed} replayed, ${generator.chained} chained, not recomputed${generator.why === null ? '' : ` (${generator.why})`}`,
    ...r.sites.map(
      (s) =>
        `  ${s.siteId}: epsilon ${s.series.length === 0 ? 'not stated' : `${showEpsilon(s.epsilon)} stated${s.recomputed ? ' and recomputed' : ''}`}${s.tightEpsilon === null ? '' : `, ${showEpsilon(s.tightEpsilon)} by the tight accountant`}, ${s.answers} answers${s.revoked ? ', revoked' : ''}`,
    ),
    ...r.problems.map((p) => `${p.entry === null ? 'folder' : `entry ${p.entry}`}: ${p.code}: ${p.detail}`),
    ...(r.moreProblems > 0 ? [`and ${r.moreProblems} more`] : []),
    ...r.gaps.map((gap) => `not checked: ${gap}`),
    ...r.notes.map((note) => `note: ${note}`),
  ];
  return lines.join('\n');
}

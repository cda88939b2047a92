/**
 * `audit report`: one page for a person who has to answer for it. Self-contained: no script, no font, no picture from
 * elsewhere. Everything on it is from the audit's own report.
 */
import type { AttemptSummary } from '../../shared/audit/verify/round-audit.ts';
import type { AuditReport, Verdict } from '../../shared/audit/verify/report.ts';
import { epsilonChart, presenceChart } from './charts.ts';

export const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const p = (text: string): string => `<p>${escape(text)}</p>`;
const number = (x: number | null, digits = 3): string => (x === null ? 'infinite' : String(Number(x.toFixed(digits))));
const when = (timeMs: number): string => new Date(timeMs).toISOString().replace('T', ' ').slice(0, 16);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return p('None.');
  const cells = (tag: string, row: readonly string[]) => row.map((c) => `<${tag}>${escape(c)}</${tag}>`).join('');
  return `<table><tr>${cells('th', head)}</tr>${rows.map((r) => `<tr>${cells('td', r)}</tr>`).join('')}</table>`;
}

const VERDICT: Record<Verdict, string> = {
  verified: 'Verified. Everything that can be checked was checked, and holds.',
  incomplete: 'Incomplete. Nothing was found wrong, and not everything could be checked.',
  failed: 'Failed. What is wrong is listed first.',
};

/** The page. */
export function reportHtml(r: AuditReport): string {
  const sections: [string, string][] = [
    ['What is wrong', problems(r)],
    ['What was promised', promised(r)],
    ['What happened', happened(r)],
    ['What it cost the patients of each site', cost(r)],
    ['Who was absent, and when', absences(r)],
    ['Every refusal', refusals(r)],
    ['The release gate', gate(r)],
    ['What left', releases(r)],
    ['What was done by hand', byHand(r)],
    ['Keys', keys(r)],
    ['What could not be verified', unverified(r)],
  ];
  const body = sections
    .filter(([title]) => title !== 'What is wrong' || r.problems.length > 0)
    .map(([title, content]) => `<h2>${escape(title)}</h2>${content}`)
    .join('\n');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Audit of run ${escape(r.runId ?? 'unknown')}</title>
<style>${STYLE}</style></head>
<body><h1>Audit of a training run</h1>
<p class="verdict ${r.verdict}">${escape(VERDICT[r.verdict])}</p>
${p(`Run ${r.runId ?? 'unknown'}. Checked by ${r.verifier}, offline, from the exported folder.`)}
${body}
</body></html>
`;
}

function problems(r: AuditReport): string {
  const rows = r.problems.map((x) => [x.entry === null ? 'folder' : String(x.entry), x.code, x.detail]);
  const more = r.moreProblems > 0 ? p(`And ${r.moreProblems} more.`) : '';
  return table(['entry', 'what', 'detail'], rows) + more;
}

function promised({ policy }: AuditReport): string {
  if (policy.id === null)
    return p(`Policy ${policy.sha256 ?? 'none'}; it could not be read, so nothing is said of it.`);
  const claim =
    policy.epsilon === null
      ? 'This policy has NO privacy mechanism: epsilon is infinite at every site.'
      : `At most epsilon ${policy.epsilon} at delta ${policy.delta}, for one patient of a site added or removed, in at most ${policy.maxSteps} private steps.`;
  const sum =
    policy.scheme === 'clear'
      ? 'The coordinator could read every site’s noised update.'
      : 'The coordinator could read sums alone, within the collusion bounds of the policy.';
  const quorum =
    policy.witnessQuorum === 0
      ? 'No cosignatures are asked for: that all sites were shown one log is not promised.'
      : `No round may rest on a log that fewer than ${policy.witnessQuorum} sites have cosigned.`;
  return [
    p(`Policy ${policy.id}, version ${policy.version}, SHA-256 ${policy.sha256}.`),
    p(claim),
    p(`Aggregation is "${policy.scheme}", placement "${policy.placement}". ${sum}`),
    p(quorum),
    p(`${policy.rounds} rounds were planned.`),
  ].join('');
}

function happened(r: AuditReport): string {
  const { log, generator, attempts } = r;
  const voids = attempts.filter((a) => typeof a.outcome === 'object').length;
  const first = attempts[0];
  const last = attempts.at(-1);
  const span =
    first && last
      ? ` The first plan is of ${when(first.timeMs)}, the last of ${when(last.timeMs)} (UTC, by the coordinator’s clock, which proves nothing).`
      : '';
  return [
    p(
      `${generator.rounds} rounds were closed in ${attempts.length} attempts, ${voids} of them void. The run is ${log.finished ?? 'not finished'}.${span}`,
    ),
    p(
      `The log has ${log.entries} entries under root ${log.root}. ${log.covered} of them lie under a checkpoint with ${r.policy.witnessQuorum} cosignatures. ${log.signatures} signatures were checked.`,
    ),
    p(
      `The generator’s digests are chained from the first round to the last, ${generator.sha256}. ${generator.replayed} steps were taken again from exported sums and came out the same; ${generator.chained} are chained, not recomputed${generator.why === null ? '' : `: ${generator.why}`}.`,
    ),
  ].join('');
}

function cost(r: AuditReport): string {
  const rows = r.sites.map((s) => [
    s.siteId,
    s.series.length === 0 ? 'nothing stated' : number(s.epsilon),
    s.recomputed && s.series.length > 0 ? 'yes' : 'no',
    s.tightEpsilon === null ? '–' : number(s.tightEpsilon),
    String(s.ledgerEntries),
    String(s.answers),
  ]);
  return [
    p(
      `Epsilon${r.policy.delta === null ? '' : ` at delta ${r.policy.delta}`}, neighbours: ${r.sites[0]?.relation ?? 'add or remove one patient'}. “Stated” is what the site’s own ledger says, signed by the site, by Rényi accounting; “recomputed” means that its events give the same figure here. The tight accountant bounds the same events from above.`,
    ),
    table(['site', 'stated', 'recomputed', 'tight', 'ledger entries', 'answers'], rows),
    epsilonChart(r),
  ].join('');
}

function absences(r: AuditReport): string {
  const rows = r.attempts.flatMap((a) =>
    Object.entries(a.absent).map(([siteId, why]) => [
      name(a),
      siteId,
      why === 'deadline' ? 'let the deadline pass' : why,
    ]),
  );
  const shown = rows.slice(0, 500);
  const more = rows.length > shown.length ? p(`And ${rows.length - shown.length} more; --json has them all.`) : '';
  return presenceChart(r) + table(['round', 'site', 'why'], shown) + more;
}

function refusals(r: AuditReport): string {
  const rows = r.attempts.flatMap((a) => [
    ...a.declined.map((d) => [String(d.entry), name(a), d.siteId, `the site declined: ${d.code}`]),
    ...a.refused.map((d) => [String(d.entry), name(a), d.siteId, `refused by the coordinator: ${d.code}`]),
    ...(typeof a.outcome === 'object' ? [[String(a.entry), name(a), 'all', `void: ${a.outcome.void}`]] : []),
  ]);
  return table(['entry', 'round', 'site', 'what'], rows);
}

function gate({ gate: g }: AuditReport): string {
  if (g === null) return p('No site was asked whether images may leave.');
  const { verdict } = g;
  const said =
    verdict === null
      ? 'There is no verdict yet.'
      : `The coordinator’s verdict, in entry ${verdict.entry}: ${verdict.passed ? 'nothing is against a release' : 'refused'}.`;
  const bounds = (verdict?.findings ?? []).map((f) => [f.bound, f.holds ? 'holds' : 'refuses', f.say]);
  const words = g.answers.map(({ entry, siteId, words: w }) =>
    w.kind === 'declined' ? [`${entry}`, siteId, w.code, ''] : [`${entry}`, siteId, w.memorisation, w.membership],
  );
  const signed = g.signOffs.map((s) => [`${s.entry}`, s.name]);
  return [
    p(`Candidate ${g.candidateSha256}, asked about in entry ${g.entry}. ${said}`),
    table(['bound', '', 'what was found'], bounds),
    table(['entry', 'site', 'copies above the bound?', 'members told above the bound?'], words),
    signed.length === 0 ? p('Nobody has signed.') : table(['entry', 'signed by'], signed),
  ].join('');
}

function releases(r: AuditReport): string {
  if (r.releases.length === 0)
    return '<p>No release is in the log. Whoever holds the generator can draw images without one, as a demonstration does in its own folder; no log shows that.</p>';
  const rows = r.releases.map((x) => [String(x.entry), String(x.images), x.manifestSha256, x.manifest]);
  return table(['entry', 'images', 'manifest', 'manifest in the folder'], rows);
}

function byHand(r: AuditReport): string {
  const rows = [
    ...r.operatorActions.map((a) => [String(a.entry), when(a.timeMs), a.action, a.by]),
    ...r.software.map((s) => [String(s.entry), '', 'software of the coordinator', s.software]),
  ].sort((a, b) => Number(a[0]) - Number(b[0]));
  return table(['entry', 'when', 'what', 'by'], rows);
}

function keys(r: AuditReport): string {
  const from =
    r.keys.from === 'given'
      ? 'The keys were given to the auditor by another way than the folder.'
      : 'The keys are the folder’s own: compare these fingerprints with the coordinator and the sites before you rely on this page.';
  const rows = r.sites.map((s) => [
    s.siteId,
    s.kids.join(', '),
    s.revoked ? 'revoked' : 'active',
    s.software ?? 'never said',
  ]);
  return p(from) + p(`Coordinator: ${r.keys.coordinator}`) + table(['site', 'fingerprint', 'status', 'software'], rows);
}

function unverified(r: AuditReport): string {
  const always = [
    'That the coordinator wrote down everything: an entry that was never written is not missed.',
    'That a site’s images are what it says, and that its software is the one it names.',
    'That a site’s ledger holds everything that was done to its data outside this software.',
    'That no two sites belong to one owner: a quorum counts keys.',
  ];
  const list = (items: readonly string[]) => `<ul>${items.map((i) => `<li>${escape(i)}</li>`).join('')}</ul>`;
  const own = [...r.gaps, ...r.notes];
  return (own.length === 0 ? '' : list(own)) + p('No log can show:') + list(always);
}

const name = (a: AttemptSummary): string =>
  a.attempt === 0 ? String(a.round) : `${a.round}, attempt ${a.attempt + 1}`;

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}
h1{margin-bottom:.5rem}h2{margin-top:2.2rem;border-bottom:1px solid #ddd;padding-bottom:.2rem}
p,td{overflow-wrap:anywhere}table{border-collapse:collapse;margin:.8rem 0;font-size:.92rem}
td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;vertical-align:top}th{background:#f4f4f4}
.verdict{font-size:1.15rem;font-weight:600;padding:.7rem 1rem;border-left:.4rem solid}
.verified{background:#e8f5ec;border-color:#1d7a3c}.incomplete{background:#fdf5e0;border-color:#a06c00}
.failed{background:#fdeaea;border-color:#b3261e}svg{max-width:100%;height:auto;margin:.6rem 0}
@media print{body{max-width:none;margin:0}h2{break-after:avoid}}`;

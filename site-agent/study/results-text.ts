/** Results of a study as a table for statisticians and a page for people. Pure. */
import type { Estimate } from '../../shared/metrics/reader-bootstrap.ts';
import type { Interval } from '../../shared/metrics/proportion.ts';
import type { Agreement, KindShares, Reading, StudyResults } from './results.ts';
import { NO_CLASS, type Study } from './study.ts';

const COLUMNS = ['reader', 'position', 'practice', 'item', 'true_kind', 'true_class', 'kind', 'quality', 'class', 'took_ms', 'answered_at']; // prettier-ignore

/** One line an answer (RFC 4180). Pictures go by their ids; what is not asked is empty. */
export function answersCsv(study: Study, readings: readonly Reading[]): string {
  const rows = readings.map(({ reader, position, item, answer, timeMs }) => [
    reader,
    String(position),
    String(item.practice),
    item.id,
    item.kind,
    study.classes[item.label],
    answer.kind ?? '',
    answer.quality === undefined ? '' : String(answer.quality),
    answer.label === undefined ? '' : answer.label === NO_CLASS ? 'cannot-tell' : study.classes[answer.label],
    String(answer.tookMs),
    new Date(timeMs).toISOString(),
  ]);
  return csv([COLUMNS, ...rows]);
}

const FIGURE_COLUMNS = ['figure', 'readers', 'pictures', 'class', 'answers', 'value', 'low_95', 'high_95'];
const SHARES = ['accuracy', 'sensitivity', 'specificity'] as const;

/**
 * One line a figure, with its interval (RFC 4180): every figure of the summary. Shares are in [0, 1]; what is not defined, or
 * counted otherwise, is empty.
 */
export function figuresCsv(r: StudyResults): string {
  const numbers = ({ value, low, high }: Estimate): string[] => [value, low, high].map((x) => (Number.isFinite(x) ? String(x) : '')); // prettier-ignore
  const asked = { accuracy: 'all', sensitivity: 'synthetic', specificity: 'real' };
  const shares = <T>(who: string, kind: KindShares<T>, of: (share: T, name: (typeof SHARES)[number]) => string[]) =>
    SHARES.map((name) => [name, who, asked[name], '', ...of(kind[name], name)]);
  const answered = (name: (typeof SHARES)[number]) => r.readers.reduce((sum, { kind }) => sum + (kind?.[name].of ?? 0), 0); // prettier-ignore
  const kappa = (name: string, who: string, a: Agreement | undefined) =>
    a === undefined ? [] : [[`kappa ${name}`, who, 'all', '', String(a.cases), ...numbers(a.kappa)]];
  return csv([
    FIGURE_COLUMNS,
    ...r.readers.flatMap(({ reader, kind }) =>
      kind === null ? [] : shares(reader, kind, (s) => [String(s.of), ...numbers({ ...s, value: s.share })]),
    ),
    ...(r.kind === null ? [] : shares('all', r.kind, (s, name) => [String(answered(name)), ...numbers(s)])),
    ...r.quality.map((q) => ['quality', 'all', q.kind, '', String(q.counts.reduce((a, b) => a + b, 0)), ...numbers(q.mean)]), // prettier-ignore
    ...(r.qualityGap === null
      ? []
      : [['quality, real less synthetic', 'all', 'all', '', '', ...numbers(r.qualityGap)]]),
    ...r.classes.map((c) => ['class named rightly', 'all', c.kind, c.name, '', ...numbers(c.share)]),
    ...r.pairs.flatMap((p) => {
      const who = p.readers.join(' and ');
      return [...kappa('kind', who, p.kind), ...kappa('quality', who, p.quality), ...kappa('class', who, p.class)];
    }),
    ...(r.pairs.length > 1 ? [...kappa('kind', 'all', r.all.kind), ...kappa('class', 'all', r.all.class)] : []),
  ]);
}

const csv = (rows: readonly (readonly string[])[]): string => rows.map((row) => `${row.map(cell).join(',')}\r\n`).join(''); // prettier-ignore

/** Quoted where it must be; what a spreadsheet would compute is made text. */
const cell = (text: string): string => {
  const safe = /^[=+\-@\t]/.test(text) && !/^-?\d+(\.\d+)?(e-\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

const percent = (x: number): string => (Number.isNaN(x) ? 'none' : `${(100 * x).toFixed(1)} %`);
const between = ({ low, high }: Interval, show: (x: number) => string): string => `${show(low)} to ${show(high)}`;
const two = (x: number): string => (Number.isNaN(x) ? 'not defined' : x.toFixed(2));
const share = (e: Estimate): string => `${percent(e.value)} (${between(e, percent)})`;
const mean = (e: Estimate): string => `${two(e.value)} (${between(e, two)})`;
const agreement = (a: Agreement | undefined): string =>
  a === undefined ? '' : `${two(a.kappa.value)}${Number.isNaN(a.kappa.low) ? '' : ` (${between(a.kappa, two)})`}, ${a.cases} pictures`; // prettier-ignore

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  `| ${head.join(' | ')} |`,
  `|${head.map(() => ' --- |').join('')}`,
  ...rows.map((row) => `| ${row.map((x) => x.replaceAll('|', '\\|')).join(' | ')} |`),
  '',
];

/** The summary in Markdown. */
export function summaryText(study: Study, r: StudyResults): string {
  const scored = study.items.filter((item) => !item.practice);
  const of = (kind: string): number => scored.filter((item) => item.kind === kind).length;
  const unfinished = r.readers.filter(({ answered, of: all }) => answered < all);
  return [
    '# Reader study',
    '',
    `${scored.length} pictures of ${study.size} × ${study.size} pixels, ${of('real')} real and ${of('synthetic')} synthetic; ${r.readers.length} readers; seed ${study.seed}. Intervals are of 95 %.`, // prettier-ignore
    '',
    ...(unfinished.length === 0 ? [] : [`**Not finished:** ${unfinished.map((x) => `${x.reader} ${x.answered} of ${x.of}`).join(', ')}. Figures are of what was answered.`, '']), // prettier-ignore
    ...kindText(r),
    ...qualityText(r),
    ...classText(r),
    ...agreementText(r),
    ...METHODS,
  ].join('\n');
}

function kindText(r: StudyResults): string[] {
  if (r.kind === null) return [];
  const rows = r.readers.flatMap(({ reader, kind }) => kind === null ? [] : [[reader, ...[kind.accuracy, kind.sensitivity, kind.specificity].map((s) => `${s.right} of ${s.of}, ${percent(s.share)} (${between(s, percent)})`)]]); // prettier-ignore
  const { accuracy, sensitivity, specificity } = r.kind;
  const verdict =
    accuracy.low > 0.5
      ? 'Readers tell real from synthetic better than a coin: its interval lies above 50 %.'
      : accuracy.high < 0.5
        ? 'Readers are right less often than a coin: they see a difference and take it the wrong way round.'
        : 'The interval holds 50 %: that readers see a difference is not shown. That they see none is not shown either; the interval says how large a difference may be.'; // prettier-ignore
  return [
    '## Real or synthetic',
    '',
    ...table(
      ['reader', 'accuracy', 'sensitivity (synthetic found)', 'specificity (real accepted)'],
      [...rows, ['all', share(accuracy), share(sensitivity), share(specificity)]],
    ),
    verdict,
    '',
  ];
}

function qualityText(r: StudyResults): string[] {
  if (r.quality.length === 0) return [];
  return [
    '## Quality, 1 to 5',
    '',
    ...table(['pictures', 'mean', '1', '2', '3', '4', '5'], r.quality.map((q) => [q.kind, mean(q.mean), ...q.counts.map(String)])), // prettier-ignore
    ...(r.qualityGap === null ? [] : [`Real less synthetic: ${mean(r.qualityGap)}.`, '']),
  ];
}

function classText(r: StudyResults): string[] {
  if (r.classes.length === 0) return [];
  return [
    '## Class, named rightly',
    '',
    ...table(['class', 'pictures', 'share'], r.classes.map((c) => [c.name, c.kind, share(c.share)])), // prettier-ignore
    '"Cannot tell" counts as not right.',
    '',
  ];
}

function agreementText(r: StudyResults): string[] {
  if (r.pairs.length === 0) return [];
  const rows = r.pairs.map((p) => [p.readers.join(' and '), agreement(p.kind), agreement(p.quality), agreement(p.class)]); // prettier-ignore
  const all = r.pairs.length > 1 ? [['all (Fleiss)', agreement(r.all.kind), '', agreement(r.all.class)]] : [];
  return ['## Agreement of readers, kappa', '', ...table(['readers', 'real or synthetic', 'quality (quadratic weights)', 'class'], [...rows, ...all])]; // prettier-ignore
}

const METHODS = [
  '## How it was computed',
  '',
  '- One reader: Clopper and Pearson’s exact interval.',
  '- All readers: shares over all answers. Readers and pictures are both drawn again, 2,000 times (Owen’s pigeonhole bootstrap), real and',
  '  synthetic ones apart; the interval is Wilson’s at the number of independent answers that have that variance. Means and',
  '  differences: percentiles of the same draws. With fewer than about five readers it says little about other readers.',
  '- Kappa of two: Cohen, with quadratic weights for quality. Of all: Fleiss. Intervals: pictures drawn again, readers as they are.',
  '- Nothing is corrected for the number of figures looked at.',
  '',
];

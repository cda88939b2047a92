/** The two pictures of an audit report, as inline SVG. */
import { showEpsilon } from '../../shared/dp/show-epsilon.ts';
import type { AttemptSummary } from '../../shared/audit/verify/round-audit.ts';
import type { AuditReport } from '../../shared/audit/verify/report.ts';

const COLOURS = ['#2459a6', '#c0571a', '#2b7d4f', '#8a3b8f', '#a3232f', '#6b6b1e', '#1b7f8c', '#5b5b5b'];
const WIDTH = 860;
const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
const f = (x: number): string => x.toFixed(1);

/** Epsilon over rounds: one line a site, and the policy's bound. */
export function epsilonChart({ sites, policy, attempts }: AuditReport): string {
  const stated = sites.filter((s) => s.series.some((x) => x.epsilon !== null));
  if (stated.length === 0) return '';
  const [left, right, top, height] = [54, 190, 16, 250];
  const rounds = Math.max(1, ...attempts.map((a) => a.round));
  const most = Math.max(...stated.flatMap((s) => s.series.map((x) => x.epsilon ?? 0)));
  const bound = policy.epsilon;
  // The bound is drawn where it does not push every line to the floor.
  const high = bound !== null && bound < 6 * most ? Math.max(most, bound) : most;
  const ceiling = high > 0 ? high * 1.08 : 1;
  const x = (round: number) => left + (round / rounds) * (WIDTH - left - right);
  const y = (epsilon: number) => top + height * (1 - epsilon / ceiling);
  const ticks = steps(ceiling);
  const grid = ticks.map(
    (t) =>
      `<line x1="${left}" x2="${WIDTH - right}" y1="${f(y(t))}" y2="${f(y(t))}" stroke="#e4e4e4"/><text x="${left - 8}" y="${f(y(t) + 4)}" text-anchor="end">${Number(t.toPrecision(3))}</text>`,
  );
  const lines = stated.map((s, i) => {
    const points = s.series.filter((v) => v.epsilon !== null).map((v) => `${f(x(v.round))},${f(y(v.epsilon!))}`);
    const path = thin(points).join(' ');
    const dot =
      points.length === 1 ? `<circle cx="${points[0].split(',')[0]}" cy="${points[0].split(',')[1]}" r="3"/>` : '';
    return `<g fill="none" stroke="${colour(i)}" stroke-width="1.8"><polyline points="${path}"/>${dot}</g>`;
  });
  const legend = stated.slice(0, 14).map((s, i) => {
    const at = top + 8 + 17 * i;
    const value = showEpsilon(s.epsilon);
    return `<line x1="${WIDTH - right + 14}" x2="${WIDTH - right + 34}" y1="${at}" y2="${at}" stroke="${colour(i)}" stroke-width="3"/><text x="${WIDTH - right + 40}" y="${at + 4}">${escape(shorten(s.siteId))} ${value}</text>`;
  });
  const more =
    stated.length > 14
      ? `<text x="${WIDTH - right + 14}" y="${top + 8 + 17 * 14}">and ${stated.length - 14} more</text>`
      : '';
  const limit =
    bound !== null && bound <= ceiling
      ? `<line x1="${left}" x2="${WIDTH - right}" y1="${f(y(bound))}" y2="${f(y(bound))}" stroke="#b3261e" stroke-dasharray="6 4"/><text x="${left + 6}" y="${f(y(bound) - 5)}" fill="#b3261e">the policy: ${bound}</text>`
      : '';
  const below = top + height;
  const axis = `<line x1="${left}" x2="${WIDTH - right}" y1="${below}" y2="${below}" stroke="#888"/><text x="${left}" y="${below + 18}">round 0</text><text x="${WIDTH - right}" y="${below + 18}" text-anchor="end">round ${rounds}</text>`;
  const note =
    bound !== null && bound > ceiling
      ? `<text x="${left + 6}" y="${top + 12}" fill="#b3261e">the policy allows ${bound}, above this picture</text>`
      : '';
  const label = `Epsilon stated by each site, by round${bound === null ? '' : `; the policy allows ${bound}`}`;
  return svg(label, below + 30, [...grid, axis, limit, note, ...lines, ...legend, more]);
}

const STATES = {
  in: ['#2b7d4f', 'in the sum'],
  late: ['#d9a400', 'let the deadline pass'],
  declined: ['#b3261e', 'said no'],
  refused: ['#8a3b8f', 'was refused'],
  none: ['#e6e6e6', 'not invited'],
} as const;
type State = keyof typeof STATES;

/** One row a site, one cell an attempt. */
export function presenceChart({ sites, attempts }: AuditReport): string {
  const shown = sites.slice(0, 40);
  if (shown.length === 0 || attempts.length === 0) return '';
  const [left, top, row] = [150, 8, 18];
  const cell = (WIDTH - left - 8) / attempts.length;
  const gap = cell > 4 ? 1 : 0;
  const rows = shown.map((site, i) => {
    const y = top + row * i;
    // Equal neighbours are one rectangle: a thousand rounds are a few shapes.
    const runs: { state: State; from: number; to: number }[] = [];
    attempts.forEach((a, k) => {
      const state = stateOf(a, site.siteId);
      const last = runs.at(-1);
      if (last?.state === state && gap === 0) last.to = k + 1;
      else runs.push({ state, from: k, to: k + 1 });
    });
    const cells = runs.map(
      ({ state, from, to }) =>
        `<rect x="${f(left + from * cell)}" y="${y}" width="${f(Math.max(0.4, (to - from) * cell - gap))}" height="${row - 4}" fill="${STATES[state][0]}"/>`,
    );
    return `<text x="${left - 8}" y="${y + 11}" text-anchor="end">${escape(shorten(site.siteId))}</text>${cells.join('')}`;
  });
  const foot = top + row * shown.length;
  let at = left;
  const legend = Object.values(STATES).map(([colour, text]) => {
    const mark = `<rect x="${at}" y="${foot + 8}" width="12" height="12" fill="${colour}"/><text x="${at + 17}" y="${foot + 18}">${text}</text>`;
    at += 34 + 7 * text.length;
    return mark;
  });
  const label = 'Which site was in which round; every absence is in the table below';
  return svg(label, foot + 28, [...rows, ...legend]);
}

function stateOf(a: AttemptSummary, siteId: string): State {
  if (!a.invited.includes(siteId)) return 'none';
  if (a.declined.some((d) => d.siteId === siteId)) return 'declined';
  if (a.absent[siteId] === undefined) return 'in';
  return a.absent[siteId] === 'deadline' ? 'late' : 'refused';
}

const svg = (label: string, height: number, parts: readonly string[]): string =>
  `<svg role="img" aria-label="${escape(label)}" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" font-family="system-ui,sans-serif" font-size="12" fill="#333"><title>${escape(label)}</title>${parts.join('')}</svg>`;
const colour = (i: number): string => COLOURS[i % COLOURS.length];
const shorten = (name: string): string => (name.length > 18 ? `${name.slice(0, 17)}…` : name);

/** At most some hundred points of a line that only climbs: the eye sees no more. */
const thin = (points: readonly string[]): string[] => {
  const every = Math.max(1, Math.ceil(points.length / 400));
  return points.filter((_, i) => i % every === 0 || i === points.length - 1);
};

/** Round values from 0 to the top, four to eight of them. */
function steps(top: number): number[] {
  const raw = top / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= raw) ?? raw;
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => i * step);
}

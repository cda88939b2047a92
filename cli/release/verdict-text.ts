/** A verdict of the release gate as lines for a person. */
import type { GateVerdict } from '../../coordinator/gate-verdict.ts';

export function verdictText({ passed, candidate, findings }: GateVerdict): string {
  const rows = findings.map((f) => [f.holds ? 'holds' : 'REFUSES', f.bound, f.say]);
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i].length)));
  return [
    ...(candidate === null ? [] : [`candidate ${candidate.sha256}`]),
    ...rows.map(([holds, bound, say]) => `${holds.padEnd(widths[0])}  ${bound.padEnd(widths[1])}  ${say}`),
    passed ? 'These images may leave.' : 'These images do not leave.',
  ].join('\n');
}

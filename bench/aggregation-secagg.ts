/** What masks cost: a site, the coordinator, drop-outs, and many sites. */
import type { BenchRow } from './run.ts';
import { oneSiteOf, updateOf, wholeAttempt } from './secagg-attempt.ts';
import type { Setting } from './secagg-attempt.ts';

const MILLION = 1_000_000;
type Report = (row: BenchRow) => void;
const total = (by: ReadonlyMap<string, number>): number => [...by.values()].reduce((a, b) => a + b, 0);
/** Of several runs the one that was disturbed least. */
const best = (values: number[]): number => Math.min(...values);
const eight = (bits: number, length = MILLION): Setting => ({
  sites: 8,
  bits,
  length,
  colluders: 1,
  dropouts: 2,
  graphAbove: 100,
});

async function times<T>(n: number, work: () => Promise<T>): Promise<T[]> {
  const done: T[] = [];
  for (let i = 0; i < n; i++) done.push(await work());
  return done;
}

/**
 * One million values, 8 sites; times are the best of nine runs. A site's work waits for nothing, so its processor time, of
 * all threads, is what it takes where nobody else wants the processor: the target is held to that, whatever else runs.
 */
export async function secaggCases(report: Report): Promise<void> {
  for (const [bits, most] of [
    [29, 1.05],
    [16, 0.65],
  ] as const) {
    const runs = await times(9, () => wholeAttempt(eight(bits)));
    const what = `secagg, 8 sites, 1M values of ${bits} bits`;
    const ms = best(runs.map((r) => r.processor));
    const size = { target: '<= 150', holds: ms <= 150 };
    report({ case: `${what}: a site's whole work, processor time`, value: ms, unit: 'ms', ...size });
    report({ case: '  wall clock of it', value: best(runs.map((r) => total(r.site))), unit: 'ms' });
    for (const kind of runs[0].site.keys())
      report({ case: `  ${kind}, wall clock`, value: best(runs.map((r) => r.site.get(kind) ?? NaN)), unit: 'ms' });
    const ratio = runs[0].up / (4 * MILLION);
    const bytes = { target: `<= ${most}`, holds: ratio <= most };
    report({ case: `${what}: bytes a site sends, over float32`, value: ratio, unit: 'x', ...bytes });
    report({ case: `${what}: bytes a site is shown besides the plan`, value: runs[0].down / 1e6, unit: 'MB' });
    const whole = best(runs.map((r) => r.coordinating));
    report({ case: `${what}: coordinator, all phases, processor time`, value: whole, unit: 'ms' });
    report({ case: '  wall clock of it', value: best(runs.map((r) => total(r.coordinator))), unit: 'ms' });
    const error = errorOf(runs[0].sum, bits);
    const exact = { target: '< 1', holds: error < 1 };
    report({ case: `${what}: largest error of the sum, in steps a site`, value: error, unit: '', ...exact });
  }
  const busy = async (length: number) =>
    best((await times(9, () => wholeAttempt(eight(16, length)))).map((r) => r.coordinating));
  const value = (await busy(2 * MILLION)) / (await busy(MILLION / 2));
  report({ case: 'coordinator, processor time, 2M against 500k values (4 times the bytes)', value, unit: 'x' });
  const dropped = await times(9, () => wholeAttempt(eight(16), 2));
  const unmask = best(dropped.map((r) => r.coordinator.get('reveal') ?? NaN));
  const second = { target: '< 1000', holds: unmask < 1000 };
  report({ case: '2 of 8 dropped after sharing: unmasking, wall clock', value: unmask, unit: 'ms', ...second });
  report({ case: '  processor time of it', value: best(dropped.map((r) => r.unmasking)), unit: 'ms' });
}

/** In steps of the quantiser and sites: below 1. */
function errorOf(sum: Float64Array, bits: number): number {
  const step = (2 * 10) / (2 ** bits - 1);
  const updates = Array.from({ length: 8 }, (_, k) => updateOf(k, sum.length));
  let worst = 0;
  for (let i = 0; i < sum.length; i++)
    worst = Math.max(worst, Math.abs(sum[i] - updates.reduce((total, u) => total + u[i], 0)));
  return worst / step / 8;
}

/** A fifth corrupt, a fifth vanishing: neighbours and work, against masking with everybody. */
export async function graphCases(report: Report): Promise<void> {
  for (const sites of [8, 32, 100, 300, 1000]) {
    const fifth = Math.floor(sites / 5);
    const o = { sites, bits: 16, length: MILLION, colluders: fifth, dropouts: fifth };
    const often = sites > 200 ? 1 : 3;
    const runs = await times(often, () => oneSiteOf({ ...o, graphAbove: 1 }));
    const [graph] = runs.toSorted((a, b) => a.ms - b.ms);
    const what = `graph, ${sites} sites`;
    report({ case: `${what}: neighbours drawn`, value: graph.drawn, unit: '' });
    report({ case: `${what}: shares that open a secret`, value: graph.threshold, unit: '' });
    report({ case: `${what}: neighbours masked with`, value: graph.neighbours, unit: '' });
    const own = best(runs.map((r) => r.processor));
    report({ case: `${what}: a site's whole work, 1M values of 16 bits, processor time`, value: own, unit: 'ms' });
    report({ case: '  wall clock of it', value: graph.ms, unit: 'ms' });
    report({ case: `${what}: bytes sent, over float32`, value: graph.up / (4 * MILLION), unit: 'x' });
    report({ case: `${what}: bytes shown`, value: graph.down / 1e6, unit: 'MB' });
    if (sites > 200) continue;
    const everybody = await times(often, () => oneSiteOf({ ...o, graphAbove: 200 }));
    const busy = best(everybody.map((r) => r.processor));
    report({
      case: `${sites} sites, masking with everybody: a site's whole work, processor time`,
      value: busy,
      unit: 'ms',
    });
    report({ case: '  wall clock of it', value: best(everybody.map((r) => r.ms)), unit: 'ms' });
  }
}

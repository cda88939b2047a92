/**
 * `npm run bench -- NAME [--json] [options]`: one benchmark, one run, its machine, sizes, units and ratios.
 * With `--json` one object a line: {bench, case, value, unit, target, holds}.
 */
import { cpus, totalmem } from 'node:os';
import { FedError } from '../shared/errors.ts';

export interface BenchRow {
  /** What was measured, with its sizes. */
  readonly case: string;
  readonly value: number;
  readonly unit: string;
  /** The target in words, where there is one. */
  readonly target?: string;
  readonly holds?: boolean;
}

export interface Bench {
  readonly name: string;
  readonly summary: string;
  run(args: string[], report: (row: BenchRow) => void): Promise<void>;
}

const BENCHES: Record<string, () => Promise<{ bench: Bench }>> = {
  engine: () => import('./engine.ts'),
  dp: () => import('./dp.ts'),
  transfer: () => import('./transfer.ts'),
  pooled: () => import('./pooled.ts'),
  quality: () => import('./quality.ts'),
  audit: () => import('./audit.ts'),
  imaging: () => import('./imaging.ts'),
  metrics: () => import('./metrics.ts'),
  aggregation: () => import('./aggregation.ts'),
  release: () => import('./release.ts'),
};

const [name, ...args] = process.argv.slice(2);
const load = name === undefined ? undefined : BENCHES[name];
if (!load) {
  console.error(`usage: npm run bench -- NAME [--json]\nNAME is one of: ${Object.keys(BENCHES).join(', ')}`);
  process.exit(2);
}
const json = args.includes('--json');
const { bench } = await load();
const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB, node ${process.version}, ${process.platform}-${process.arch}`;
if (!json) console.log(`${bench.name}: ${bench.summary}\nmachine: ${machine}\n`);
const running = bench.run(
  args.filter((a) => a !== '--json'),
  (row) => {
    if (json) return console.log(JSON.stringify({ bench: bench.name, ...row, machine }));
    const verdict = row.holds === undefined ? '' : row.holds ? '  holds' : '  FALLS SHORT';
    const target = row.target === undefined ? '' : `  (target ${row.target}${verdict})`;
    console.log(`${row.case.padEnd(64)} ${formatValue(row.value).padStart(10)} ${row.unit}${target}`);
  },
);
try {
  await running;
} catch (error) {
  // A wrong option is the caller's; anything else is ours and keeps its stack.
  if (!(error instanceof FedError)) throw error;
  console.error(error.message);
  process.exit(2);
}

function formatValue(v: number): string {
  return Number.isInteger(v) ? String(v) : v.toPrecision(4);
}

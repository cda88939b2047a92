import { FedError } from '../shared/errors.ts';
import { bfvCases } from './aggregation-bfv.ts';
import { graphCases, secaggCases } from './aggregation-secagg.ts';
import { bench as pooled } from './pooled.ts';
import type { BenchRow } from './run.ts';

const CASES: Record<string, (report: (row: BenchRow) => void) => Promise<void>> = {
  secagg: secaggCases,
  graph: graphCases,
  bfv: bfvCases,
  pooled: (report) => pooled.run([], report),
};

/** @param args - names of groups of cases; all of them without any. */
async function run(args: string[], report: (row: BenchRow) => void): Promise<void> {
  const unknown = args.filter((name) => !(name in CASES));
  if (unknown.length > 0)
    throw new FedError('PARAMETER_INVALID', `${unknown.join(' ')}: one of ${Object.keys(CASES).join(', ')} is wanted`);
  for (const name of args.length > 0 ? args : Object.keys(CASES)) await CASES[name](report);
}

export const bench = {
  name: 'aggregation',
  summary:
    'what hiding single updates costs: masks (secagg), with and without drop-outs, for few and many sites, and encryption (bfv)',
  run,
};

/**
 * `npm run bench -- audit [accounting] [ledger] [log] [--quick]`: what an auditor waits for. Every part is a file of its own and
 * is run in this order; naming some runs those alone.
 */
import { FedError } from '../shared/errors.ts';
import { benchAccounting, benchLedger } from './audit-accounting.ts';
import { benchLog } from './audit-log.ts';
import type { Bench, BenchRow } from './run.ts';

type Part = (quick: boolean, report: (row: BenchRow) => void) => void | Promise<void>;

const PARTS: Readonly<Record<string, Part>> = {
  accounting: benchAccounting,
  ledger: benchLedger,
  log: benchLog,
};

export const bench: Bench = {
  name: 'audit',
  summary: `${Object.keys(PARTS).join(', ')}: times, and deviations from published values`,
  async run(args, report) {
    const named = args.filter((a) => a !== '--quick');
    const unknown = named.filter((name) => !(name in PARTS));
    if (unknown.length > 0)
      throw new FedError('PARAMETER_INVALID', `${unknown.join(', ')}: parts are ${Object.keys(PARTS).join(', ')}`);
    for (const [name, part] of Object.entries(PARTS))
      if (named.length === 0 || named.includes(name)) await part(args.includes('--quick'), report);
  },
};

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import type { Skew } from '../../shared/imaging/split.ts';
import { EXIT } from '../exit-codes.ts';
import { number, type Speed, wholeNumber, withSpeed } from '../options.ts';
import { note, print } from '../output.ts';
import { packageRoot } from '../package-root.ts';
import { onInterrupt } from '../signals.ts';

interface DemoArguments extends Speed {
  data?: string;
  labels?: string;
  classes?: string[];
  sites: number;
  skew: Skew['kind'];
  alpha: number;
  policy: string;
  out?: string;
  patients: number;
  rounds?: number;
  size: '28' | '32' | '64';
  channels: '1' | '3';
  maxImages: number;
  seed: string;
}

/** `veilgan demo`: everything at once on one machine, in minutes. */
export function addDemo(program: Command): void {
  withSpeed(
    program
      .command('demo')
      .description(
        'a coordinator and three sites on this machine, each its own process, on drawn phantoms; some minutes',
      )
      .option('--data <path>', 'a public image set instead of phantoms: .npz, idx files, a folder of images')
      .option('--labels <csv>', 'for a folder: file, label, and optionally patient')
      .option('--classes <names>', 'for labels that are numbers: names, by commas', (text) => text.split(','))
      .option('--sites <n>', 'how many sites', wholeNumber(2, 20), 3)
      .addOption(
        new Option('--skew <kind>', 'how classes are dealt to sites')
          .choices(['iid', 'dirichlet', 'missing-class'])
          .default('iid'),
      )
      .option('--alpha <x>', 'of the Dirichlet skew: smaller is more skewed', number(0), 0.5)
      .option('--policy <file>', 'base policy', join(packageRoot(), 'policies', 'demo-insecure.json'))
      .option('--out <folder>', 'run folder; by default runs/demo-<time>')
      .option('--patients <n>', 'phantom patients a site', wholeNumber(20, 20_000), 1000)
      .option('--rounds <n>', 'generator rounds, when other than the policy’s', wholeNumber(1, 100_000))
      .addOption(new Option('--size <pixels>', 'of --data').choices(['28', '32', '64']).default('28'))
      .addOption(new Option('--channels <n>', 'of --data').choices(['1', '3']).default('1'))
      .option('--max-images <n>', 'of --data, taken evenly', wholeNumber(100), 12_000)
      .option('--seed <text>', 'of phantoms and of the deal; public', 'demo'),
  ).action(demo);
}

async function demo(o: DemoArguments): Promise<void> {
  const { runDemo } = await import('../demo/demo.ts');
  const abort = new AbortController();
  const interrupt = onInterrupt(() => abort.abort());
  const { data, labels, classes, rounds, ...rest } = o;
  const out = o.out ?? join('runs', `demo-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}`);
  try {
    await runDemo({
      ...rest,
      out,
      basePolicy: o.policy,
      skew: o.skew === 'dirichlet' ? { kind: o.skew, alpha: o.alpha } : { kind: o.skew },
      size: Number(o.size) as 28 | 32 | 64,
      channels: Number(o.channels) as 1 | 3,
      signal: abort.signal,
      ...(data === undefined ? {} : { data }),
      ...(labels === undefined ? {} : { labels }),
      ...(classes === undefined ? {} : { classes }),
      ...(rounds === undefined ? {} : { rounds }),
    });
  } catch (error) {
    if (!interrupt.asked()) throw error;
    note(`Interrupted. What there was is in ${out}.`);
    process.exitCode = EXIT.interrupted;
    return;
  } finally {
    interrupt.release();
  }
  print(readFileSync(join(out, 'summary.md'), 'utf8'));
  print(`Look at ${join(out, 'synthetic.png')}; everything else is in ${out}.`);
}

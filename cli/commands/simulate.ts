import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { AVAILABLE_SCHEMES } from '../../shared/aggregation/registry.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { ENGINE_NAMES, type EngineName } from '../../shared/engine/program.ts';
import { FedError } from '../../shared/errors.ts';
import { readArrayDataset } from '../../shared/imaging/array-dataset.ts';
import { dropDuplicates, type Skew, splitBySite } from '../../shared/imaging/split.ts';
import { loadPolicyText } from '../../shared/policy/load.ts';
import { asPrivateImages, type PrivateImages } from '../../site-agent/imaging/private-images.ts';
import { progress } from '../progress.ts';
import { finishRun } from '../run-folder.ts';
import { simulate } from '../simulation.ts';

interface Options {
  policy: string;
  data: string;
  sites: string;
  skew: string;
  out: string;
  images: string;
  seed: string;
  engine: string;
  threads?: string;
  json?: boolean;
}

/** `veilgan simulate`: any number of sites in one process, with the very same code as the real thing. */
export function addSimulate(program: Command): void {
  program
    .command('simulate')
    .description('Train with any number of sites in one process, for research. Same code, no network.')
    .requiredOption('--policy <file>', 'the consortium policy')
    .requiredOption('--data <file>', '.npz or idx file; a fifth of its patients is held out as the public test set')
    .option('--sites <n>', 'number of sites', '3')
    .option('--skew <kind>', 'iid, dirichlet or missing-class', 'iid')
    .option('--out <folder>', 'run folder; an interrupted run in it goes on', 'runs/simulation')
    .option('--images <n>', 'synthetic images to write', '1000')
    .option('--seed <text>', 'of the split over sites; public', 'simulation')
    .option('--engine <name>', ENGINE_NAMES.join(', '), 'cpu')
    .option('--threads <n>', 'threads of the engine')
    .option('--json', 'one JSON object a line on standard output')
    .action((options: Options) => runSimulation(options));
}

async function runSimulation(o: Options): Promise<void> {
  const policy = loadPolicyText(readFileSync(o.policy, 'utf8'), { availableSchemes: AVAILABLE_SCHEMES });
  const { imageSize: size, channels, classes } = policy.model;
  const read = await readArrayDataset(o.data, { size, channels, classes, onBadFile: 'refuse' });
  const { images } = dropDuplicates(read.images);
  const count = positive('--sites', o.sites);
  const split = splitBySite(images, { sites: count, seed: o.seed, skew: skewOf(o.skew), testFraction: 0.2 });
  const sites = new Map<string, PrivateImages>(
    split.sites.map((own, i) => [`site-${i + 1}`, asPrivateImages(own, read.patientsKnown)]),
  );
  const threads = o.threads === undefined ? {} : { threads: positive('--threads', o.threads) };
  const engine = await openEngine(engineNamed(o.engine), threads);
  const bar = progress('simulating');
  const rounds = policy.training.rounds + (policy.warmStart.kind === 'moments' ? 1 : 0);
  const began = performance.now();
  try {
    const result = await simulate({
      policy,
      sites,
      engine,
      folder: join(o.out, 'parties'),
      onEvent: (event) => {
        if (event.kind === 'round-closed')
          bar.update((event.round + 1) / rounds, `round ${event.round + 1} of ${rounds}`);
        if (event.kind === 'fitting') bar.update((event.round + event.share) / rounds, 'fitting the moments');
        if (o.json) console.log(JSON.stringify(event));
      },
    });
    bar.stop();
    const summary = await finishRun({
      ...result,
      folder: o.out,
      policy,
      engine,
      reference: split.test,
      referenceName: 'held out, public',
      publicTest: split.test,
      publicTrain: null,
      images: positive('--images', o.images),
      seconds: (performance.now() - began) / 1000,
    });
    if (o.json) console.log(JSON.stringify({ kind: 'summary', ...summary }));
    else console.log(`${readFileSync(join(o.out, 'summary.md'), 'utf8')}\nEverything is in ${o.out}.`);
  } finally {
    await engine.dispose();
  }
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  throw new FedError('PARAMETER_INVALID', `${name} ${text}: a whole number of 1 or more is wanted`);
}

function engineNamed(name: string): EngineName {
  if ((ENGINE_NAMES as readonly string[]).includes(name)) return name as EngineName;
  throw new FedError('PARAMETER_INVALID', `--engine ${name}: one of ${ENGINE_NAMES.join(', ')} is wanted`);
}

function skewOf(kind: string): Skew {
  if (kind === 'iid' || kind === 'missing-class') return { kind };
  if (kind === 'dirichlet') return { kind, alpha: 0.5 };
  throw new FedError('PARAMETER_INVALID', `--skew ${kind}: iid, dirichlet or missing-class is wanted`);
}

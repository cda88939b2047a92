import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { collectSeldom } from '../../shared/collector.ts';
import { compileLoopsApart } from '../../shared/compiler.ts';
import { AVAILABLE_SCHEMES } from '../../shared/aggregation/registry.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { ENGINE_NAMES, type EngineName } from '../../shared/engine/program.ts';
import { FedError } from '../../shared/errors.ts';
import { concatImages, type LabelledImages } from '../../shared/imaging/images.ts';
import { dropDuplicates, type Skew, splitBySite } from '../../shared/imaging/split.ts';
import { momentRoundsOf } from '../../shared/policy/cost.ts';
import { type CheckedPolicy, loadPolicyText } from '../../shared/policy/load.ts';
import { asPrivateImages, type PrivateImages } from '../../site-agent/imaging/private-images.ts';
import { readDataset } from '../../site-agent/imaging/read-dataset.ts';
import type { GateVerdict } from '../../coordinator/gate-verdict.ts';
import { withFolderReading } from '../folder-options.ts';
import { writeWhole } from '../output.ts';
import { progress } from '../progress.ts';
import { verdictText } from '../release/verdict-text.ts';
import { finishRun } from '../run-folder.ts';
import { simulate } from '../simulation.ts';
import { datasetOptions, type FolderReading } from '../site-data.ts';

interface Options extends FolderReading {
  policy: string;
  data: string[];
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
  withFolderReading(program.command('simulate'))
    .description('Train with any number of sites in one process, for research. Same code, no network.')
    .requiredOption('--policy <file>', 'the consortium policy')
    .requiredOption(
      '--data <path...>',
      '.npz, idx or a folder of images, dealt to the sites; or several, one a site. A fifth of the patients is held out as the public test set',
    )
    .option('--sites <n>', 'number of sites, when there is one --data', '3')
    .option('--skew <kind>', 'iid, dirichlet or missing-class, when there is one --data', 'iid')
    .option('--out <folder>', 'run folder; an interrupted run in it goes on', 'runs/simulation')
    .option('--images <n>', 'synthetic images to write', '1000')
    .option('--seed <text>', 'of the split over sites; public', 'simulation')
    .option('--engine <name>', ENGINE_NAMES.join(', '), 'cpu')
    .option('--threads <n>', 'threads of the engine')
    .option('--json', 'one JSON object a line on standard output')
    .action((options: Options) => runSimulation(options));
}

async function runSimulation(o: Options): Promise<void> {
  collectSeldom();
  compileLoopsApart();
  const policy = loadPolicyText(readFileSync(o.policy, 'utf8'), { availableSchemes: AVAILABLE_SCHEMES });
  const { sites, test } = await dealt(policy, o);
  const threads = o.threads === undefined ? {} : { threads: positive('--threads', o.threads) };
  const engine = await openEngine(engineNamed(o.engine), threads);
  const bar = progress('simulating');
  const rounds = policy.training.rounds + momentRoundsOf(policy);
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
    if (result.verdict !== null) tellVerdict(o, result.verdict);
    const summary = await finishRun({
      ...result,
      folder: o.out,
      policy,
      engine,
      reference: test,
      referenceName: 'held out, public',
      publicTest: test,
      publicTrain: null,
      files: 'all',
      images: positive('--images', o.images),
      seconds: (performance.now() - began) / 1000,
    });
    if (o.json) console.log(JSON.stringify({ kind: 'summary', ...summary }));
    else console.log(`${readFileSync(join(o.out, 'summary.md'), 'utf8')}\nEverything is in ${o.out}.`);
  } finally {
    await engine.dispose();
  }
}

/** A simulation's data are public, so the gate is shown and does not keep the images back. Nobody signs here. */
function tellVerdict(o: Options, verdict: GateVerdict): void {
  writeWhole(join(o.out, 'verdict.json'), `${JSON.stringify(verdict, null, 2)}\n`);
  if (o.json) console.log(JSON.stringify({ kind: 'verdict', ...verdict }));
  else console.log(verdictText(verdict));
}

/** The images of every site, and those held out: of one set that is dealt, or of one set a site. */
async function dealt(
  policy: CheckedPolicy,
  o: Options,
): Promise<{ sites: Map<string, PrivateImages>; test: LabelledImages }> {
  // prettier-ignore
  const options = datasetOptions(policy, { ...o, onBadFile: 'refuse' });
  const reads: { images: LabelledImages; patientsKnown: boolean }[] = [];
  for (const data of o.data) {
    const { images, patientsKnown } = await readDataset(data, options);
    reads.push({ images: dropDuplicates(images).images, patientsKnown });
  }
  const several = reads.length > 1;
  const rule = several ? { sites: 1, skew: { kind: 'iid' } as const } : { sites: positive('--sites', o.sites), skew: skewOf(o.skew) }; // prettier-ignore
  const splits = reads.map(({ images }, i) =>
    splitBySite(images, { ...rule, seed: several ? `${o.seed} ${i + 1}` : o.seed, testFraction: 0.2 }),
  );
  const own = splits.flatMap(({ sites }, i) => sites.map((part) => asPrivateImages(part, reads[i].patientsKnown)));
  return {
    sites: new Map(own.map((images, i) => [`site-${i + 1}`, images])),
    test: concatImages(splits.map(({ test }) => test)),
  };
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

import { type Command, InvalidArgumentError, Option } from 'commander';
import { FedError } from '../../shared/errors.ts';
import type { Evaluation, EvaluationSets, MetricGroup } from '../../shared/metrics/evaluate-sets.ts';
import { readSubgroups } from '../subgroups.ts';
import { type Speed, threadsOf, wholeNumber, withSpeed } from '../options.ts';
import { note, print, writeWhole } from '../output.ts';

type Split = 'train' | 'val' | 'test';
/** As `METRIC_GROUPS`, which is not loaded for a help text; a test holds them together. */
export const GROUP_NAMES = ['utility', 'fidelity', 'diversity', 'two-sample', 'memorisation', 'membership'] as const;

interface EvaluateArguments extends Speed {
  train: string;
  test: string;
  reference?: string;
  trainSplit: Split;
  testSplit?: Split;
  referenceSplit?: Split;
  size: '28' | '32' | '64';
  channels: '1' | '3';
  epochs?: number;
  metrics?: MetricGroup[];
  most: number;
  subgroups?: string;
  subgroupColumn?: string;
  report?: string;
  json: boolean;
}

/** `veilgan evaluate`: what a synthetic set is worth, how near it is to real images, and whether it repeats them. */
export function addEvaluate(program: Command): void {
  const split = (flag: string, about: string) => new Option(flag, about).choices(['train', 'val', 'test']);
  withSpeed(
    program
      .command('evaluate')
      .description(
        'measure a synthetic set against real images: utility, fidelity, diversity, memorisation, membership. Real images must be public: figures about them are in no ledger. docs/metrics.md says what each means',
      )
      .requiredOption('--train <file>', 'the synthetic set: .npz, synthetic.npz for instance, or idx images')
      .requiredOption('--test <file>', 'real public images that no generator was trained on: .npz or idx')
      .option('--reference <file>', 'real public images that the generator was trained on; adds what needs them')
      .addOption(split('--train-split <name>', 'part of a set that has parts').default('train'))
      .addOption(split('--test-split <name>', 'part of a set that has parts'))
      .addOption(split('--reference-split <name>', 'part of a set that has parts'))
      .addOption(new Option('--size <pixels>', 'images are brought to it').choices(['28', '32', '64']).default('28'))
      .addOption(new Option('--channels <n>', 'images are brought to it').choices(['1', '3']).default('1'))
      .option(
        '--metrics <list>',
        `all, or some of ${GROUP_NAMES.join(',')}; by default all that the files allow`,
        groupsOf,
      )
      .option('--epochs <n>', 'by default as many as show it 12,000 images, at least 3', wholeNumber(1, 10_000))
      .option('--most <n>', 'images of a set that are compared, drawn by lot', wholeNumber(8), 10_000)
      .option('--subgroups <file>', 'CSV or .npz with a subgroup for each test image; by default the file of --test')
      .option('--subgroup-column <name>', 'column of the CSV, or key of the .npz, that holds them')
      .option('--report <file>', 'also writes a report, .md or .html')
      .option('--json', 'as one JSON object', false),
  ).action(evaluate);
}

function groupsOf(text: string): MetricGroup[] {
  if (text === 'all') return [...GROUP_NAMES];
  const names = text.split(',').map((name) => name.trim());
  const wrong = names.find((name) => !(GROUP_NAMES as readonly string[]).includes(name));
  if (wrong !== undefined)
    throw new InvalidArgumentError(`'${wrong}' is none of ${GROUP_NAMES.join(', ')}, and not all.`);
  return [...new Set(names as MetricGroup[])];
}

async function evaluate(o: EvaluateArguments): Promise<void> {
  const { openEngine } = await import('../../shared/engine/open.ts');
  if (o.report !== undefined && !/\.(md|html)$/i.test(o.report))
    throw new FedError('PARAMETER_INVALID', `--report ${o.report}: a name that ends in .md or .html is wanted`);
  if (o.subgroups !== undefined && o.subgroupColumn === undefined)
    throw new FedError('PARAMETER_INVALID', '--subgroups needs --subgroup-column, which names the column or the key');
  const { evaluateSets, missing } = await import('../../shared/metrics/evaluate-sets.ts');
  const sets = await readSets(o);
  const drawn = { seed: 'summary', most: o.most };
  const groups = o.metrics ?? GROUP_NAMES.filter((group) => missing([group], sets, drawn) === null);
  const subgroups =
    o.subgroupColumn === undefined
      ? {}
      : { subgroups: await readSubgroups(o.subgroups ?? o.test, o.subgroupColumn, sets.test.n) };
  const engine = await openEngine(o.engine, threadsOf(o));
  const follow = await steps(groups);
  try {
    const found = await evaluateSets(engine, sets, {
      groups,
      ...drawn,
      ...(o.epochs === undefined ? {} : { epochs: o.epochs }),
      ...subgroups,
      around: follow.around,
    });
    follow.stop();
    await tell(o, sets, found);
  } finally {
    follow.stop();
    await engine.dispose();
  }
}

async function readSets(o: EvaluateArguments): Promise<EvaluationSets> {
  const { readArrayDataset } = await import('../../shared/imaging/array-dataset.ts');
  const shape = { size: Number(o.size) as 28, channels: Number(o.channels) as 1, onBadFile: 'refuse' } as const;
  const read = async (file: string, split: Split | undefined, options: { classes?: readonly string[] } = {}) => {
    try {
      return (await readArrayDataset(file, { ...shape, ...options, ...(split && { split }) })).images;
    } catch (error) {
      if (error instanceof FedError || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new FedError('PARAMETER_INVALID', `there is no file ${file}`, { cause: error });
    }
  };
  const synthetic = await read(o.train, o.trainSplit);
  const classes = { classes: synthetic.classNames };
  const test = await read(o.test, o.testSplit, classes);
  if (o.reference === undefined) return { synthetic, test };
  return { synthetic, test, reference: await read(o.reference, o.referenceSplit, classes) };
}

/** How much longer a measure takes than the quick ones, about. */
const WEIGHTS: Readonly<Record<string, number>> = { utility: 12, features: 5, 'two-sample test': 4 };
/** Measures of a group that are told of one by one. */
const FIDELITY_STEPS = 9;

/** A bar over all measures, which names the one at work. */
async function steps(groups: readonly MetricGroup[]) {
  const { progress } = await import('../progress.ts');
  const bar = progress('measuring');
  const weigh = (group: MetricGroup): number => {
    if (group === 'utility') return WEIGHTS['utility'];
    if (group === 'two-sample') return WEIGHTS['two-sample test'];
    if (group === 'fidelity') return FIDELITY_STEPS + (groups.includes('utility') ? 0 : WEIGHTS['features']);
    return 1;
  };
  const all = groups.reduce((sum, group) => sum + weigh(group), 0);
  let before = 0;
  const around = async <T>(measure: string, work: (progress: (share: number) => void) => Promise<T>): Promise<T> => {
    const own = WEIGHTS[measure] ?? 1;
    bar.update(before / all, measure);
    const result = await work((share) => bar.update((before + own * share) / all, measure));
    before += own;
    return result;
  };
  return { around, stop: () => bar.stop() };
}

async function tell(
  o: EvaluateArguments,
  { synthetic, test, reference }: EvaluationSets,
  e: Evaluation,
): Promise<void> {
  const { epochsFor } = await import('../../shared/metrics/utility.ts');
  const { evaluationSections } = await import('../evaluation-report.ts');
  const { html, markdown, terminal, text } = await import('../document.ts');
  const names = synthetic.classNames;
  const sections = evaluationSections(e, names);
  const opening = `${synthetic.n} synthetic images (${o.train}), ${test.n} real test images (${o.test})${reference ? `, ${reference.n} real reference images (${o.reference})` : ''}. Distances on ${e.compared.synthetic}, ${e.compared.test}${reference ? ` and ${e.compared.reference}` : ''} of them${e.memorisation && reference && reference.n > e.compared.reference ? '; copies are looked for among all reference images' : ''}. The real images were declared public by whoever ran this.`;
  if (o.report !== undefined) {
    const write = /\.html$/i.test(o.report) ? html : markdown;
    writeWhole(o.report, write({ title: 'Evaluation of a synthetic set', lead: [text(opening)], sections }));
    note(`The report is in ${o.report}.`);
  }
  if (!o.json) return print(`${opening}\n\n${terminal(sections)}`);
  const tstr = e.utility && ('onBoth' in e.utility ? e.utility.onSynthetic : e.utility);
  const first = tstr && {
    epochs: o.epochs ?? epochsFor(synthetic),
    accuracy: tstr.accuracy,
    perClass: names.map((name, k) => ({ name, accuracy: tstr.perClass[k] })),
  };
  print(JSON.stringify({ trainImages: synthetic.n, testImages: test.n, ...first, ...e }));
}

import { type Command, Option } from 'commander';
import { FedError } from '../../shared/errors.ts';
import { type Speed, threadsOf, wholeNumber, withSpeed } from '../options.ts';
import { print } from '../output.ts';

interface EvaluateArguments extends Speed {
  train: string;
  test: string;
  trainSplit: 'train' | 'val' | 'test';
  testSplit?: 'train' | 'val' | 'test';
  size: '28' | '32' | '64';
  channels: '1' | '3';
  epochs?: number;
  json: boolean;
}

/** `veilgan evaluate`: what a training set is worth. With synthetic images in it, train-on-synthetic-test-on-real. */
export function addEvaluate(program: Command): void {
  const split = (flag: string, about: string) => new Option(flag, about).choices(['train', 'val', 'test']);
  withSpeed(
    program
      .command('evaluate')
      .description('train the fixed classifier on one set and test it on another; both must be public or synthetic')
      .requiredOption('--train <file>', '.npz, synthetic.npz for instance, or idx images')
      .requiredOption('--test <file>', '.npz or idx images')
      .addOption(split('--train-split <name>', 'part of a set that has parts').default('train'))
      .addOption(split('--test-split <name>', 'part of a set that has parts'))
      .addOption(new Option('--size <pixels>', 'images are brought to it').choices(['28', '32', '64']).default('28'))
      .addOption(new Option('--channels <n>', 'images are brought to it').choices(['1', '3']).default('1'))
      .option('--epochs <n>', 'by default as many as show it 12,000 images', wholeNumber(1, 10_000))
      .option('--json', 'as one JSON object', false),
  ).action(evaluate);
}

async function evaluate(o: EvaluateArguments): Promise<void> {
  const [{ readArrayDataset }, { utility, epochsFor }, { openEngine }, { progress }] = await Promise.all([
    import('../../shared/imaging/array-dataset.ts'),
    import('../../shared/metrics/utility.ts'),
    import('../../shared/engine/open.ts'),
    import('../progress.ts'),
  ]);
  const shape = { size: Number(o.size) as 28, channels: Number(o.channels) as 1, onBadFile: 'refuse' } as const;
  const read = (file: string, options: object) =>
    readArrayDataset(file, { ...shape, ...options }).catch((error: NodeJS.ErrnoException) => {
      if (error instanceof FedError || error.code !== 'ENOENT') throw error;
      throw new FedError('PARAMETER_INVALID', `there is no file ${file}`, { cause: error });
    });
  const train = (await read(o.train, { split: o.trainSplit })).images;
  const testSplit = o.testSplit === undefined ? {} : { split: o.testSplit };
  const test = (await read(o.test, { ...testSplit, classes: train.classNames })).images;
  const engine = await openEngine(o.engine, threadsOf(o));
  const bar = progress('training');
  try {
    const epochs = o.epochs ?? epochsFor(train);
    const result = await utility(engine, train, test, { epochs, seed: 'summary', progress: (s) => bar.update(s) });
    bar.stop();
    const perClass = train.classNames.map((name, k) => ({ name, accuracy: result.perClass[k] }));
    const report = { trainImages: train.n, testImages: test.n, epochs, accuracy: result.accuracy, perClass };
    if (o.json) return print(JSON.stringify(report));
    print(`accuracy ${percent(result.accuracy)}, trained on ${train.n} images, tested on ${test.n}`);
    for (const { name, accuracy } of perClass) print(`  ${name}: ${percent(accuracy)}`);
  } finally {
    bar.stop();
    await engine.dispose();
  }
}

const percent = (x: number): string => (Number.isNaN(x) ? 'none in the test set' : `${(100 * x).toFixed(1)} %`);

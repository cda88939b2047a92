/** `veilgan release` and `veilgan release verify`. What computes is loaded when a command needs it. */
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { systemClock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import type { Balance } from '../../shared/release/counts.ts';
import { parseJson, readText, type Speed, wholeNumber, withSpeed } from '../options.ts';
import { note, print } from '../output.ts';

interface ReleaseArguments extends Speed {
  dir?: string;
  out?: string;
  licence?: string;
  images?: number;
  perClass?: number;
  balance: string;
  format: 'png' | 'dicom';
  bits: '8' | '16';
  mark: boolean;
  seed?: string;
  title?: string;
  creator?: string;
  url?: string;
  answers?: string;
  public?: string;
  split?: 'train' | 'val' | 'test';
  json: boolean;
}

interface VerifyArguments {
  coordinator?: string;
  sample: number;
  json: boolean;
}

const IMAGES = 1000;

export function addRelease(program: Command): void {
  const group = withSpeed(
    program
      .command('release')
      .description('write a data set that leaves: images, labels, generator, papers; signed, and in the log')
      .option('--dir <folder>', 'the coordinator’s folder, or the run folder of a demonstration or a simulation')
      .option('--out <folder>', 'where to; must be new or empty')
      .option('--licence <name>', 'under which it leaves, as an SPDX name or an address: only you can choose it')
      .option(
        '--images <n>',
        `how many in all; by default ${IMAGES}, or as many as the policy lets leave`,
        wholeNumber(1),
      )
      .option('--per-class <n>', 'so many of every class, in place of --images', wholeNumber(1))
      .option('--balance <how>', 'policy (its public shares), uniform, or a JSON file of shares by class', 'policy')
      .addOption(new Option('--format <name>', 'of the image files').choices(['png', 'dicom']).default('png'))
      .addOption(new Option('--bits <n>', 'a sample').choices(['8', '16']).default('8'))
      .option('--mark', 'write SYN into a corner of every image', false)
      .option('--seed <text>', 'public; by default the run’s')
      .option('--title <text>', 'name of the data set')
      .option('--creator <name>', 'who publishes it')
      .option('--url <address>', 'its page, where it has one')
      .option('--answers <file>', 'JSON: your answers to the datasheet’s open questions, by the question’s id')
      .option(
        '--public <file>',
        '.npz or idx of the images that the policy calls public: the images’ worth is measured on them',
      )
      .addOption(new Option('--split <name>', 'which part of it').choices(['train', 'val', 'test']))
      .option('--json', 'as one JSON object', false),
  ).action(release);

  group
    .command('verify')
    .description(
      'check signature and digests of a release, and draw some of its images again: 0 holds, 4 does not, 7 not all could be checked',
    ) // prettier-ignore
    .argument('<folder>', 'the release')
    .option('--coordinator <key>', 'the coordinator’s key or its thumbprint, from another source than the folder')
    .option('--sample <n>', 'batches of images to draw again; 0 draws none', wholeNumber(0), 2)
    .action(async (folder: string, { coordinator, sample }: VerifyArguments, command: Command) => {
      const { verifyReleaseFolder, verdictText, exitOfVerdict } = await import('../release/verify.ts');
      const report = await verifyReleaseFolder(folder, {
        sample,
        ...(coordinator === undefined ? {} : { coordinator }),
      });
      print(command.optsWithGlobals<{ json: boolean }>().json ? JSON.stringify(report) : verdictText(report));
      process.exitCode = exitOfVerdict(report);
    });
}

function wanted(name: string, value: string | undefined): string {
  if (value !== undefined) return value;
  throw new FedError('PARAMETER_INVALID', `--${name} is wanted; veilgan release --help says more`);
}

async function release(o: ReleaseArguments): Promise<void> {
  const dir = wanted('dir', o.dir);
  const out = wanted('out', o.out);
  const licence = wanted('licence', o.licence);
  const [{ openSource }, { makeRelease }, { AnswersFile }, { progress }] = await Promise.all([
    import('../release/source.ts'),
    import('../release/make-release.ts'),
    import('../release/datasheet.ts'),
    import('../progress.ts'),
  ]);
  const source = openSource(dir);
  const { engine, threads, seed, title, creator, url } = o;
  const named = Object.fromEntries(Object.entries({ threads, seed, title, creator, url }).filter(([, v]) => v !== undefined)); // prettier-ignore
  const answers = o.answers === undefined ? {} : parseJson(readText(o.answers, 'answers'), AnswersFile, o.answers, 'PARAMETER_INVALID'); // prettier-ignore
  const bar = progress('releasing');
  try {
    const done = await makeRelease(source, {
      ...named,
      ...{ out, licence, engine, answers, files: o.format, bits: Number(o.bits) as 8 | 16 },
      mark: o.mark ? 'corner' : 'none',
      count: await countOf(o, source.policy),
      test: await publicSet(o, source.policy),
      clock: systemClock,
      progress: (share, what) => bar.update(share, what),
    });
    bar.stop();
    if (o.json) return print(JSON.stringify({ ...done, folder: out }));
    print(`${done.images} images in ${out}, release ${done.release}`);
    print(`signed by key ${done.kid}; begin with ${out}/datasheet.html`);
    note(`Whoever gets it checks it with: veilgan release verify ${out} --coordinator ${done.kid}`);
  } finally {
    bar.stop();
  }
}

async function countOf(o: ReleaseArguments, { release: { maxImages } }: CheckedPolicy) {
  if (o.perClass !== undefined) {
    if (o.images !== undefined || o.balance !== 'policy')
      throw new FedError('PARAMETER_INVALID', '--per-class says how many of each: it goes with neither --images nor --balance'); // prettier-ignore
    return { perClass: o.perClass };
  }
  return { images: o.images ?? Math.min(IMAGES, maxImages), balance: await balanceOf(o.balance) };
}

async function balanceOf(how: string): Promise<Balance> {
  if (how === 'policy' || how === 'uniform') return { kind: how };
  const { BalanceFile } = await import('../../shared/release/counts.ts');
  return { kind: 'weights', weights: parseJson(readText(how, 'balance'), BalanceFile, how, 'PARAMETER_INVALID') };
}

async function publicSet({ public: file, split }: ReleaseArguments, policy: CheckedPolicy) {
  if (file === undefined) return null;
  const { readPublicSet } = await import('../public-set.ts');
  return { ...(await readPublicSet(file, policy, split)), name: basename(file) };
}

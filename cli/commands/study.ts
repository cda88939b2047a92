import { type Command, Option } from 'commander';
import { withFolderReading } from '../folder-options.ts';
import { wholeNumber } from '../options.ts';
import { print } from '../output.ts';
import type { StudyOptions } from '../study.ts';

/** `veilgan study`: clinicians look at synthetic images, beside real ones where those are, and say what they see. */
export function addStudy(program: Command): void {
  withFolderReading(
    program
      .command('study')
      .description('a page on which clinicians judge images, blinded; real ones are shown from this machine alone')
      .option('--synthetic <path>', '.npz, or a folder of images; needed but for --results')
      .option('--real <path>', '.npz, idx files, or a folder of images; without it nobody is asked what is real')
      .requiredOption('--out <folder>', 'folder of this study; made if missing, gone on with if there')
      .option('--readers <names>', 'who reads, with commas; more can be added later', readerNames)
      .option('--count <n>', 'pictures of each kind', wholeNumber(1, 10_000))
      .option('--practice <n>', 'pictures of each kind to practise on, whose truth is told', wholeNumber(0, 1000))
      .option('--seed <text>', 'what pictures and orders are drawn from; by default drawn itself')
      .option('--policy <file>', 'size, channels, classes and recipe as in a run')
      .addOption(
        new Option('--size <pixels>', 'images are brought to it; by default as the synthetic ones are').choices([
          '28',
          '32',
          '64',
        ]),
      ) // prettier-ignore
      .addOption(
        new Option('--channels <n>', 'images are brought to it; by default as the synthetic ones are').choices([
          '1',
          '3',
        ]),
      ) // prettier-ignore
      .addOption(new Option('--split <name>', 'part of a real set that has parts').choices(['train', 'val', 'test']))
      .option('--port <n>', 'of the page; 0 takes a free one', wholeNumber(0, 65_535), 8417)
      .option('--host <address>', 'another address than this machine’s own; needs --cert and --key', '127.0.0.1')
      .option('--cert <file>', 'certificate for --host, in PEM')
      .option('--key <file>', 'its key, in PEM')
      .option('--results', 'write answers.csv and the summary again, and serve nothing', false)
      .option('--json', 'events as JSON, one a line, on standard output', false),
  ).action(async (o: StudyOptions & { results: boolean }) => {
    const { runStudy, studyReport } = await import('../study.ts');
    if (o.results) print(studyReport(o.out, o.json));
    else process.exitCode = await runStudy(o);
  });
}

const readerNames = (text: string): string[] => text.split(',').map((name) => name.trim());

/** `veilgan study`: reads the images, keeps the study in its folder, serves the page until it is stopped. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { FedError } from '../shared/errors.ts';
import { type RandomBytes, secureBytes } from '../shared/random.ts';
import { AnswerStore } from '../site-agent/study/answer-store.ts';
import { chooseItems, picturesOf, type StudySets } from '../site-agent/study/choose-items.ts';
import { listenStudy, studyListener } from '../site-agent/study/study-server.ts';
import { Study, ReaderId, readerToken } from '../site-agent/study/study.ts';
import { EXIT } from './exit-codes.ts';
import { lockFolder } from './lock.ts';
import { parseJson, readText } from './options.ts';
import { eventLines, note, print, replaceWhole } from './output.ts';
import { packageRoot } from './package-root.ts';
import { onInterrupt } from './signals.ts';
import type { FolderReading } from './site-data.ts';
import { readSets } from './study-sets.ts';
import { writeResults } from './study-results.ts';

export interface StudyOptions extends FolderReading {
  readonly synthetic?: string;
  readonly real?: string;
  readonly out: string;
  readonly readers?: readonly string[];
  readonly count?: number;
  readonly practice?: number;
  readonly seed?: string;
  readonly policy?: string;
  readonly size?: '28' | '32' | '64';
  readonly channels?: '1' | '3';
  readonly split?: 'train' | 'val' | 'test';
  readonly port: number;
  readonly host: string;
  readonly cert?: string;
  readonly key?: string;
  readonly json: boolean;
}

/** With `--json`, one a line. */
type StudyEvent =
  | { readonly kind: 'serving'; readonly port: number; readonly links: readonly Link[] }
  | { readonly kind: 'answered'; readonly reader: string; readonly answered: number; readonly of: number };

const COUNT = 50;
const studyPath = (folder: string): string => join(folder, 'study.json');

/**
 * Serves a study until a signal. The first start chooses its pictures; later ones go on with them.
 * @returns what to exit with.
 * @throws {FedError} PARAMETER_INVALID, DATASET_INVALID, STUDY_DIFFERS, STORE_CORRUPT
 */
export async function runStudy(o: StudyOptions, random: RandomBytes = secureBytes): Promise<number> {
  const readers = checkedReaders(o.readers);
  const tls = tlsOf(o);
  mkdirSync(o.out, { recursive: true, mode: 0o700 });
  using _lock = lockFolder(o.out);
  const known = existsSync(studyPath(o.out)) ? openStudy(o.out) : undefined;
  if (known !== undefined) assertSame(known, o);
  const sets = await readSets(o, known);
  const study = known === undefined ? begin(o, sets, readers, random) : withReaders(known, readers);
  if (study !== known) replaceWhole(studyPath(o.out), `${JSON.stringify(study, null, 1)}\n`, 0o600);
  const pictures = picturesOf(study, sets);
  using answers = new AnswerStore(join(o.out, 'answers.sqlite'));
  const event: (event: StudyEvent) => void = o.json ? eventLines() : () => undefined;

  const stopped = Promise.withResolvers<void>();
  const interrupt = onInterrupt(() => stopped.resolve());
  try {
    const listener = studyListener({
      study,
      pictures,
      answers,
      pageFolder: join(packageRoot(), 'site-agent/study/page'),
      nowMs: Date.now,
      isLoopback: isLoopback(o.host),
      onAnswer: (reader, answered, of) => {
        event({ kind: 'answered', reader, answered, of });
        if (answered < of) return;
        writeResults(o.out, study, answers.all());
        note(`${reader} has answered all ${of} pictures.`);
      },
      onFault: (error) => note(`UNEXPECTED: ${(error as Error).message}`),
    });
    await using server = await listenStudy(listener, { host: o.host, port: o.port, ...(tls && { tls }) });
    const links = linksOf(study, o, server.port);
    event({ kind: 'serving', port: server.port, links });
    if (!o.json) print(welcome(study, links, answers));
    if (!isLoopback(o.host)) note(NETWORK_WARNING);
    await stopped.promise;
  } finally {
    interrupt.release();
  }
  const files = writeResults(o.out, study, answers.all());
  note(`Stopped. Every answer that was acknowledged is kept. Results: ${files.join(', ')}`);
  return EXIT.ok;
}

/** The summary of what is answered so far, whether or not a server runs. Writes the results again. */
export function studyReport(folder: string, json: boolean): string {
  const study = openStudy(folder);
  using answers = new AnswerStore(join(folder, 'answers.sqlite'));
  writeResults(folder, study, answers.all());
  return readFileSync(join(folder, json ? 'summary.json' : 'summary.md'), 'utf8').trimEnd();
}

function openStudy(folder: string): Study {
  const path = studyPath(folder);
  if (!existsSync(path)) throw new FedError('PARAMETER_INVALID', `there is no study in ${folder}`);
  return parseJson(readText(path, 'study'), Study, path, 'STORE_CORRUPT');
}

function checkedReaders(readers: readonly string[] | undefined): readonly string[] | undefined {
  const wrong = readers?.find((name) => !ReaderId.safeParse(name).success);
  if (wrong !== undefined || new Set(readers).size !== (readers?.length ?? 0))
    throw new FedError('PARAMETER_INVALID', `--readers: ${wrong === undefined ? 'a name occurs twice' : `"${wrong}" is not of at most 32 small letters, digits and hyphens`}`); // prettier-ignore
  return readers;
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.')); // prettier-ignore

function tlsOf({ host, cert, key }: StudyOptions): { cert: string; key: string } | undefined {
  if (cert === undefined && key === undefined && isLoopback(host)) return undefined;
  if (cert === undefined || key === undefined)
    throw new FedError('PARAMETER_INVALID', 'beyond this machine pictures and answers need TLS: give --cert and --key, or keep 127.0.0.1 and forward the port (ssh -L)'); // prettier-ignore
  return { cert: readText(cert, 'certificate'), key: readText(key, 'key') };
}

/** What is said again at a later start must be what was said at the first. */
function assertSame(study: Study, o: StudyOptions): void {
  const said = { seed: o.seed, count: o.count, practice: o.practice, size: o.size && Number(o.size), channels: o.channels && Number(o.channels) }; // prettier-ignore
  for (const [name, value] of Object.entries(said))
    if (value !== undefined && value !== study[name as keyof typeof said])
      throw new FedError('STUDY_DIFFERS', `${o.out} holds a study with ${name} ${study[name as keyof typeof said]}, not ${value}`); // prettier-ignore
}

function begin(o: StudyOptions, sets: StudySets, readers: readonly string[] | undefined, random: RandomBytes): Study {
  // prettier-ignore
  const hex = (bytes: number): string => {
    const drawn = new Uint8Array(bytes);
    random(drawn);
    return Buffer.from(drawn).toString('hex');
  };
  const { size, channels, classNames } = sets.synthetic;
  const fixed = { seed: o.seed ?? hex(16), secret: hex(32), count: o.count ?? COUNT, practice: o.practice ?? 0 };
  const { items, perClass } = chooseItems(sets, fixed);
  const scored = perClass.reduce((a, b) => a + b, 0);
  if (scored < fixed.count) note(`Only ${scored} pictures of each kind, not ${fixed.count}: no more of each class are in every set, one a patient.`); // prettier-ignore
  const left = classNames.filter((_, k) => perClass[k] === 0);
  if (left.length > 0) note(`Not asked about, as not in every set: ${left.join(', ')}.`);
  return Study.parse({
    version: 1,
    ...fixed,
    createdMs: Date.now(),
    size,
    channels,
    classes: classNames,
    questions: [...(sets.real === undefined ? [] : ['kind']), 'quality', ...(classNames.length > 1 ? ['class'] : [])],
    readers: readers ?? ['reader-1'],
    items,
  });
}

function withReaders(study: Study, readers: readonly string[] = []): Study {
  const added = readers.filter((reader) => !study.readers.includes(reader));
  return added.length === 0 ? study : { ...study, readers: [...study.readers, ...added] };
}

interface Link {
  readonly reader: string;
  readonly url: string;
}

function linksOf(study: Study, o: StudyOptions, port: number): Link[] {
  const host = isIP(o.host) === 6 ? `[${o.host}]` : o.host;
  const scheme = o.cert === undefined ? 'http' : 'https';
  // After the #: a browser sends it to nobody, and the page takes it out of the address.
  return study.readers.map((reader) => ({ reader, url: `${scheme}://${host}:${port}/#${readerToken(study, reader)}` })); // prettier-ignore
}

function welcome(study: Study, links: readonly Link[], answers: AnswerStore): string {
  const of = study.items.length;
  return [
    `A link for each reader; whoever has it answers as that reader.`,
    ...links.map(({ reader, url }) => `  ${reader}, ${answers.of(reader).length} of ${of} answered: ${url}`),
    'Ctrl-C ends it and writes the results. The same command goes on.',
  ].join('\n');
}

const NETWORK_WARNING = [
  'WARNING: the page can be reached from other machines. Real images among the pictures leave this one for the browser of',
  'whoever holds a link. Hand each link to its reader alone, and only inside the site that holds the images.',
].join('\n');

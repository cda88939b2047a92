/** A small study of phantoms, served in this process, and a reader who asks over HTTP as the page does. */
import { join } from 'node:path';
import type { RequestListener } from 'node:http';
import { packageRoot } from '../../cli/package-root.ts';
import type { LabelledImages } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import type { Answers, KeptAnswer } from '../../site-agent/study/answer-store.ts';
import { chooseItems, type StudySets } from '../../site-agent/study/choose-items.ts';
import { listenStudy, studyListener } from '../../site-agent/study/study-server.ts';
import { type Answer, readerToken, Study } from '../../site-agent/study/study.ts';

export const phantoms = (site: string, patients = 24): LabelledImages =>
  phantomImages({ size: 28, channels: 1, patients, imagesPerPatient: [1, 2], seed: `study ${site}`, site });

export const studySets = (): StudySets => ({ synthetic: phantoms('made'), real: phantoms('found') });

export function madeStudy(sets: StudySets, change: Partial<Study> = {}): Study {
  const { seed = 'seed', secret = '5'.repeat(64), count = 8, practice = 0 } = change;
  return Study.parse({
    version: 1,
    createdMs: 0,
    size: sets.synthetic.size,
    channels: sets.synthetic.channels,
    classes: sets.synthetic.classNames,
    questions: sets.real ? ['kind', 'quality', 'class'] : ['quality', 'class'],
    readers: ['anna', 'ben'],
    items: chooseItems(sets, { count, practice, seed, secret }).items,
    ...change,
    seed,
    secret,
    count,
    practice,
  });
}

export class MemoryAnswers implements Answers {
  readonly kept: KeptAnswer[] = [];
  of = (reader: string): KeptAnswer[] => this.kept.filter((k) => k.reader === reader);
  keep = (answer: KeptAnswer): void => void this.kept.push(answer);
}

/** A whole answer, whatever was shown. */
export const anAnswer = (o: Partial<Answer> = {}): Answer => ({ kind: 'real', quality: 3, label: 0, tookMs: 5, ...o });

export interface Served extends AsyncDisposable {
  readonly url: string;
  readonly answers: MemoryAnswers;
  /** Asks as a reader. */
  ask(
    path: string,
    o?: { reader?: string; token?: string; body?: unknown; headers?: Record<string, string> },
  ): Promise<Response>;
}

/** @param wrap - makes another listener of ours, for positive controls. */
export async function serveStudy(
  study: Study,
  pictures: ReadonlyMap<string, Uint8Array>,
  wrap: (listener: RequestListener) => RequestListener = (listener) => listener,
): Promise<Served> {
  const answers = new MemoryAnswers();
  const listener = studyListener({
    study,
    pictures,
    answers,
    pageFolder: join(packageRoot(), 'site-agent/study/page'),
    nowMs: () => 1000,
    isLoopback: true,
  });
  const server = await listenStudy(wrap(listener), { host: '127.0.0.1', port: 0 });
  const url = `http://127.0.0.1:${server.port}`;
  return {
    url,
    answers,
    ask: (path, { reader = 'anna', token = readerToken(study, reader), body, headers = {} } = {}) =>
      fetch(url + path, { ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }), headers: { Authorization: `Bearer ${token}`, ...headers } }), // prettier-ignore
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

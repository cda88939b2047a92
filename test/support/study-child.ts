/** A study server in a process of its own that acknowledges before it keeps: what the kill test must catch. */
import { join } from 'node:path';
import { packageRoot } from '../../cli/package-root.ts';
import { type Answers, AnswerStore, type KeptAnswer } from '../../site-agent/study/answer-store.ts';
import { picturesOf } from '../../site-agent/study/choose-items.ts';
import { listenStudy, studyListener } from '../../site-agent/study/study-server.ts';
import { readerToken } from '../../site-agent/study/study.ts';
import { madeStudy, studySets } from './study-rig.ts';

const sets = studySets();
const study = madeStudy(sets);
const store = new AnswerStore(process.argv[2]);
const waiting: KeptAnswer[] = [];
const lazy: Answers = {
  of: (reader) => [...store.of(reader), ...waiting.filter((k) => k.reader === reader)],
  keep: (answer) => {
    waiting.push(answer);
    if (waiting.length === 8) waiting.splice(0).forEach((k) => store.keep(k));
  },
};
const pageFolder = join(packageRoot(), 'site-agent/study/page');
const listener = studyListener({ study, pictures: picturesOf(study, sets), answers: lazy, pageFolder, nowMs: () => 0, isLoopback: true }); // prettier-ignore
const { port } = await listenStudy(listener, { host: '127.0.0.1', port: 0 });
const links = [{ reader: 'anna', url: `http://127.0.0.1:${port}/#${readerToken(study, 'anna')}` }];
process.stdout.write(`${JSON.stringify({ kind: 'serving', port, links })}\n`);

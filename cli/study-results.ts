/** The files a study leaves: answers as a table, and what they come to. */
import { join } from 'node:path';
import type { KeptAnswer } from '../site-agent/study/answer-store.ts';
import { readingsOf, studyResults } from '../site-agent/study/results.ts';
import { answersCsv, figuresCsv, summaryText } from '../site-agent/study/results-text.ts';
import type { Study } from '../site-agent/study/study.ts';
import { replaceWhole } from './output.ts';

/** Written whole, for their owner alone: they hold what each picture truly is. @returns their paths. */
export function writeResults(folder: string, study: Study, answers: readonly KeptAnswer[]): string[] {
  const results = studyResults(study, answers);
  const files = {
    'answers.csv': answersCsv(study, readingsOf(study, answers)),
    'summary.csv': figuresCsv(results),
    'summary.json': `${JSON.stringify(results, null, 1)}\n`,
    'summary.md': summaryText(study, results),
  };
  return Object.entries(files).map(([name, text]) => {
    replaceWhole(join(folder, name), text, 0o600);
    return join(folder, name);
  });
}

import { describe, expect, test } from 'vitest';
import { clopperPearson } from '../../shared/metrics/proportion.ts';
import type { KeptAnswer } from '../../site-agent/study/answer-store.ts';
import { readingsOf, studyResults } from '../../site-agent/study/results.ts';
import { answersCsv, figuresCsv, summaryText } from '../../site-agent/study/results-text.ts';
import { type Answer, type Item, orderFor, type Study } from '../../site-agent/study/study.ts';
import { madeStudy, studySets } from '../support/study-rig.ts';

const sets = studySets();
const study = madeStudy(sets, { practice: 2, count: 8 });

/** What a reader says of each picture they meet, up to a number of them. */
function said(reader: string, say: (item: Item, place: number) => Partial<Answer>, most = Infinity): KeptAnswer[] {
  return orderFor(study, reader)
    .slice(0, most)
    .map((item, position) => ({
      reader,
      position,
      item: item.id,
      timeMs: Date.UTC(2026, 0, 2),
      answer: { kind: 'real', quality: 3, label: 0, tookMs: 1500, ...say(item, position) },
    }));
}
const truthful = (item: Item): Partial<Answer> => ({ kind: item.kind, label: item.label, quality: item.kind === 'real' ? 5 : 2 }); // prettier-ignore

describe('figures', () => {
  test('one reader who is always right: shares of one with the exact interval; practice is in none', () => {
    const r = studyResults(study, said('anna', truthful));
    expect(r.readers).toMatchObject([
      { reader: 'anna', answered: 16, of: 16, kind: { accuracy: { right: 16, of: 16, share: 1, ...clopperPearson(16, 16) }, sensitivity: { right: 8, of: 8 }, specificity: { right: 8, of: 8 } } }, // prettier-ignore
      { reader: 'ben', answered: 0, kind: null },
    ]);
    expect(r.kind!.accuracy.value).toBe(1);
    expect(r.kind!.accuracy.low).toBeLessThan(1);
    expect(r.quality.map((q) => [q.kind, q.mean.value, q.counts])).toEqual([['real', 5, [0, 0, 0, 0, 8]], ['synthetic', 2, [0, 8, 0, 0, 0]]]); // prettier-ignore
    expect(r.qualityGap!.value).toBe(3);
    expect(r.classes.every((c) => c.share.value === 1)).toBe(true);
    expect([r.pairs, r.all]).toEqual([[], {}]);
  });

  test('one who calls everything synthetic: all found, none accepted', () => {
    const { kind } = studyResults(
      study,
      said('anna', () => ({ kind: 'synthetic' })),
    );
    expect([kind!.accuracy.value, kind!.sensitivity.value, kind!.specificity.value]).toEqual([0.5, 1, 0]);
  });

  test('answers that are to another picture, or of somebody who reads nothing, are refused by name', () => {
    const [first, ...rest] = said('anna', truthful);
    expect(() => studyResults(study, [first, ...rest])).not.toThrow();
    for (const wrong of [
      { ...first, item: rest[0].item },
      { ...first, position: 10_000 },
      { ...first, reader: 'zoe' },
    ])
      expect(() => studyResults(study, [wrong, ...rest])).toThrow(
        /^STORE_CORRUPT: answer \d+ of \w+ is to another picture/,
      );
  });
  test('two who say the same have kappa 1, opposite ones -1; cases are those that both answered', () => {
    const opposite = (item: Item): Partial<Answer> => ({ ...truthful(item), kind: item.kind === 'real' ? 'synthetic' : 'real' }); // prettier-ignore
    const same = studyResults(study, [...said('anna', truthful), ...said('ben', truthful)]);
    expect(same.pairs[0]).toMatchObject({ readers: ['anna', 'ben'], kind: { cases: 16, kappa: { value: 1 } }, quality: { kappa: { value: 1 } }, class: { kappa: { value: 1 } } }); // prettier-ignore
    expect(same.all.kind).toMatchObject({ cases: 16, kappa: { value: 1 } });
    const apart = studyResults(study, [...said('anna', truthful), ...said('ben', opposite)]);
    expect(apart.pairs[0].kind!.kappa.value).toBe(-1);
    expect(apart.kind!.accuracy.value).toBe(0.5);
    const short = studyResults(study, [...said('anna', truthful), ...said('ben', truthful, 4 + 5)]);
    expect([short.pairs[0].kind!.cases, short.readers[1].answered]).toEqual([5, 5]);
  });

  test('cannot tell the class is not right; the same answers give the same figures', () => {
    const kept = said('anna', (item) => ({ ...truthful(item), label: -1 }));
    expect(studyResults(study, kept).classes.every((c) => c.share.value === 0)).toBe(true);
    expect(studyResults(study, kept)).toEqual(studyResults(study, kept));
  });

  test('nothing answered, practice alone, and synthetic pictures alone', () => {
    for (const kept of [[], said('anna', truthful, 4)]) {
      const r = studyResults(study, kept);
      expect([r.kind, r.quality, r.classes, r.readers[0].answered]).toEqual([null, [], [], 0]);
      expect(summaryText(study, r)).toContain('anna 0 of 16');
    }
    const alone: Study = madeStudy({ synthetic: sets.synthetic });
    const r = studyResults(alone, orderFor(alone, 'anna').map((item, position) => ({ reader: 'anna', position, item: item.id, timeMs: 0, answer: { quality: 4, label: item.label, tookMs: 1 } }))); // prettier-ignore
    expect([r.kind, r.qualityGap, r.quality.map((q) => q.kind)]).toEqual([null, null, ['synthetic']]);
    expect(summaryText(alone, r)).not.toContain('Real or synthetic');
  });
});

test('the table: one line an answer, quoted where needed, formulas made text', () => {
  const named = { ...study, classes: ['=1+1', 'a,"b"', ...study.classes.slice(2)] };
  const kept = said('anna', (item) => ({ ...truthful(item), label: item.label === 0 ? -1 : item.label }));
  const lines = answersCsv(named, readingsOf(named, kept)).split('\r\n');
  expect(lines[0]).toBe('reader,position,practice,item,true_kind,true_class,kind,quality,class,took_ms,answered_at');
  expect(lines).toHaveLength(1 + 20 + 1);
  expect(lines[1]).toMatch(/^anna,0,true,[0-9a-f]{16},(real|synthetic),/);
  expect(lines.join()).toContain(",'=1+1,");
  expect(lines.join()).toContain('"a,""b"""');
  expect(lines.join()).toContain(',cannot-tell,1500,2026-01-02T00:00:00.000Z');
});

test('the figures as a table: each of the summary with its interval; what is not defined is empty', () => {
  const ben = said('ben', (_, place) => ({ kind: place % 2 ? 'real' : 'synthetic', quality: 1 + (place % 5) }));
  const r = studyResults(study, [...said('anna', (item) => ({ ...truthful(item), quality: item.kind === 'real' ? 1 : 4 })), ...ben]); // prettier-ignore
  const rows = figuresCsv(r).trimEnd().split('\r\n').map((line) => line.split(',')); // prettier-ignore
  const [head, ...lines] = rows;
  expect(head.join()).toBe('figure,readers,pictures,class,answers,value,low_95,high_95');
  const found = (...start: string[]) => lines.filter((line) => start.every((x, k) => line[k] === x));
  const { low, high } = clopperPearson(16, 16);
  expect(found('accuracy', 'anna')).toEqual([['accuracy', 'anna', 'all', '', '16', '1', String(low), String(high)]]);
  const { value, ...interval } = r.kind!.sensitivity;
  expect(found('sensitivity', 'all')).toEqual([['sensitivity', 'all', 'synthetic', '', '16', ...[value, interval.low, interval.high].map(String)]]); // prettier-ignore
  expect(found('quality', 'all').map((line) => line[4])).toEqual(['16', '16']);
  expect(found('class named rightly')).toHaveLength(r.classes.length);
  expect(found('kappa kind', 'anna and ben')[0][5]).toBe(String(r.pairs[0].kind!.kappa.value));
  // Below zero, and a number all the same.
  const [gap] = figuresCsv(r).split('\r\n').filter((line) => line.startsWith('"quality, real less synthetic"')); // prettier-ignore
  expect(gap.split(',').at(-3)).toBe(String(r.qualityGap!.value));
  expect(r.qualityGap!.value).toBeLessThan(0);
  const always = ['anna', 'ben'].flatMap((reader) => said(reader, () => ({ kind: 'real' })));
  const undefinedKappa = figuresCsv(studyResults(study, always));
  expect(undefinedKappa).toMatch(/^kappa kind,anna and ben,all,,16,,,\r$/m);
});

test('the summary says what a difference is and what was not shown', () => {
  const right = summaryText(study, studyResults(study, [...said('anna', truthful), ...said('ben', truthful)]));
  expect(right).toContain('better than a coin');
  expect(right).toContain('| anna | 16 of 16, 100.0 % (79.4 % to 100.0 %) |');
  const half = summaryText(study, studyResults(study, said('anna', (_, place) => ({ kind: place % 2 ? 'real' : 'synthetic' })))); // prettier-ignore
  expect(half).toContain('That they see none is not shown either');
  const wrong = (item: Item): Partial<Answer> => ({ kind: item.kind === 'real' ? 'synthetic' : 'real' });
  expect(summaryText(study, studyResults(study, said('anna', wrong)))).toContain('the wrong way round');
});

import { describe, expect, test } from 'vitest';
import { selectImages } from '../../shared/imaging/images.ts';
import { seeded } from '../../shared/imaging/seeded.ts';
import { chooseItems, evenQuotas, picturesOf } from '../../site-agent/study/choose-items.ts';
import { type Answer, orderFor, readerOf, readerToken, settleAnswer } from '../../site-agent/study/study.ts';
import { anAnswer, madeStudy, phantoms, studySets } from '../support/study-rig.ts';

const sets = studySets();
const choice = { count: 8, practice: 2, seed: 's', secret: 'a'.repeat(64) };
const countOf = (items: readonly { label: number }[]) => sets.synthetic.classNames.map((_, k) => items.filter((i) => i.label === k).length); // prettier-ignore

describe('pictures of a study', () => {
  test('as many of each class real as synthetic, one a patient, and the same from the same seed', () => {
    const { items, perClass } = chooseItems(sets, choice);
    for (const kind of ['real', 'synthetic'] as const) {
      const own = items.filter((i) => i.kind === kind);
      expect([countOf(own.filter((i) => !i.practice)), own.length]).toEqual([perClass, 10]);
      const patients = own.map((i) => sets[kind]!.patients[i.index]);
      expect(new Set(patients).size).toBe(patients.length);
      for (const { label, index } of own) expect(sets[kind]!.labels[index]).toBe(label);
    }
    expect(new Set(items.map((i) => i.id)).size).toBe(items.length);
    expect(chooseItems(sets, choice).items).toEqual(items);
    expect(chooseItems(sets, { ...choice, seed: 't' }).items).not.toEqual(items);
  });

  test('a class that one set lacks is in neither part', () => {
    const { synthetic, real } = sets;
    const without = [...real!.labels.keys()].filter((i) => real!.labels[i] !== 1);
    const { items } = chooseItems({ synthetic, real: selectImages(real!, without) }, { ...choice, count: 6 });
    expect(countOf(items)[1]).toBe(0);
    const none = { ...real!, labels: real!.labels.map(() => 0) };
    const other = { ...synthetic, labels: synthetic.labels.map(() => 1) };
    expect(() => chooseItems({ synthetic: other, real: none }, choice)).toThrow(/DATASET_INVALID/);
  });

  test('quotas are even, bounded, and whole', () => {
    expect(evenQuotas([9, 9, 9], 6, seeded('q'))).toEqual([2, 2, 2]);
    expect(evenQuotas([1, 9, 0], 6, seeded('q'))).toEqual([1, 5, 0]);
    expect(evenQuotas([1, 1], 9, seeded('q'))).toEqual([1, 1]);
    const uneven = evenQuotas([9, 9, 9], 7, seeded('q'));
    expect([Math.max(...uneven), uneven.reduce((a, b) => a + b)]).toEqual([3, 7]);
  });

  test('other images than at the beginning are refused', () => {
    const study = madeStudy(sets);
    expect(picturesOf(study, sets).size).toBe(16);
    expect(() => picturesOf(study, { synthetic: sets.synthetic })).toThrow(/STUDY_DIFFERS/);
    expect(() => picturesOf(study, { ...sets, real: phantoms('elsewhere') })).toThrow(/STUDY_DIFFERS.*real/);
  });
});

describe('order and tokens', () => {
  const study = madeStudy(sets, { practice: 2 });
  const ids = (reader: string, of = study) => orderFor(of, reader).map((i) => i.id);

  test('every reader meets all pictures, practice first, in an order of their own that the seed decides', () => {
    expect(ids('anna').toSorted()).toEqual(study.items.map((i) => i.id).toSorted());
    expect(orderFor(study, 'anna').map((i) => i.practice)).toEqual([...Array<boolean>(4).fill(true), ...Array<boolean>(16).fill(false)]); // prettier-ignore
    expect(ids('anna')).toEqual(ids('anna'));
    expect(ids('anna')).not.toEqual(ids('ben'));
    expect(ids('anna', { ...study, seed: 'other' })).not.toEqual(ids('anna'));
  });

  test('a token is one reader’s, of one study', () => {
    const token = readerToken(study, 'anna');
    expect(token).toMatch(/^[\w-]{43}$/);
    expect([readerOf(study, token), readerOf(study, ''), readerOf(study, `${token}x`)]).toEqual(['anna', undefined, undefined]); // prettier-ignore
    expect(readerOf({ ...study, secret: '6'.repeat(64) }, token)).toBeUndefined();
    expect(readerOf(study, readerToken(study, 'stranger'))).toBeUndefined();
  });
});

describe('an answer', () => {
  const study = madeStudy(sets);
  const kept = [anAnswer()];
  test.each<[string, number, Answer, string | RegExp]>([
    ['the next one', 1, anAnswer(), 'new'],
    ['the same again, the acknowledgement was lost', 0, anAnswer({ tookMs: 99 }), 'known'],
    ['another one to the same picture', 0, anAnswer({ kind: 'synthetic' }), /ANSWER_CHANGED/],
    ['ahead of the next', 2, anAnswer(), /MESSAGE_INVALID.*not the next/],
    ['a class there is not', 1, anAnswer({ label: 99 }), /MESSAGE_INVALID/],
    ['a question left out', 1, { quality: 3, label: 0, tookMs: 1 }, /MESSAGE_INVALID/],
  ])('%s', (_name, position, answer, expected) => {
    if (typeof expected === 'string') expect(settleAnswer(study, kept, position, answer)).toBe(expected);
    else expect(() => settleAnswer(study, kept, position, answer)).toThrow(expected);
  });

  test('beyond the last, and to a question that was not asked', () => {
    const all = study.items.map(() => anAnswer());
    expect(() => settleAnswer(study, all, all.length, anAnswer())).toThrow(/MESSAGE_INVALID/);
    expect(() => settleAnswer({ ...study, questions: ['quality'] }, [], 0, anAnswer())).toThrow(/MESSAGE_INVALID/);
  });
});

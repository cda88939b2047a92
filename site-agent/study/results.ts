/**
 * What a study found. Pure. Practice is in no figure. Sensitivity is the share of synthetic pictures that were called
 * synthetic, specificity the share of real ones that were called real.
 */
import { cohenKappa, fleissKappa, type KappaWeights } from '../../shared/metrics/agreement.ts';
import { clopperPearson, type Interval } from '../../shared/metrics/proportion.ts';
import {
  differenceEstimate,
  type Estimate,
  meanEstimate,
  percentileInterval,
  type ReaderValue,
  RESAMPLES,
  shareEstimate,
} from '../../shared/metrics/reader-bootstrap.ts';
import { seeded, type Seeded } from '../../shared/imaging/seeded.ts';
import { assertFits, type KeptAnswer } from './answer-store.ts';
import { type Answer, BEST_QUALITY, type Item, type Kind, KINDS, NO_CLASS, orderFor, type Study } from './study.ts';

/** One answer beside the truth. */
export interface Reading {
  readonly reader: string;
  readonly position: number;
  readonly item: Item;
  readonly answer: Answer;
  readonly timeMs: number;
}

export interface Share extends Interval {
  readonly right: number;
  readonly of: number;
  /** NaN of none. */
  readonly share: number;
}
export interface KindShares<T> {
  readonly accuracy: T;
  readonly sensitivity: T;
  readonly specificity: T;
}
export interface ClassShare {
  readonly name: string;
  readonly kind: Kind;
  readonly share: Estimate;
}
export interface QualityMean {
  readonly kind: Kind;
  /** Answers of 1, of 2, ... */
  readonly counts: readonly number[];
  readonly mean: Estimate;
}
export interface Agreement {
  /** Cases that every one of them answered. */
  readonly cases: number;
  readonly kappa: Estimate;
}
export interface PairAgreement {
  readonly readers: readonly [string, string];
  readonly kind?: Agreement;
  readonly quality?: Agreement;
  readonly class?: Agreement;
}

export interface StudyResults {
  readonly readers: readonly { readonly reader: string; readonly answered: number; readonly of: number; readonly kind: KindShares<Share> | null }[]; // prettier-ignore
  /** Null where nobody was asked, or nobody has answered. */
  readonly kind: KindShares<Estimate> | null;
  readonly classes: readonly ClassShare[];
  readonly quality: readonly QualityMean[];
  /** Real less synthetic. */
  readonly qualityGap: Estimate | null;
  readonly pairs: readonly PairAgreement[];
  /** Fleiss, of all readers who answered anything. */
  readonly all: { readonly kind?: Agreement; readonly class?: Agreement };
}

/** Every answer with the picture it is to. @throws {FedError} STORE_CORRUPT when one is to none that its reader was shown there. */
export function readingsOf(study: Study, kept: readonly KeptAnswer[]): Reading[] {
  const orders = new Map(study.readers.map((reader) => [reader, orderFor(study, reader)]));
  for (const answer of kept) assertFits([answer], orders.get(answer.reader) ?? []);
  return kept.map(({ reader, position, answer, timeMs }) => ({ reader, position, item: orders.get(reader)![position], answer, timeMs })); // prettier-ignore
}

export function studyResults(study: Study, kept: readonly KeptAnswer[]): StudyResults {
  const scored = readingsOf(study, kept).filter(({ item }) => !item.practice);
  const draws = (name: string): Seeded => seeded(`study results ${study.seed}`).fork(name);
  const asks = (question: Study['questions'][number]): boolean => study.questions.includes(question) && scored.length > 0; // prettier-ignore
  const readers = [...new Set(scored.map((r) => r.reader))].toSorted();
  const kinds = KINDS.filter((kind) => study.items.some((item) => item.kind === kind));
  const quality = asks('quality') ? kinds.map((kind) => qualityOf(scored, kind, draws(`quality ${kind}`))) : [];
  return {
    readers: study.readers.map((reader) => {
      const own = scored.filter((r) => r.reader === reader);
      const kind = asks('kind') && own.length > 0 ? kindShares(own, exactShare) : null;
      return { reader, answered: own.length, of: study.items.filter((item) => !item.practice).length, kind };
    }),
    kind: asks('kind') ? kindShares(scored, (rows, name) => shareEstimate(rows.map(kindValue), draws(`kind ${name}`))) : null, // prettier-ignore
    classes: asks('class') ? kinds.flatMap((kind) => study.classes.map((name, k) => classShare(scored, kind, name, k, draws(`class ${kind} ${k}`)))).filter((c) => !Number.isNaN(c.share.value)) : [], // prettier-ignore
    quality,
    qualityGap: asks('quality') && kinds.length === 2 ? differenceEstimate(scored.map(qualityValue), ['real', 'synthetic'], draws('quality gap')) : null, // prettier-ignore
    pairs: pairsOf(readers).map((pair) => ({
      readers: pair,
      ...(asks('kind') ? { kind: cohen(scored, pair, kindCode, KINDS.length, 'none', draws(`kind ${pair.join()}`)) } : {}), // prettier-ignore
      ...(asks('quality') ? { quality: cohen(scored, pair, qualityCode, BEST_QUALITY, 'quadratic', draws(`quality ${pair.join()}`)) } : {}), // prettier-ignore
      ...(asks('class') ? { class: cohen(scored, pair, classCode, study.classes.length + 1, 'none', draws(`class ${pair.join()}`)) } : {}), // prettier-ignore
    })),
    all: {
      ...(asks('kind') && readers.length > 1 ? { kind: fleiss(scored, readers, kindCode, KINDS.length, draws('fleiss kind')) } : {}), // prettier-ignore
      ...(asks('class') && readers.length > 1 ? { class: fleiss(scored, readers, classCode, study.classes.length + 1, draws('fleiss class')) } : {}), // prettier-ignore
    },
  };
}

const isRight = ({ item, answer }: Reading): boolean => answer.kind === item.kind;
const valueOf = (r: Reading, value: number): ReaderValue => ({
  reader: r.reader,
  case: r.item.id,
  stratum: r.item.kind,
  value,
});
const kindValue = (r: Reading): ReaderValue => valueOf(r, Number(isRight(r)));
const qualityValue = (r: Reading): ReaderValue => valueOf(r, r.answer.quality!);
const kindCode = (r: Reading): number => KINDS.indexOf(r.answer.kind!);
const qualityCode = (r: Reading): number => r.answer.quality! - 1;
const classCode = (r: Reading): number => r.answer.label! - NO_CLASS;

function kindShares<T>(rows: readonly Reading[], share: (rows: readonly Reading[], name: string) => T): KindShares<T> {
  const only = (kind: Kind): Reading[] => rows.filter((r) => r.item.kind === kind);
  return {
    accuracy: share(rows, 'accuracy'),
    sensitivity: share(only('synthetic'), 'sensitivity'),
    specificity: share(only('real'), 'specificity'),
  };
}

function exactShare(rows: readonly Reading[]): Share {
  const right = rows.filter(isRight).length;
  return { right, of: rows.length, share: right / rows.length, ...clopperPearson(right, rows.length) };
}

function classShare(rows: readonly Reading[], kind: Kind, name: string, k: number, random: Seeded): ClassShare {
  const own = rows.filter(({ item }) => item.kind === kind && item.label === k);
  return { name, kind, share: shareEstimate(own.map((r) => valueOf(r, Number(r.answer.label === k))), random) }; // prettier-ignore
}

function qualityOf(rows: readonly Reading[], kind: Kind, random: Seeded): QualityMean {
  const own = rows.filter(({ item }) => item.kind === kind);
  const counts = Array.from({ length: BEST_QUALITY }, (_, k) => own.filter((r) => r.answer.quality === k + 1).length);
  return { kind, counts, mean: meanEstimate(own.map(qualityValue), random) };
}

const pairsOf = (readers: readonly string[]): [string, string][] =>
  readers.flatMap((a, i) => readers.slice(i + 1).map((b): [string, string] => [a, b]));

/** [cases][readers] answers as categories, of the cases that all these readers answered. */
function shared(rows: readonly Reading[], readers: readonly string[], code: (r: Reading) => number): number[][] {
  const byCase = Map.groupBy(rows, ({ item }) => item.id);
  return [...byCase.values()].flatMap((answers) => {
    const codes = readers.map((reader) => answers.find((r) => r.reader === reader)).map((r) => (r ? code(r) : undefined)); // prettier-ignore
    return codes.every((c) => c !== undefined) ? [codes] : [];
  });
}

/** A statistic of cases, with the percentile interval of cases drawn again; where it is not defined, NaN. */
function withInterval<T>(cases: readonly T[], statistic: (cases: readonly T[]) => number, random: Seeded): Estimate {
  const draw = (): T[] => cases.map(() => cases[random.below(cases.length)]);
  const draws = cases.length === 0 ? [] : Array.from({ length: RESAMPLES }, () => statistic(draw()));
  return { value: statistic(cases), ...percentileInterval(draws) };
}

function cohen(
  rows: readonly Reading[],
  readers: readonly [string, string],
  code: (r: Reading) => number,
  categories: number,
  weights: KappaWeights,
  random: Seeded,
): Agreement {
  // prettier-ignore
  const cases = shared(rows, readers, code);
  const kappa = (some: readonly number[][]): number =>
    cohenKappa(some.map(([a]) => a), some.map(([, b]) => b), categories, weights); // prettier-ignore
  return { cases: cases.length, kappa: withInterval(cases, kappa, random) };
}

function fleiss(
  rows: readonly Reading[],
  readers: readonly string[],
  code: (r: Reading) => number,
  categories: number,
  random: Seeded,
): Agreement {
  // prettier-ignore
  const table = shared(rows, readers, code).map((codes) =>
    Array.from({ length: categories }, (_, k) => codes.filter((c) => c === k).length),
  );
  return { cases: table.length, kappa: withInterval(table, fleissKappa, random) };
}

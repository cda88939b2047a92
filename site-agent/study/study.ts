/**
 * A reader study as it is kept: which pictures are asked about, what each truly is, and in which order a reader meets them.
 * Pure. What of it a reader gets to see is in `study-server.ts`.
 */
import { createHash, createHmac } from 'node:crypto';
import { z } from 'zod';
import { FedError } from '../../shared/errors.ts';
import { seeded } from '../../shared/imaging/seeded.ts';
import { Sha256Hex } from '../../shared/protocol/plan.ts';

/** What a picture truly is, and what a reader may take it for. */
export const KINDS = ['real', 'synthetic'] as const;
export type Kind = (typeof KINDS)[number];

export const QUESTIONS = ['kind', 'quality', 'class'] as const;
/** Of the quality question: 1 the worst. */
export const BEST_QUALITY = 5;
/** A reader who cannot tell the class. */
export const NO_CLASS = -1;

/** Letters and digits of a reader: it stands in links, tables and file names. */
export const ReaderId = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/);

const Item = z.strictObject({
  /** Says nothing to whoever lacks the secret. */
  id: z.string().regex(/^[0-9a-f]{16}$/),
  kind: z.enum(KINDS),
  /** Index into the study's classes. */
  label: z.int().min(0),
  /** Among the images of its set, in the order in which they are read. No file name is kept. */
  index: z.int().min(0),
  /** Of the bytes that are shown: a study that goes on shows the same pictures or none. */
  pixelsSha256: Sha256Hex,
  /** To learn on: its truth is told, and it is in no figure. */
  practice: z.boolean(),
});
export type Item = z.infer<typeof Item>;

export const Study = z.strictObject({
  version: z.literal(1),
  seed: z.string().min(1),
  /** 32 bytes in hexadecimal: links and ids of pictures are derived from it. */
  secret: Sha256Hex,
  createdMs: z.int().min(0),
  size: z.union([z.literal(28), z.literal(32), z.literal(64)]),
  channels: z.union([z.literal(1), z.literal(3)]),
  classes: z.array(z.string().min(1)).min(1),
  questions: z.array(z.enum(QUESTIONS)).min(1),
  /** Asked for of each kind; how many there are is in `items`. */
  count: z.int().min(1),
  practice: z.int().min(0),
  readers: z.array(ReaderId).min(1),
  items: z.array(Item).min(1),
});
export type Study = z.infer<typeof Study>;

export const itemId = (secret: string, kind: Kind, index: number): string =>
  createHmac('sha256', secret).update(`item ${kind} ${index}`).digest('hex').slice(0, 16);

/** What a reader's link carries. Whoever has it answers as that reader. */
export const readerToken = (study: Pick<Study, 'secret'>, reader: string): string =>
  createHmac('sha256', study.secret).update(`reader ${reader}`).digest('base64url');

/** The reader of a token, found without comparing text piece by piece. */
export function readerOf(study: Study, token: string): string | undefined {
  const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
  const wanted = digest(token);
  return study.readers.find((reader) => digest(readerToken(study, reader)) === wanted);
}

/** The pictures in the order in which one reader meets them, practice first: from the seed, another order for every reader. */
export function orderFor(study: Study, reader: string): Item[] {
  const random = seeded(`study order ${study.seed}`).fork(reader);
  const inOrder = (practice: boolean): Item[] =>
    random.fork(`${practice}`).shuffled(study.items.filter((item) => item.practice === practice));
  return [...inOrder(true), ...inOrder(false)];
}

export const Answer = z.strictObject({
  kind: z.enum(KINDS).optional(),
  quality: z.int().min(1).max(BEST_QUALITY).optional(),
  /** Index into the study's classes, or NO_CLASS. */
  label: z.int().min(NO_CLASS).optional(),
  /** From the picture's appearance to the answer, by the reader's clock. */
  tookMs: z.int().min(0).max(86_400_000),
});
export type Answer = z.infer<typeof Answer>;

const sameChoice = (a: Answer, b: Answer): boolean =>
  a.kind === b.kind && a.quality === b.quality && a.label === b.label;

/**
 * Decides one answer of a reader. A second one that is the same is no offence: its acknowledgement was lost.
 *
 * @param kept - the reader's answers so far, by position.
 * @returns whether it is to be kept, or was.
 * @throws {FedError} MESSAGE_INVALID: it is not the next one, or answers other questions than were asked; ANSWER_CHANGED.
 */
export function settleAnswer(study: Study, kept: readonly Answer[], position: number, answer: Answer): 'new' | 'known' {
  const asked = (question: (typeof QUESTIONS)[number]): boolean => study.questions.includes(question);
  const fits =
    (answer.kind !== undefined) === asked('kind') &&
    (answer.quality !== undefined) === asked('quality') &&
    (answer.label !== undefined) === asked('class') &&
    (answer.label ?? NO_CLASS) < study.classes.length;
  if (!fits) throw new FedError('MESSAGE_INVALID', 'the answer does not fit the questions');
  if (position < kept.length) {
    if (sameChoice(kept[position], answer)) return 'known';
    throw new FedError('ANSWER_CHANGED', `position ${position}`);
  }
  if (position > kept.length || position >= study.items.length)
    throw new FedError('MESSAGE_INVALID', `position ${position} is not the next, ${kept.length}`);
  return 'new';
}

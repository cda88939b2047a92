/** The messages of the gate's question, and what a site may say: one word a question. */
import { z } from 'zod';
import { Candidate } from './candidate.ts';
import { LogHead } from '../audit/log.ts';
import { Sha256Hex, SiteId } from '../protocol/plan.ts';

export const QUESTION_TYP = 'veilgan-gate-question+jws';
export const GATE_ANSWER_TYP = 'veilgan-gate-answer+jws';
export const SIGN_OFF_TYP = 'veilgan-sign-off+jws';

/** The coordinator to the sites that took part; signed, and in the log before it is shown. A run has one. */
export const GateQuestion = z.strictObject({
  type: z.literal('gate.question'),
  candidate: Candidate,
  asked: z.array(SiteId).min(1),
  /** The log's head when the question was made. */
  checkpoint: LogHead,
});
export type GateQuestion = z.infer<typeof GateQuestion>;

/** Is it above the policy's bound? Thresholded after the noise, so nothing else leaves. */
export const Word = z.enum(['no', 'yes', 'cannot-tell']);
export type Word = z.infer<typeof Word>;

export const GateWords = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('answered'),
    /** More copies among the synthetic images than the policy bears. */
    memorisation: Word,
    /** Members told from non-members better than the policy bears. */
    membership: Word,
  }),
  z.strictObject({ kind: z.literal('declined'), code: z.string().regex(/^[A-Z][A-Z_]{0,63}$/) }),
]);
export type GateWords = z.infer<typeof GateWords>;

/** What a site signs: which question it answers, about which candidate, and how. */
export const GateAnswer = z.strictObject({
  siteId: SiteId,
  runId: z.uuid(),
  questionSha256: Sha256Hex,
  candidateSha256: Sha256Hex,
  words: GateWords,
});
export type GateAnswer = z.infer<typeof GateAnswer>;

/** What a person signs: this candidate, whose verdict they have seen. */
export const SignOffStatement = z.strictObject({
  runId: z.uuid(),
  policySha256: Sha256Hex,
  candidateSha256: Sha256Hex,
  name: z.string().min(1).max(64),
});
export type SignOffStatement = z.infer<typeof SignOffStatement>;

/** The messages of the gate: the coordinator's question, a site's answer, a person's signature. */
import { z } from 'zod';
import { Candidate } from './candidate.ts';
import { GateWords } from './outcome.ts';
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

/** What a site signs: about which candidate, and in which words. */
export const GateAnswer = z.strictObject({
  siteId: SiteId,
  runId: z.uuid(),
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

import { z } from 'zod';
import { LogEntry, Software } from '../audit/entry.ts';
import { ChainHead } from '../audit/chain.ts';
import { LeftOutCommitment } from '../audit/left-out.ts';
import { LogHead } from '../audit/log.ts';
import { hashJson } from '../audit/canonical.ts';
import { Bytes, MAX_CHUNK_BYTES, MAX_PIECES_ALONG } from './messages.ts';
import { MAX_NOTE_BYTES, Sha256Hex, SiteId } from './plan.ts';

/** The purposes of the three signatures of a round that goes well; each is addressed to the whole consortium. */
export const PLAN_TYP = 'veilgan-plan+jws';
export const ANSWER_TYP = 'veilgan-answer+jws';
export const EPSILON_TYP = 'veilgan-epsilon+jws';
/** And of a site's declining, and of its adopting a policy. */
export const DECLINE_TYP = 'veilgan-decline+jws';
export const ADOPTION_TYP = 'veilgan-adoption+jws';

/** A plan with a thousand sites and their cosignatures in it fits. */
const Jws = z.string().max(256 * 1024);

/** The longest that a question may wait for its answer, in milliseconds: well below what a call may take. */
export const MAX_QUESTION_MS = 60_000;

/** "What is there for me to do?" Safe to ask at any time. */
export const SiteNext = z.strictObject({
  /** A fresh id of every agent process: a site that declined for good is asked again when its agent was started anew. */
  session: z.uuid(),
  /** How long "nothing" may be held back in case there will be something, in milliseconds; absent: not at all. */
  waitMs: z.int().min(0).max(MAX_QUESTION_MS).optional(),
  /** Whether the discriminator may come along with the work that needs it. */
  along: z.literal(true).optional(),
});
export type SiteNext = z.infer<typeof SiteNext>;

/** A blob that `tensor.get` will serve. */
export const TensorRef = z.strictObject({ sha256: Sha256Hex, bytes: z.int().min(1) });
export type TensorRef = z.infer<typeof TensorRef>;

export const NextReply = z.discriminatedUnion('kind', [
  /** Nothing now. */
  z.strictObject({ kind: z.literal('idle') }),
  z.strictObject({
    kind: z.literal('work'),
    /** The signed plan: the same bytes for every site and every time it is asked for. */
    plan: Jws,
    phase: z.int().min(0),
    downlink: z.json(),
    /** Null but in a generator round. */
    generator: TensorRef.nullable(),
    /** The pooled discriminator as this phase finds it; null but in a discriminator round. */
    discriminator: TensorRef.nullable(),
    /** Its bytes in pieces, where the site has said that they may come along and they are few: once. */
    along: z
      .array(Bytes.refine((b) => b.length <= MAX_CHUNK_BYTES, 'a piece is too long'))
      .min(1)
      .max(MAX_PIECES_ALONG)
      .optional(),
    /** What the phase has to show that is too large for a downlink; absent where there is nothing. */
    blob: TensorRef.optional(),
    /** Null in every round but a moment round after the first. */
    critic: TensorRef.nullable(),
  }),
  /** Nothing to compute, but a checkpoint that this site has not cosigned. */
  z.strictObject({ kind: z.literal('witness'), runId: z.uuid(), checkpoint: LogHead }),
  /** The rounds are over: is this candidate one that may leave? The question is signed, the same bytes for every site. */
  z.strictObject({ kind: z.literal('gate'), question: Jws, released: TensorRef }),
  z.strictObject({
    kind: z.literal('finished'),
    runId: z.uuid(),
    outcome: z.enum(['completed', 'stopped']),
    generator: TensorRef,
  }),
]);
export type NextReply = z.infer<typeof NextReply>;

const Place = { runId: z.uuid(), round: z.int().min(0), attempt: z.int().min(0), phase: z.int().min(0) };

/**
 * What a site says of its fakes after its steps: the noised discriminator on generated images, so post-processing. A
 * claim nobody can check: it may steer how many steps a round takes, and never what a step costs.
 */
export const FakesReport = z.strictObject({
  /** Mean discriminator loss. */
  fakeLoss: z.number(),
  /** Share called fake; whoever uses it leaves out what is not in [0, 1]. */
  fakeAccuracy: z.number(),
});
export type FakesReport = z.infer<typeof FakesReport>;

/** One phase's answer. The tensor travels before it, in chunks. Sending the same answer again changes nothing. */
export const RoundAnswer = z.strictObject({
  ...Place,
  body: z.json(),
  tensorSha256: Sha256Hex.nullable(),
  /** With the first phase of a generator round; null elsewhere, and from a site with no finite number to show. */
  fakes: FakesReport.nullable(),
  /** JWS over the `AnswerStatement`. */
  signature: Jws,
  /** JWS over an `EpsilonStatement`, where the answer comes with one. */
  epsilon: Jws.nullable(),
});
export type RoundAnswer = z.infer<typeof RoundAnswer>;

/** What a site signs of an answer: where it belongs, which plan it answers, and what it holds, by hash. */
export const AnswerStatement = z.strictObject({
  ...Place,
  siteId: SiteId,
  planSha256: Sha256Hex,
  bodySha256: Sha256Hex,
  tensorSha256: Sha256Hex.nullable(),
  fakes: FakesReport.nullable(),
});
export type AnswerStatement = z.infer<typeof AnswerStatement>;

/** The statement an answer has to carry. Both sides build it; neither takes the other's word for it. */
export const statementOf = (
  siteId: string,
  planSha256: string,
  answer: Pick<RoundAnswer, 'runId' | 'round' | 'attempt' | 'phase' | 'body' | 'tensorSha256' | 'fakes'>,
): AnswerStatement => ({
  runId: answer.runId,
  round: answer.round,
  attempt: answer.attempt,
  phase: answer.phase,
  siteId,
  planSha256,
  bodySha256: hashJson(answer.body),
  tensorSha256: answer.tensorSha256,
  fakes: answer.fakes,
});

/** A site says no, with a code for machines and a sentence for the operator. */
export const RoundDecline = z.strictObject({
  runId: z.uuid(),
  round: z.int().min(0),
  attempt: z.int().min(0),
  code: z.string().regex(/^[A-Z][A-Z_]{0,63}$/),
  /** Shown to the operator, never logged. */
  detail: z.string().max(2000),
  /** JWS over the `DeclineStatement`. */
  signature: Jws,
});
export type RoundDecline = z.infer<typeof RoundDecline>;

/** What a site signs when it declines. The plan may be one it could not verify: its place is repeated, not believed. */
export const DeclineStatement = z.strictObject({
  siteId: SiteId,
  runId: z.uuid(),
  round: z.int().min(0),
  attempt: z.int().min(0),
  code: z.string(),
  planSha256: Sha256Hex,
});
export type DeclineStatement = z.infer<typeof DeclineStatement>;

/** What a site signs before its first round, and when its software has changed: that it takes part under this policy. */
export const AdoptionStatement = z.strictObject({
  siteId: SiteId,
  runId: z.uuid(),
  policySha256: Sha256Hex,
  software: Software,
});
export type AdoptionStatement = z.infer<typeof AdoptionStatement>;
export const PolicyAdopt = z.strictObject({ runId: z.uuid(), statement: Jws });

/**
 * What a site's own ledger holds for one run. Nothing that can be read in it depends on data: it counts what was done, not to
 * whom, and where the list of patients left out stands is hidden by a salt of the site's.
 */
export const EpsilonStatement = z.strictObject({
  siteId: SiteId,
  runId: z.uuid(),
  policySha256: Sha256Hex,
  /** By RDP, of all entries of this run so far. Null: infinite. */
  epsilon: z.number().min(0).nullable(),
  delta: z.number(),
  /** What was done to the data in this run so far, as the ledger has it: what `epsilon` is worked out from. */
  events: z.array(z.looseObject({ kind: z.string().max(64), count: z.int().min(1) })).max(64),
  /** Ledger entries of this run so far, those of interrupted steps included. */
  entries: z.int().min(0),
  /** The ledger's own chain: the site can be held to it later. */
  ledger: ChainHead,
  leftOut: LeftOutCommitment,
});
export type EpsilonStatement = z.infer<typeof EpsilonStatement>;

/** What a site says to the gate's question: a signed `GateAnswer`, and what its ledger holds after it, where it answered. */
export const GateReply = z.strictObject({ runId: z.uuid(), answer: Jws, epsilon: Jws.nullable() });
export type GateReply = z.infer<typeof GateReply>;

/** Entries of the round log from `from` on: as many as fit a message. */
export const LogRead = z.strictObject({ runId: z.uuid(), from: z.int().min(0) });
export const LogPage = z.strictObject({ entries: z.array(LogEntry), head: LogHead });
export type LogPage = z.infer<typeof LogPage>;

/** The checkpoint of this size, and the proof that it continues the log of `from` entries. */
export const CheckpointGet = z.strictObject({ runId: z.uuid(), size: z.int().min(0), from: z.int().min(0) });
export const CheckpointReply = z.strictObject({
  /** The signed note of the coordinator, with the cosignatures that have come in. */
  note: z.string().max(MAX_NOTE_BYTES),
  /** RFC 6962 consistency proof, base64. */
  proof: z.array(z.base64().length(44)).max(64),
});

/** A site's cosignature under the checkpoint of this size: one line of a signed note. */
export const LogCosign = z.strictObject({
  runId: z.uuid(),
  size: z.int().min(0),
  cosignature: z.string().max(256),
});

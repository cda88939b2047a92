import { z } from 'zod';
import type { LogDraft, LogEntry } from '../../shared/audit/entry.ts';
import type { LogHead } from '../../shared/audit/log.ts';
import type { Hash, NodeId } from '../../shared/audit/merkle.ts';
import { GateWords } from '../../shared/gate/outcome.ts';
import { Candidate } from '../../shared/gate/candidate.ts';
import { RoundPlan, Sha256Hex, SiteId } from '../../shared/protocol/plan.ts';
import { FakesReport } from '../../shared/protocol/round-messages.ts';
import { StepState } from '../core/step-schedule.ts';

/** A blob by its content: the bytes lie in the blob store. */
export const BlobRef = z.strictObject({ sha256: Sha256Hex, bytes: z.int().min(0) });
export type BlobRef = z.infer<typeof BlobRef>;

/** The pooled discriminator after `total` steps of the run, the last of them in this attempt at this round. */
export const DiscriminatorRecord = z.strictObject({
  round: z.int().min(0),
  attempt: z.int().min(0),
  /** Steps of that attempt that are in it. */
  steps: z.int().min(0),
  total: z.int().min(0),
  state: BlobRef,
  weights: BlobRef,
});
export type DiscriminatorRecord = z.infer<typeof DiscriminatorRecord>;

/** The release gate's question to the sites, and what has come of it. */
export const GateRecord = z.strictObject({
  /** As it was signed: the bytes every site is shown, also after a restart. */
  question: z.string(),
  questionSha256: Sha256Hex,
  asked: z.array(SiteId),
  candidate: Candidate,
  /** Site to its answer, as it was first given. */
  answers: z.record(SiteId, z.strictObject({ statement: z.string(), words: GateWords })),
  /** Mean MS-SSIM by class, once measured. */
  similarity: z.array(z.number().nullable()).nullable(),
  /** Whether the log has the verdict. */
  judged: z.boolean(),
  signOffs: z.array(z.strictObject({ name: z.string(), key: z.string(), statement: z.string() })),
});
export type GateRecord = z.infer<typeof GateRecord>;

/** One training of one generator. */
export const RunRecord = z.strictObject({
  runId: z.uuid(),
  policySha256: Sha256Hex,
  status: z.enum(['running', 'finished']),
  outcome: z.enum(['completed', 'stopped']).nullable(),
  /** The next round to open, or the one that is open; equals the number of rounds applied. */
  round: z.int().min(0),
  /** Where adaptive steps stand; absent unless the policy has them, and before the first generator round. */
  steps: StepState.optional(),
  /** Where the discriminator is pooled, from its first round on. */
  discriminator: DiscriminatorRecord.optional(),
  /** Once the rounds are over, where the policy has a release gate. */
  gate: GateRecord.optional(),
  /** The software that drove it last. */
  software: z.string(),
});
export type RunRecord = z.infer<typeof RunRecord>;

/** The generator after `round` rounds: 0 is the beginning. */
export const GeneratorRecord = z.strictObject({
  round: z.int().min(0),
  state: BlobRef,
  weights: BlobRef,
  /** The critic of the next round, where that is a moment round in its features. */
  critic: BlobRef.optional(),
});
export type GeneratorRecord = z.infer<typeof GeneratorRecord>;

/**
 * One attempt at one round. `collecting`: a phase waits for answers. `sealed`: who counts in this phase is decided.
 * `void` and `closed` are final.
 */
export const RoundRecord = z.strictObject({
  plan: RoundPlan,
  /** The plan as it was signed: the bytes every site is shown, also after a restart. */
  planJws: z.string(),
  phase: z.int().min(0),
  status: z.enum(['collecting', 'sealed', 'void', 'closed']),
  /** Who was given a downlink in this phase. */
  participants: z.array(SiteId),
  /** Whom the phase waits for before its deadline; the others count when they are in by then. */
  awaited: z.array(SiteId),
  /** Site to the hash of its answer in this phase. */
  answers: z.record(SiteId, Sha256Hex),
  /** Site to the code with which it declined, or with which its update was refused, in this attempt. */
  out: z.record(SiteId, z.string()),
  /** What all participants of this phase may download; absent where there is nothing. */
  blob: BlobRef.optional(),
  /** Answers that are enough for this phase; absent: as many as a sum needs. */
  quorum: z.int().min(1).optional(),
  /** What was refused and logged already, as `site code`: one line each, however often it is tried. */
  refused: z.array(z.string()),
});
export type RoundRecord = z.infer<typeof RoundRecord>;

/** One site's answer in one phase, as it was signed. */
export const AnswerRecord = z.strictObject({
  siteId: SiteId,
  answerSha256: Sha256Hex,
  body: z.json(),
  /** The upload, if the phase has one: it lies in the tensor receiver's store. */
  tensor: BlobRef.nullable(),
  fakes: FakesReport.nullable(),
  signature: z.string(),
});
export type AnswerRecord = z.infer<typeof AnswerRecord>;

/** How a site has kept its deadlines; `core/standing.ts` gives the words their meaning. */
export const SiteRecord = z.strictObject({
  siteId: SiteId,
  standing: z.enum(['good', 'missed', 'declined']),
  /** The code of the last decline, kept for the operator. */
  declined: z.string().nullable(),
  /** SHA-256 of its public keys as the log has them last; absent before it was enrolled there. */
  keysSha256: Sha256Hex.optional(),
  /** Whether the log says that it was revoked. */
  revoked: z.boolean().optional(),
  /** The software under which it adopted the policy. */
  software: z.string().optional(),
  /** What the site last stated of its own ledger, with its signature. */
  epsilon: z
    .strictObject({
      epsilon: z.number().nullable(),
      delta: z.number(),
      entries: z.int().min(0),
      statement: z.string(),
    })
    .nullable(),
});
export type SiteRecord = z.infer<typeof SiteRecord>;

/** A checkpoint with what witnesses have put under it. */
export interface StoredCheckpoint {
  readonly size: number;
  /** The signed note, without cosignatures. */
  readonly note: string;
  /** By site, in the order of site ids. */
  readonly cosignatures: readonly { readonly siteId: string; readonly line: string }[];
}

/** Names one phase of one attempt. */
export interface PhaseKey {
  readonly runId: string;
  readonly round: number;
  readonly attempt: number;
  readonly phase: number;
}

/** One site's upload. */
export interface UploadRef {
  readonly siteId: string;
  readonly sha256: string;
}

/** What can be read and written inside a transaction. */
export interface Tx {
  run(runId: string): Promise<RunRecord | null>;
  putRun(run: RunRecord): Promise<void>;
  generator(runId: string, round: number): Promise<GeneratorRecord | null>;
  putGenerator(runId: string, generator: GeneratorRecord): Promise<void>;
  /** The latest attempt at the highest round, or null before the first. */
  latestRound(runId: string): Promise<RoundRecord | null>;
  round(runId: string, round: number, attempt: number): Promise<RoundRecord | null>;
  putRound(round: RoundRecord): Promise<void>;
  /** @throws {FedError} STORE_CORRUPT when this phase has an answer of this site already: answers never change. */
  addAnswer(key: PhaseKey, answer: AnswerRecord): Promise<void>;
  /** All answers of a phase, by ascending site id. */
  answers(key: PhaseKey): Promise<AnswerRecord[]>;
  /** The uploads that answers of any attempt at this round refer to. */
  uploadsOf(runId: string, round: number): Promise<UploadRef[]>;
  putDownlinks(key: PhaseKey, downlinks: ReadonlyMap<string, unknown>): Promise<void>;
  downlink(key: PhaseKey, siteId: string): Promise<{ readonly body: unknown } | null>;
  sites(runId: string): Promise<SiteRecord[]>;
  putSite(runId: string, site: SiteRecord): Promise<void>;
  logHead(runId: string): Promise<LogHead>;
  /** Appends behind the head. Commits with everything else in the transaction, or not at all. */
  appendLog(runId: string, draft: LogDraft, timeMs: number): Promise<LogEntry>;
  /** Entries `from` (inclusive) onward, at most `limit`. */
  log(runId: string, from: number, limit: number): Promise<LogEntry[]>;
  /** Complete subtrees of the log's tree, in the order asked for. @throws {FedError} STORE_CORRUPT when one is missing. */
  logNodes(runId: string, ids: readonly NodeId[]): Promise<Hash[]>;
  /** Keeps a checkpoint as the coordinator signed it: the note without cosignatures. One size has one note. */
  putCheckpoint(runId: string, size: number, note: string): Promise<void>;
  /** Puts another note in the place of the one of this size: the same head, with one more signature of the coordinator. */
  replaceCheckpoint(runId: string, size: number, note: string): Promise<void>;
  /** The checkpoint of exactly this size, with the cosignatures that have come in; null when none was signed. */
  checkpoint(runId: string, size: number): Promise<StoredCheckpoint | null>;
  /** The checkpoints of at least this size, ascending. */
  checkpoints(runId: string, fromSize: number): Promise<StoredCheckpoint[]>;
  /** Keeps a site's cosignature line; a later one of the same site takes its place. */
  putCosignature(runId: string, size: number, siteId: string, line: string): Promise<void>;
}

/**
 * Where the coordinator keeps everything that must outlive it, except large bytes.
 *
 * Guarantee: transactions run one after the other; one that throws leaves nothing; one that has resolved survives
 * SIGKILL at any later instruction (the memory store excepted, which forgets with its process).
 */
export interface Store {
  /** Do not wait for anything but `tx` inside `body`: every other transaction waits for it. Never nest. */
  transaction<T>(body: (tx: Tx) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

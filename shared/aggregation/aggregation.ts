import type { SiteKeys } from '../identity/keys.ts';
import type { Roster } from '../identity/roster.ts';
import type { CheckedPolicy } from '../policy/load.ts';
import type { RoundPlan } from '../protocol/plan.ts';
import type { RoundTerms } from '../protocol/terms.ts';
import type { PhaseOrder } from './phase-order.ts';

/**
 * Secure aggregation as a sequence of phases. In each phase the coordinator shows every participating site one
 * `Downlink`; each answers with one `Uplink`; when all are in, or at quorum and deadline, the coordinator turns the
 * answers into the next phase's downlinks, or into the sum. `clear` has one phase; masking schemes have several.
 * Both halves are pure functions of their arguments, so that every message can be stored before it is sent.
 */
export interface Uplink {
  /** Small and public to the coordinator; parsed by the scheme's own schema. */
  readonly body: unknown;
  /** The large part, where the phase has one; null otherwise. It travels apart, in hashed chunks. */
  readonly tensor: Uint8Array | null;
}

/**
 * What a site hands to its scheme: floats, which a masking scheme quantises; or, under `pooled`, whole numbers on the
 * lattice of the policy, which carry the site's share of the noise already and are added as they are. [d]
 */
export type SiteUpdate = Float32Array | Int32Array;

export interface SiteScheme {
  readonly scheme: RoundPlan['scheme'];
  /**
   * Answers one phase.
   * @param secret - what the site kept from the last phase it answered (null in the first): durable before the answer
   *   is sent.
   * @param update - the site's clipped (and, where it holds private data, noised) update. [d] Null in those phases of a
   *   `discriminator` round for which `updateStep` is null.
   * @throws {FedError} when the downlink asks for something a site must refuse.
   */
  answer(p: {
    phase: number;
    siteId: string;
    plan: RoundPlan;
    downlink: unknown;
    secret: Uint8Array | null;
    update: SiteUpdate | null;
    /** What comes with the phase and is too large for a downlink, checked against its hash; absent where there is none. */
    blob?: Uint8Array | undefined;
  }): Promise<{ uplink: Uplink; secret: Uint8Array | null }>;
  /**
   * Which discriminator step's update this phase of a `discriminator` round carries, from 0; null for a phase that
   * carries none. Pure: a function of the plan. Steps come once each, in order.
   */
  updateStep(plan: RoundPlan, phase: number): number | null;
  /**
   * The site has answered this phase and waits for what follows: time to work out what does not depend on it. Changes
   * nothing of any answer, and never throws for want of one.
   * @param secret - what the site kept with that answer.
   */
  waiting?(p: { phase: number; plan: RoundPlan; secret: Uint8Array | null }): void;
  /** The phases after which a site may answer this one: the last it has answered must be among them. Pure. */
  readonly phasesBefore: PhaseOrder;
  /** Frees what the scheme holds beyond memory, worker threads for instance: the agent's run is over. */
  dispose?(): Promise<void>;
}

/** What a site's half of a scheme is made from. */
export interface SiteSchemeParts {
  readonly siteId: string;
  readonly keys: SiteKeys;
  readonly policy: CheckedPolicy;
  readonly terms: RoundTerms;
  /**
   * The roster whose version and hash the signed plan names; verified, never older than one seen before.
   * @throws {FedError} ROSTER_STALE, LINK_LOST, TENSOR_UNKNOWN, MESSAGE_INVALID
   */
  readonly roster: (plan: RoundPlan) => Promise<Roster>;
  readonly nowMs: () => number;
}

/** What the coordinator's half of a scheme is made from. */
export interface CoordinatorSchemeParts {
  readonly policy: CheckedPolicy;
  readonly terms: RoundTerms;
  /** The roster as it stands; it may be newer than the one of an attempt that is open. */
  readonly roster: () => Roster;
}

/** Where the coordinator reads an upload from, without holding all of them in memory at once. */
export interface SpooledTensor {
  readonly bytes: number;
  /** Reads the upload once, in order, in pieces. */
  chunks(): AsyncIterable<Uint8Array>;
}

/** One site's answer, as the coordinator has stored it. */
export interface PhaseAnswer {
  readonly body: unknown;
  readonly tensor: SpooledTensor | null;
}

export interface NextPhase {
  readonly phase: number;
  readonly downlinks: ReadonlyMap<string, unknown>;
  /** One byte string for all participants of the phase; it travels apart, by its hash. */
  readonly blob?: Uint8Array;
  /** Answers that are enough at the deadline; absent: as many as a sum needs. */
  readonly quorum?: number;
}

/** The sum of one discriminator step of a pooled round: whole numbers, exactly. */
export interface StepSum {
  /** Which of the plan's `discriminatorSteps`, from 0. */
  readonly index: number;
  readonly sum: Float64Array;
  readonly contributors: readonly string[];
}

/**
 * `step` is for `discriminator` rounds alone, and those end with it: the coordinator applies each before it opens the
 * next phase; after the last, `next` is null.
 */
export type PhaseResult =
  | { readonly next: NextPhase }
  | { readonly sum: Float64Array; readonly contributors: readonly string[] }
  | { readonly step: StepSum; readonly next: NextPhase | null };

export interface CoordinatorScheme {
  readonly scheme: RoundPlan['scheme'];
  /** The first phase's downlink per site. */
  open(plan: RoundPlan): ReadonlyMap<string, unknown>;
  /**
   * Checks one upload when it is complete, before it counts: shape, finiteness, and what else the scheme can see.
   * @throws {FedError} UPDATE_SHAPE, UPDATE_NOT_FINITE, UPDATE_TOO_LARGE, MESSAGE_INVALID
   */
  check(p: {
    plan: RoundPlan;
    phase: number;
    siteId: string;
    body: unknown;
    tensor: SpooledTensor | null;
    length: number;
    clipNorm: number | null;
    /** Under `pooled`: values are whole numbers (int32) of at most this size, and nothing clips them. Null: float32. */
    integerLimit: number | null;
    /** As in `close`. */
    earlier: (phase: number) => Promise<ReadonlyMap<string, PhaseAnswer>>;
  }): Promise<void>;
  /** Closes a phase over the answers that count. Memory O(length), whatever the number of sites. */
  close(p: {
    plan: RoundPlan;
    phase: number;
    length: number;
    /** Whether updates are whole numbers (int32), as under `pooled`. */
    integers: boolean;
    answers: ReadonlyMap<string, PhaseAnswer>;
    /** The answers that counted in a phase of this attempt that is over: masked uploads wait here for their shares. */
    earlier: (phase: number) => Promise<ReadonlyMap<string, PhaseAnswer>>;
  }): Promise<PhaseResult>;
  /** The phases that may lead into this one: any other order is a fault. Pure. */
  readonly phasesBefore: PhaseOrder;
  /** Answers that are enough for the first phase; absent: as many as a sum needs. */
  firstQuorum?(plan: RoundPlan): number;
  /**
   * Whether phases are short exchanges, in which a site that has left is not waited for while the quorum holds without it.
   * Elsewhere every site in good standing is awaited until the deadline.
   */
  readonly goesOnWithoutAbsent?: boolean;
  /** Frees what the scheme holds beyond memory: the run is over, or stopped. */
  dispose?(): Promise<void>;
}

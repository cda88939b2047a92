import type { PrivacyEvent } from '../../shared/dp/event.ts';
import type { SiteUpdate } from '../../shared/aggregation/aggregation.ts';
import type { GateWords } from '../../shared/gate/outcome.ts';
import type { Candidate } from '../../shared/gate/candidate.ts';
import type { LabelledImages } from '../../shared/imaging/images.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';

/** What may be shown of a step: numbers about fakes alone, never about an image. */
export interface FakeStatistics {
  /** Mean discriminator loss on fakes. */
  readonly fakeLoss: number;
  /** Share of fakes that the noised discriminator calls fake, in [0, 1]. */
  readonly fakeAccuracy: number;
}

/**
 * Steps 1 to 4 of the data's path, as the round needs them: opaque states in, opaque states out, so that every state
 * can be made durable between two calls. A computation keeps nothing between calls that a restart would lose.
 */
export interface SiteComputation {
  /** The discriminator and optimiser before the first step. The same bytes for the same policy and seed. */
  initialState(plan: RoundPlan): Promise<Uint8Array>;
  /**
   * Refuses a generator that no step could use, before anything is charged for it: one that came in the wrong size or is
   * not finite would otherwise cost an entry at every try.
   * @throws {FedError} PARAMETER_INVALID
   */
  checkGenerator(generator: Float32Array): void;
  /** What the next discriminator step will be charged; a pure function of the policy. */
  discriminatorEvent(): PrivacyEvent;
  /** Steps 1 to 3: Poisson sample, clip, sum, noise, one optimiser step. Fresh sampling and noise on every call. */
  discriminatorStep(
    state: Uint8Array,
    plan: RoundPlan,
    generator: Float32Array,
  ): Promise<{ state: Uint8Array; fakes: FakeStatistics }>;
  /** Step 4: the clipped generator gradient, from the noised discriminator and fakes alone. [generator parameters] */
  generatorGradient(
    state: Uint8Array,
    plan: RoundPlan,
    generator: Float32Array,
  ): Promise<{ update: Float32Array; fakes: FakeStatistics }>;
  /**
   * Refuses a critic whose features might exceed norm 1, before anything is charged.
   * @throws {FedError} PARAMETER_INVALID
   */
  checkCritic(critic: Float32Array): void;
  /** What a moment round will be charged. */
  momentEvent(): PrivacyEvent;
  /**
   * A moment round: the noised sum of per-patient embeddings. [classes × (features + 1)]
   * @param critic - parameters of the network whose features they are; null in the first, whose features are fixed.
   */
  noisedMoments(plan: RoundPlan, critic: Float32Array | null): Promise<SiteUpdate>;
  /** Where the policy has a release gate. */
  readonly gate?: GateComputation | undefined;
  /** Where the discriminator is pooled; the steps of a site's own are never asked for then. */
  readonly pooled?: PooledSteps;
}

/** What a site does for one step of a pooled discriminator. */
export interface PooledSteps {
  /**
   * Refuses a discriminator that no step could use, before anything is charged.
   * @throws {FedError} PARAMETER_INVALID
   */
  checkDiscriminator(weights: Float32Array): void;
  /**
   * Steps 1 to 3: Poisson sample, clip, sum, round to the lattice, add the share of the noise. Fresh at every call.
   * [discriminator parameters], in lattice steps: private until it is in a sum of enough sites.
   */
  share(weights: Float32Array, plan: RoundPlan): Promise<Int32Array>;
}

/** What a site does about a candidate for release. */
export interface GateComputation {
  /** What one answer is charged. */
  event(): PrivacyEvent;
  /** The candidate that this generator is under the policy: seed and counts are not the coordinator's to choose. */
  expected(of: Candidate): Candidate;
  /**
   * The images that are judged: public, and drawn before anything is charged.
   * @throws {FedError} PARAMETER_INVALID, GENERATOR_NOT_FINITE for a generator that no image comes of.
   */
  draw(released: Float32Array, candidate: Candidate): Promise<LabelledImages>;
  /** Noised, and thresholded after the noise. Fresh noise at every call: what is sent is the first that was stored. */
  words(synthetic: LabelledImages): Promise<GateWords>;
}

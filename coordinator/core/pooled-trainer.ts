import type { FakesReport } from '../../shared/protocol/round-messages.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { FedError } from '../../shared/errors.ts';
import type { GeneratorTrainer } from './generator-trainer.ts';

/** The fakes' part of one discriminator step, worked out while the sites work out theirs. */
export interface FakesStep {
  /** Which discriminator it was made for: its state, by identity. */
  readonly of: Uint8Array;
  /** Opaque. */
  readonly part: unknown;
  readonly fakes: FakesReport;
}

/**
 * What `placement: pooled` adds to a trainer: the one discriminator. Everything is post-processing of opened sums. States
 * are bytes that begin with the weights, float32 as sites download them, and opaque from there on.
 */
export interface PooledTrainer extends GeneratorTrainer {
  /** The discriminator before the first step. The same bytes for the same policy. */
  initialDiscriminator(): Promise<Uint8Array>;
  /** What sites download and take their gradients at. [discriminator parameters] */
  discriminatorWeights(discriminator: Uint8Array): Float32Array;
  /** The fakes' part of the discriminator's next step; fakes are named by the plan's public seed and the step. */
  fakesStep(discriminator: Uint8Array, generator: Uint8Array, plan: RoundPlan): Promise<FakesStep>;
  /** One optimiser step of the discriminator on an opened sum. @param sum - whole numbers, in lattice steps. */
  stepDiscriminator(
    discriminator: Uint8Array,
    plan: RoundPlan,
    sum: Float64Array,
    contributors: readonly string[],
    fakes: FakesStep,
  ): Promise<Uint8Array>;
  /** The generator's steps of one round, against the discriminator as it now is. */
  stepGenerator(
    generator: Uint8Array,
    discriminator: Uint8Array,
    plan: RoundPlan,
  ): Promise<{ state: Uint8Array; fakes: FakesReport }>;
}

/** @throws {FedError} PARAMETER_INVALID for a trainer that knows no pooled discriminator. */
export function pooledTrainerOf(trainer: GeneratorTrainer): PooledTrainer {
  if (!('stepDiscriminator' in trainer))
    throw new FedError('PARAMETER_INVALID', 'the trainer of a run that pools nothing');
  return trainer as PooledTrainer;
}

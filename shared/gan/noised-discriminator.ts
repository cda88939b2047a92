/**
 * A discriminator as the rest of the system may have it: built from public first values and noised gradients alone.
 */
import { FedError } from '../errors.ts';
import type { NoisedGradient } from '../dp/noised.ts';
import { type AdamConfig, type AdamState, adamStart, adamStep, movingAverage } from './adam.ts';
import { decodeState, encodeState } from './state-bytes.ts';

declare const noised: unique symbol;

/** Parameters that hold nothing private beyond what was charged. Made here only. [discriminator parameters] */
export interface NoisedDiscriminator {
  readonly [noised]: true;
  readonly values: Float32Array;
}

/** Everything a discriminator's next step needs; a value, and as safe to show as `NoisedDiscriminator`. */
export interface DiscriminatorState {
  readonly [noised]: true;
  readonly adam: AdamState;
  /** Exponential average of the parameters; equal to them where no average is kept. [d] */
  readonly average: Float32Array;
}

export interface DiscriminatorOptimiser extends AdamConfig {
  /** Share of the old average at each step; 0 keeps none. */
  readonly averageDecay: number;
}

/** @param initial - public first values: `initialise(layout, seed)`. */
export const startDiscriminator = (initial: Float32Array): DiscriminatorState =>
  ({ adam: adamStart(initial), average: initial }) as DiscriminatorState;

/**
 * One step along a noised gradient.
 * @throws {FedError} PARAMETER_INVALID when the gradient is not [d].
 */
export function stepDiscriminator(
  state: DiscriminatorState,
  gradient: NoisedGradient,
  optimiser: DiscriminatorOptimiser,
): DiscriminatorState {
  const adam = adamStep(state.adam, gradient.values, optimiser);
  return { adam, average: movingAverage(state.average, adam.parameters, optimiser.averageDecay) } as DiscriminatorState;
}

/** What fakes are judged by: the average where one is kept. */
export const judgeOf = (state: DiscriminatorState): NoisedDiscriminator =>
  ({ values: state.average }) as NoisedDiscriminator;

export const discriminatorToBytes = ({ adam, average }: DiscriminatorState): Uint8Array =>
  encodeState(adam.steps, [adam.parameters, adam.first, adam.second, average]);

/**
 * @param d - parameters of the architecture.
 * @throws {FedError} STORE_CORRUPT
 */
export function discriminatorFromBytes(bytes: Uint8Array, d: number): DiscriminatorState {
  const { steps, vectors } = decodeState(bytes, 4, d);
  const [parameters, first, second, average] = vectors;
  if (!vectors.every((v) => v.every((x) => Number.isFinite(x))))
    throw new FedError('STORE_CORRUPT', 'a discriminator holds a value that is not finite');
  return { adam: { parameters, first, second, steps }, average } as DiscriminatorState;
}

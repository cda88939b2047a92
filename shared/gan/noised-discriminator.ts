/**
 * A discriminator as the rest of the system may have it: built from public first values and noised gradients alone.
 */
import { adam } from '../engine/optimizers.ts';
import { FedError } from '../errors.ts';
import type { NoisedGradient } from '../dp/noised.ts';
import { movingAverage } from './average.ts';
import { decodeState, encodeState, stateBytes } from './state-bytes.ts';

declare const noised: unique symbol;

/** Parameters that hold nothing private beyond what was charged. Made here only. [discriminator parameters] */
export interface NoisedDiscriminator {
  readonly [noised]: true;
  readonly values: Float32Array;
}

/** Everything a discriminator's next step needs; a value, and as safe to show as `NoisedDiscriminator`. */
export interface DiscriminatorState {
  readonly [noised]: true;
  /** [d] */
  readonly parameters: Float32Array;
  /** What Adam remembers: mean and mean square of the gradients. [d] each */
  readonly slots: readonly Float32Array[];
  /** Steps taken. */
  readonly step: number;
  /** Exponential average of the parameters; equal to them where none is kept. [d] */
  readonly average: Float32Array;
}

export interface DiscriminatorOptimiser {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  /** Share of every parameter that goes at each step, apart from the gradient. In [0, 1). */
  readonly weightDecay: number;
  /** Share of the old average that stays at each step; 0 keeps none. */
  readonly averageDecay: number;
}

/** Further than this from zero no parameter goes: see `PatientGradients.sum`. */
export const MAX_PARAMETER = 100;

/** @param initial - public first values: `initialise(layout, seed)`. */
export const startDiscriminator = (initial: Float32Array): DiscriminatorState =>
  ({
    parameters: initial,
    slots: adam({ learningRate: 0 }).init(initial.length).slots,
    step: 0,
    average: initial,
  }) as DiscriminatorState;

/**
 * One step of Adam along a noised gradient.
 * @throws {FedError} PARAMETER_INVALID when the gradient is not [d].
 */
export function stepDiscriminator(
  state: DiscriminatorState,
  gradient: NoisedGradient,
  { learningRate, beta1, beta2, weightDecay, averageDecay }: DiscriminatorOptimiser,
): DiscriminatorState {
  const before = weightDecay === 0 ? state.parameters : scaled(state.parameters, 1 - weightDecay);
  const { weights, state: next } = adam({ learningRate, beta1, beta2 }).update(before, gradient.values, state);
  const parameters = within(weights, MAX_PARAMETER);
  const average = averageDecay === 0 ? parameters : movingAverage(state.average, parameters, averageDecay);
  return { ...next, parameters, average } as DiscriminatorState;
}

/** Values beyond the limit are brought to it. */
function within(values: Float32Array, limit: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = Math.max(-limit, Math.min(limit, values[i]));
  return out;
}

function scaled(values: Float32Array, by: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = by * values[i];
  return out;
}

function allFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}

/** What fakes are judged by: the average where one is kept. */
export const judgeOf = (state: DiscriminatorState): NoisedDiscriminator =>
  ({ values: state.average }) as NoisedDiscriminator;

export const discriminatorToBytes = ({ step, parameters, slots, average }: DiscriminatorState): Uint8Array =>
  encodeState(step, [parameters, ...slots, average]);

/**
 * @param d - parameters of the architecture.
 * @throws {FedError} STORE_CORRUPT
 */
export function discriminatorFromBytes(bytes: Uint8Array, d: number): DiscriminatorState {
  const { steps: step, vectors } = decodeState(bytes, 4, d);
  if (!vectors.every(allFinite))
    throw new FedError('STORE_CORRUPT', 'a discriminator holds a value that is not finite');
  const [parameters, mean, square, average] = vectors;
  return { parameters, slots: [mean, square], step, average } as unknown as DiscriminatorState;
}

/** As bytes that begin with the parameters, which others download; the average only where one is kept. */
export const pooledToBytes = ({ step, parameters, slots, average }: DiscriminatorState): Uint8Array =>
  encodeState(step, average === parameters ? slots : [...slots, average], parameters);

/**
 * @param d - parameters of the architecture.
 * @throws {FedError} STORE_CORRUPT
 */
export function pooledFromBytes(bytes: Uint8Array, d: number): DiscriminatorState {
  if (bytes.length < 4 * d) throw new FedError('STORE_CORRUPT', `a discriminator of ${bytes.length} bytes`);
  const parameters = new Float32Array(new Uint8Array(bytes.subarray(0, 4 * d)).buffer);
  const rest = bytes.subarray(4 * d);
  const { steps: step, vectors } = decodeState(rest, rest.length === stateBytes(2, d) ? 2 : 3, d);
  if (![parameters, ...vectors].every(allFinite))
    throw new FedError('STORE_CORRUPT', 'a discriminator holds a value that is not finite');
  const [mean, square, average = parameters] = vectors;
  return { parameters, slots: [mean, square], step, average } as unknown as DiscriminatorState;
}

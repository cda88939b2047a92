import type { RoundPlan } from '../../shared/protocol/plan.ts';

/** Step 7 of the data's path, behind an interface: states are opaque bytes, so that each is durable before a round closes. */
export interface GeneratorTrainer {
  /** Generator, average and optimiser before the first round. The same bytes for the same policy. */
  initialState(): Promise<Uint8Array>;
  /** The weights that sites download: flat, in the layout of the architecture. [generator parameters] */
  weights(state: Uint8Array): Float32Array;
  /** The parameters of the critic that the next round's features are made of; null where it needs none. */
  critic(state: Uint8Array): Float32Array | null;
  /** What is released of the generator: averaged weights, and the fixed statistics of its batch normalisations behind them. */
  released?(state: Uint8Array): Promise<Float32Array>;
  /** How long an update of this plan must be, in values. */
  updateLength(plan: RoundPlan): number;
  /** A moment round: fits the generator to all summed noised moments so far, and trains the critic of the next. */
  fitMoments(
    state: Uint8Array,
    plan: RoundPlan,
    sum: Float64Array,
    progress: (share: number) => void,
  ): Promise<Uint8Array>;
  /** One optimiser step on the summed generator gradients of `contributors` sites. */
  applyGradients(
    state: Uint8Array,
    plan: RoundPlan,
    sum: Float64Array,
    contributors: readonly string[],
  ): Promise<Uint8Array>;
}

/**
 * Adam on flat vectors, in JavaScript: the same bits on every engine, so that a state stored and read again goes on as if
 * nothing had happened.
 *
 * @see Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, algorithm 1
 */
import { z } from 'zod';
import { FedError } from '../errors.ts';

export const AdamConfig = z.strictObject({
  learningRate: z.number().positive(),
  beta1: z.number().min(0).lt(1),
  beta2: z.number().min(0).lt(1),
  epsilon: z.number().positive(),
  /** Share of every parameter that goes at each step, apart from the gradient (AdamW without the learning rate). */
  weightDecay: z.number().min(0).lt(1),
});
export type AdamConfig = z.infer<typeof AdamConfig>;

/** Parameters and what Adam remembers of them; all [d]. Treat as a value: a step makes a new one. */
export interface AdamState {
  readonly parameters: Float32Array;
  readonly first: Float32Array;
  readonly second: Float32Array;
  /** Steps taken. */
  readonly steps: number;
}

export const adamStart = (parameters: Float32Array): AdamState => ({
  parameters,
  first: new Float32Array(parameters.length),
  second: new Float32Array(parameters.length),
  steps: 0,
});

/**
 * One step against a gradient.
 * @param gradient - [d], of a mean or sum; an entry that is not finite counts as zero.
 * @throws {FedError} PARAMETER_INVALID when the gradient is not [d].
 */
export function adamStep(state: AdamState, gradient: ArrayLike<number>, config: AdamConfig): AdamState {
  const d = state.parameters.length;
  if (gradient.length !== d) throw new FedError('PARAMETER_INVALID', `gradient of ${gradient.length} for ${d}`);
  const { learningRate, beta1, beta2, epsilon, weightDecay } = config;
  const parameters = new Float32Array(d);
  const first = new Float32Array(d);
  const second = new Float32Array(d);
  const steps = state.steps + 1;
  const correctFirst = 1 / (1 - beta1 ** steps);
  const correctSecond = 1 / (1 - beta2 ** steps);
  const keep = 1 - weightDecay;
  for (let i = 0; i < d; i++) {
    const g = Number.isFinite(gradient[i]) ? gradient[i] : 0;
    const m = beta1 * state.first[i] + (1 - beta1) * g;
    const v = beta2 * state.second[i] + (1 - beta2) * g * g;
    first[i] = m;
    second[i] = v;
    const step = (learningRate * m * correctFirst) / (Math.sqrt(v * correctSecond) + epsilon);
    parameters[i] = keep * state.parameters[i] - step;
  }
  return { parameters, first, second, steps };
}

/** `decay` of the average and the rest of the newest values. [d] */
export function movingAverage(average: Float32Array, newest: Float32Array, decay: number): Float32Array {
  return average.map((a, i) => decay * a + (1 - decay) * newest[i]);
}

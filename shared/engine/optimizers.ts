import * as tf from '@tensorflow/tfjs';
import { FedError } from '../errors.ts';

/**
 * Optimisers as pure pairs: `init` makes a state, `update` makes the next weights and state from a gradient.
 *
 * Each formula is written once, over an arithmetic, and runs on two: tensors, inside a recorded function, and plain
 * numbers, on the flat vectors that travel between sites and coordinator. State is float32 in both, so it may go from
 * one to the other; sums inside a step are float64 on numbers and float32 on tensors.
 */

interface Arithmetic<T> {
  number(value: number): T;
  add(a: T, b: T): T;
  sub(a: T, b: T): T;
  mul(a: T, b: T): T;
  div(a: T, b: T): T;
  sqrt(a: T): T;
  pow(a: T, b: T): T;
}

const numbers: Arithmetic<number> = {
  number: (value) => value,
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: Math.sqrt,
  pow: Math.pow,
};

const tensors: Arithmetic<tf.Tensor> = {
  number: (value) => tf.scalar(value),
  add: (a, b) => tf.add(a, b),
  sub: (a, b) => tf.sub(a, b),
  mul: (a, b) => tf.mul(a, b),
  div: (a, b) => tf.div(a, b),
  sqrt: (a) => tf.sqrt(a),
  pow: (a, b) => tf.pow(a, b),
};

/** What depends on the step number alone; computed once a step. */
type Prepare = <T>(a: Arithmetic<T>, step: T, rate: T) => readonly T[];
/** One weight: from weight, gradient, slots and what was prepared to [weight, ...slots]. */
type Element = <T>(
  a: Arithmetic<T>,
  weight: T,
  gradient: T,
  slots: readonly T[],
  prepared: readonly T[],
) => readonly T[];

/** State of an optimiser over a flat vector [d]. */
export interface OptimizerState {
  /** Updates made so far. */
  readonly step: number;
  /** One [d] for each of the optimiser's slots. */
  readonly slots: readonly Float32Array[];
}

export interface Optimizer {
  /** What it remembers about each weight; empty for plain SGD. */
  readonly slotNames: readonly string[];
  /** @param length - d, the number of weights. */
  readonly init: (length: number) => OptimizerState;
  /**
   * One step on flat vectors. Neither argument is changed.
   *
   * @param gradient - [d], of the loss: the step goes against it.
   * @throws {FedError} PARAMETER_INVALID when the lengths differ.
   */
  readonly update: (
    weights: Float32Array,
    gradient: ArrayLike<number>,
    state: OptimizerState,
  ) => { weights: Float32Array; state: OptimizerState };
  /**
   * The same step on tensors, inside a recorded function.
   *
   * @param slots - in the order of `slotNames`, each shaped like the weights; zeros at first.
   * @param step - scalar float32: this step's number, 1 for the first.
   * @param rate - scalar float32: what the learning rate is multiplied with in this step; 1 when left out.
   */
  readonly updateTensors: (
    weights: tf.Tensor,
    gradient: tf.Tensor,
    slots: readonly tf.Tensor[],
    step: tf.Tensor,
    rate?: tf.Tensor,
  ) => { weights: tf.Tensor; slots: tf.Tensor[] };
}

/** All weights at once, on numbers: `next` is [weights, ...slots] to be filled from `old`. */
type Loop = (
  old: readonly Float32Array[],
  gradient: ArrayLike<number>,
  prepared: readonly number[],
  next: readonly Float32Array[],
) => void;

/** @param loop - the element written out, where going through it a weight at a time is too slow. */
function optimizer(slotNames: readonly string[], prepare: Prepare, element: Element, loop?: Loop): Optimizer {
  return {
    slotNames,
    init: (length) => ({ step: 0, slots: slotNames.map(() => new Float32Array(length)) }),
    update: (weights, gradient, state) => {
      const lengths = [gradient.length, ...state.slots.map((slot) => slot.length)];
      if (state.slots.length !== slotNames.length || lengths.some((n) => n !== weights.length))
        throw new FedError(
          'PARAMETER_INVALID',
          `${weights.length} weights, gradient and slots of ${lengths.join(', ')}`,
        );
      const step = state.step + 1;
      const prepared = prepare(numbers, step, 1);
      const next = [weights, ...state.slots].map((old) => new Float32Array(old.length));
      if (loop) {
        loop([weights, ...state.slots], gradient, prepared, next);
        return { weights: next[0], state: { step, slots: next.slice(1) } };
      }
      const slots = new Array<number>(slotNames.length);
      for (let i = 0; i < weights.length; i++) {
        for (let s = 0; s < slots.length; s++) slots[s] = state.slots[s][i];
        const results = element(numbers, weights[i], gradient[i], slots, prepared);
        for (let s = 0; s < next.length; s++) next[s][i] = results[s];
      }
      return { weights: next[0], state: { step, slots: next.slice(1) } };
    },
    updateTensors: (weights, gradient, slots, step, rate = tf.scalar(1)) => {
      const [next, ...nextSlots] = element(tensors, weights, gradient, slots, prepare(tensors, step, rate));
      return { weights: next, slots: nextSlots };
    },
  };
}

const inRange = (name: string, value: number, low: number, high: number) => {
  if (!(value >= low && value < high)) throw new FedError('PARAMETER_INVALID', `${name}=${value}`);
};

/**
 * The formula of `adam` written out: ten times as fast on a generator of a million weights, and tested against it. A
 * function of the module, not of a call: one made anew for every step would never run long enough to be compiled well.
 */
function adamLoop(
  [weights, m, v]: readonly Float32Array[],
  gradient: ArrayLike<number>,
  [nextWeights, nextM, nextV]: readonly Float32Array[],
  p: { rate: number; rootBias: number; beta1: number; beta2: number; epsilon: number },
): void {
  const { rate, rootBias, beta1, beta2, epsilon } = p;
  const [alpha1, alpha2] = [1 - beta1, 1 - beta2];
  for (let i = 0; i < weights.length; i++) {
    const g = gradient[i];
    const mean = m[i] * beta1 + g * alpha1;
    const square = v[i] * beta2 + g * g * alpha2;
    nextM[i] = mean;
    nextV[i] = square;
    nextWeights[i] = weights[i] - (rate * mean) / (Math.sqrt(square) / rootBias + epsilon);
  }
}

/**
 * Adam.
 *
 * @param p.learningRate - step size, in the unit of the weights.
 * @param p.beta1 - decay of the mean gradient, in [0, 1). 0.9 when left out; adversarial training uses 0.5 or 0.
 * @param p.beta2 - decay of the mean square, in [0, 1). 0.999 when left out.
 * @param p.epsilon - added to the root mean square. 1e-8 when left out.
 * @see Kingma and Ba 2015, Algorithm 1, https://arxiv.org/abs/1412.6980
 */
export function adam(p: { learningRate: number; beta1?: number; beta2?: number; epsilon?: number }): Optimizer {
  const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = p;
  inRange('learningRate', learningRate, 0, Infinity);
  inRange('beta1', beta1, 0, 1);
  inRange('beta2', beta2, 0, 1);
  inRange('epsilon', epsilon, 0, Infinity);
  // Learning rate over the first moment's correction, and the root of the second moment's.
  const prepare: Prepare = (a, step, factor) => {
    const one = a.number(1);
    const bias1 = a.sub(one, a.pow(a.number(beta1), step));
    const bias2 = a.sub(one, a.pow(a.number(beta2), step));
    return [a.div(a.mul(a.number(learningRate), factor), bias1), a.sqrt(bias2)];
  };
  const loop: Loop = (old, gradient, [rate, rootBias], next) => {
    adamLoop(old, gradient, next, { rate, rootBias, beta1, beta2, epsilon });
  };
  const element: Element = (a, weight, gradient, [m, v], [rate, rootBias]) => {
    const mean = a.add(a.mul(m, a.number(beta1)), a.mul(gradient, a.number(1 - beta1)));
    const square = a.add(a.mul(v, a.number(beta2)), a.mul(a.mul(gradient, gradient), a.number(1 - beta2)));
    const scale = a.add(a.div(a.sqrt(square), rootBias), a.number(epsilon));
    return [a.sub(weight, a.mul(rate, a.div(mean, scale))), mean, square];
  };
  return optimizer(['m', 'v'], prepare, element, loop);
}

/**
 * Gradient descent, with momentum when asked for: velocity ← momentum·velocity + gradient, weight ← weight - rate·velocity.
 *
 * @param p.learningRate - step size, in the unit of the weights over that of the gradient.
 * @param p.momentum - in [0, 1); without it there is no state.
 */
export function sgd(p: { learningRate: number; momentum?: number }): Optimizer {
  const { learningRate, momentum = 0 } = p;
  inRange('learningRate', learningRate, 0, Infinity);
  inRange('momentum', momentum, 0, 1);
  const prepare: Prepare = (a, _step, factor) => [a.mul(a.number(learningRate), factor)];
  if (momentum === 0)
    return optimizer([], prepare, (a, weight, gradient, _slots, [rate]) => [a.sub(weight, a.mul(rate, gradient))]);
  return optimizer(['velocity'], prepare, (a, weight, gradient, [velocity], [rate]) => {
    const next = a.add(a.mul(velocity, a.number(momentum)), gradient);
    return [a.sub(weight, a.mul(rate, next)), next];
  });
}

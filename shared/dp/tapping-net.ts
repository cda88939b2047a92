import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import {
  batchStatistics,
  computeLayer,
  type Layer,
  normaliseBatch,
  normaliseGroups,
  parametersOf,
} from '../gan/layers.ts';
import { Net } from '../gan/net.ts';
import { type NamedTensors, need } from '../gan/plain-net.ts';

/**
 * z + tap, written as the identity: a tap is zero, and only its gradient is wanted. So nothing is added when the program
 * runs, and the gradient with respect to the tap is the gradient at the layer's output.
 */
const withTap: (...zAndTap: Tensor[]) => Tensor = tf.customGrad((...args) => {
  const [z] = args as Tensor[];
  return { value: tf.clone(z), gradFunc: (dy: Tensor) => [dy, dy] };
});

/** Computes a network and keeps, for each layer in order, what its norm rule needs. */
export class TappingNet extends Net {
  readonly #parameters: NamedTensors;
  readonly #taps: readonly Tensor[];
  /** What each layer multiplied its weights with. Kept beyond tidy: the caller disposes. */
  readonly inputs: Tensor[] = [];

  /** @param taps - zeros, one for each layer in the order of the declaration, [n, ...output shape]. */
  constructor(parameters: NamedTensors, taps: readonly Tensor[]) {
    super();
    this.#parameters = parameters;
    this.#taps = taps;
  }

  protected override apply(layer: Layer, x: Tensor2D | Tensor4D): Tensor2D | Tensor4D {
    if (layer.kind === 'parameter') throw new TypeError('a parameter has no input');
    const parameters = parametersOf(layer).map(({ name }) => need(this.#parameters, name));
    let input = x;
    if (layer.kind === 'groupNorm') input = normaliseGroups(x as Tensor4D, layer.groups);
    // Reached only when a test forces a rule for it into the table: the tests that must catch it need it to run.
    if (layer.kind === 'batchNorm') input = normaliseBatch(x, batchStatistics(x));
    const tap = this.#taps[this.inputs.length];
    this.inputs.push(tf.keep(tf.clone(input)));
    return withTap(computeLayer(layer, parameters, input), tap) as Tensor4D;
  }

  protected override raw(): Tensor1D {
    throw new TypeError('a bare parameter has no norm rule and was refused before');
  }
}

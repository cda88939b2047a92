import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { FedError } from '../errors.ts';
import {
  type BatchStatistics,
  batchNormOf,
  batchStatistics,
  computeLayer,
  type Layer,
  type LayerOf,
  normaliseGroups,
  parametersOf,
} from './layers.ts';
import { Net } from './net.ts';

export type NamedTensors = Readonly<Record<string, Tensor>>;

/** A named tensor that must be there. @throws {FedError} PARAMETER_INVALID */
export function need(tensors: NamedTensors, name: string): Tensor {
  const tensor = tensors[name] as Tensor | undefined;
  if (!tensor) throw new FedError('PARAMETER_INVALID', `no parameter '${name}'`);
  return tensor;
}

/** What a layer reads besides its parameters: batch statistics are those of the batch unless they are given. */
export class PlainNet extends Net {
  readonly #parameters: NamedTensors;
  readonly #statistics: NamedTensors | undefined;
  /** Statistics of the batches seen, by layer: for `calibrateBatchNorm`. */
  readonly seen = new Map<string, BatchStatistics>();

  /**
   * @param parameters - by the names of the layout.
   * @param statistics - `<layer>.mean` and `<layer>.variance` for every batch normalisation; without them each batch is
   *   normalised by its own.
   */
  constructor(parameters: NamedTensors, statistics?: NamedTensors) {
    super();
    this.#parameters = parameters;
    this.#statistics = statistics;
  }

  protected override apply(layer: Layer, x: Tensor2D | Tensor4D): Tensor2D | Tensor4D {
    if (layer.kind === 'parameter') throw new TypeError('a parameter has no input');
    const parameters = parametersOf(layer).map(({ name }) => need(this.#parameters, name));
    if (layer.kind === 'groupNorm')
      return computeLayer(layer, parameters, normaliseGroups(x as Tensor4D, layer.groups));
    if (layer.kind === 'batchNorm') return batchNormOf(x, this.#moments(layer, x), parameters);
    return computeLayer(layer, parameters, x);
  }

  #moments(layer: LayerOf<'batchNorm'>, x: Tensor2D | Tensor4D): BatchStatistics {
    if (this.#statistics) {
      const [mean, variance] = ['mean', 'variance'].map((part) => need(this.#statistics!, `${layer.name}.${part}`));
      return { mean: mean as Tensor1D, variance: variance as Tensor1D };
    }
    const moments = batchStatistics(x);
    this.seen.set(layer.name, moments);
    return moments;
  }

  protected override raw(layer: LayerOf<'parameter'>): Tensor1D {
    return need(this.#parameters, `${layer.name}.value`) as Tensor1D;
  }
}

import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { quietTensorflow } from '../engine/recording-backend.ts';
import { type Layer, type LayerOf, outputShape, parametersOf } from './layers.ts';
import { type Layout, layoutOf } from './layout.ts';
import { Net } from './net.ts';

/** Computes nothing: answers every layer with zeros of the right shape and notes what was asked for. */
class DeclaringNet extends Net {
  readonly layers: DeclaredLayer[] = [];

  protected override apply(layer: Layer, x: Tensor2D | Tensor4D): Tensor2D | Tensor4D {
    if (layer.kind === 'parameter') throw new TypeError('a parameter has no input');
    const shape = outputShape(layer, x.shape.slice(1));
    this.layers.push({ layer, outputShape: shape });
    return tf.zeros<tf.Rank.R4>([x.shape[0], ...shape] as [number, number, number, number]);
  }

  protected override raw(layer: LayerOf<'parameter'>): Tensor1D {
    this.layers.push({ layer, outputShape: [layer.length] });
    return tf.zeros([layer.length]);
  }
}

export interface DeclaredLayer {
  readonly layer: Layer;
  /** Of one example, without the batch. */
  readonly outputShape: readonly number[];
}

/** What a network consists of, found by running its function once on one example of zeros. */
export interface Declaration {
  /** In the order in which the network calls them. */
  readonly layers: readonly DeclaredLayer[];
  readonly layout: Layout;
  /** Means and variances of the batch normalisations, for use after training. Length 0 where there are none. */
  readonly statistics: Layout;
}

/**
 * @param network - calls its net with inputs of batch size 1, which it makes itself.
 * @throws {FedError} PARAMETER_INVALID when two layers have the same name.
 */
export function declare(network: (net: Net) => Tensor): Declaration {
  quietTensorflow();
  const net = new DeclaringNet();
  tf.tidy(() => {
    network(net);
  });
  const layers = net.layers.map(({ layer }) => layer);
  const normalised = layers.filter((layer) => layer.kind === 'batchNorm');
  const statistics = normalised.flatMap(({ name, channels }) => [
    { name: `${name}.mean`, shape: [channels], initialiser: { kind: 'constant' as const, value: 0 } },
    { name: `${name}.variance`, shape: [channels], initialiser: { kind: 'constant' as const, value: 1 } },
  ]);
  return { layers: net.layers, layout: layoutOf(layers.flatMap(parametersOf)), statistics: layoutOf(statistics) };
}

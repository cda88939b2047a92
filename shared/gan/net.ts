import type { Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import type { Layer, LayerOf } from './layers.ts';

/**
 * What a network is written against: a few layers by name; everything between them is plain tfjs.
 *
 * An architecture calls a `Net` and does not know which one it has: the declaring net notes parameters and their first
 * values, the plain net computes, and the tapping net of `shared/dp/clipped-gradient.ts` computes and keeps what the
 * per-patient norms need. So one function is the network, its parameter list and its private gradient.
 *
 * Activations are `[n, height, width, channels]`. Names are unique within a network.
 */
export abstract class Net {
  /** What each kind of net does with a layer; the output is before any activation. */
  protected abstract apply(layer: Layer, x: Tensor2D | Tensor4D): Tensor2D | Tensor4D;
  /** A bare tensor of weights. No norm rule can exist for it, so a discriminator with one is refused. */
  protected abstract raw(layer: LayerOf<'parameter'>): Tensor1D;

  /** x·W + b. [n, inputs] to [n, units] */
  dense(name: string, x: Tensor2D, units: number, options: { bias?: boolean; gain?: number } = {}): Tensor2D {
    const { bias = true, gain = Math.SQRT2 } = options;
    return this.apply({ kind: 'dense', name, inputs: x.shape[1], units, bias, gain }, x) as Tensor2D;
  }

  /** Convolution with zero padding such that the output is `ceil(size / stride)`. */
  conv2d(
    name: string,
    x: Tensor4D,
    options: { filters: number; kernel: number; stride: number; bias?: boolean; gain?: number },
  ): Tensor4D {
    const { filters, kernel, stride, bias = true, gain = Math.SQRT2 } = options;
    const [, height, width, channels] = x.shape;
    const layer: Layer = { kind: 'conv2d', name, height, width, channels, filters, kernel, stride, bias, gain };
    return this.apply(layer, x) as Tensor4D;
  }

  /** Transposed convolution: the output is `size × stride`. */
  convTranspose2d(
    name: string,
    x: Tensor4D,
    options: { filters: number; kernel: number; stride: number; bias?: boolean; gain?: number },
  ): Tensor4D {
    const { filters, kernel, stride, bias = true, gain = Math.SQRT2 } = options;
    const channels = x.shape[3];
    return this.apply({ kind: 'convTranspose2d', name, channels, filters, kernel, stride, bias, gain }, x) as Tensor4D;
  }

  /** Normalised over the batch: only for generators, since an example would see its neighbours. */
  batchNorm<T extends Tensor2D | Tensor4D>(name: string, x: T): T {
    return this.apply({ kind: 'batchNorm', name, channels: x.shape[x.rank - 1] }, x) as T;
  }

  /** Normalised over positions and the channels of a group, within one example. */
  groupNorm(name: string, x: Tensor4D, groups: number): Tensor4D {
    return this.apply({ kind: 'groupNorm', name, channels: x.shape[3], groups }, x) as Tensor4D;
  }

  /** One learnt vector a class. [n, classes] to [n, dim] */
  embedding(name: string, oneHot: Tensor2D, dim: number): Tensor2D {
    return this.apply({ kind: 'embedding', name, classes: oneHot.shape[1], dim }, oneHot) as Tensor2D;
  }

  /** Learnt planes a class, to lay beside an image. [n, classes] to [n, height, width, channels] */
  labelPlanes(name: string, oneHot: Tensor2D, size: { height: number; width: number; channels: number }): Tensor4D {
    return this.apply({ kind: 'labelPlanes', name, classes: oneHot.shape[1], ...size }, oneHot) as Tensor4D;
  }

  /** A bare vector of weights; for generators only. [length] */
  parameter(name: string, length: number): Tensor1D {
    return this.raw({ kind: 'parameter', name, length });
  }
}

import * as tf from '@tensorflow/tfjs';
import type { Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import type { GanConfig } from './config.ts';
import type { Net } from './net.ts';

/** What a discriminator says of n examples. */
export interface Judgement {
  /** [n]: real above zero. */
  readonly logits: Tensor1D;
  /** [n]: cross-entropy of the class it names for each example with the label; null where it names none. */
  readonly classLosses: Tensor1D | null;
}

/** Two networks, written against `Net`. One file in `architectures/` each, and one line in the registry. */
export interface Architecture {
  readonly name: string;
  /** [n, latent], [n, classes] to images [n, size, size, channels] in [-1, 1]. */
  readonly generator: (net: Net, latents: Tensor2D, oneHot: Tensor2D, config: GanConfig) => Tensor4D;
  /**
   * Images [n, size, size, channels], [n, classes] to a judgement of each. It may depend on that example alone: a layer
   * that looks at its neighbours has no norm rule and is refused.
   */
  readonly discriminator: (net: Net, images: Tensor4D, oneHot: Tensor2D, config: GanConfig) => Judgement;
}

/** [n, h, w, c] to [n, c·h·w], channels outermost. */
export const flatten = (x: Tensor4D): Tensor2D => tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [x.shape[0], -1]);

/** [n, c·h·w] to [n, h, w, c]: undoes `flatten`. */
export const unflatten = (x: Tensor2D, size: number, channels: number): Tensor4D =>
  tf.transpose(tf.reshape(x, [x.shape[0], channels, size, size]), [0, 2, 3, 1]);

/** Labels as planes beside an image, where the configuration asks for them. */
export function withLabelPlanes(net: Net, images: Tensor4D, oneHot: Tensor2D, config: GanConfig): Tensor4D {
  if (config.conditioning !== 'planes') return images;
  const [, height, width] = images.shape;
  return tf.concat([images, net.labelPlanes('planes', oneHot, { height, width, channels: 1 })], 3);
}

/** Features [n, k] to a judgement: with the class projected on the features, or named, where the configuration asks. */
export function judge(net: Net, features: Tensor2D, oneHot: Tensor2D, config: GanConfig): Judgement {
  const logits: Tensor1D = tf.reshape(net.dense('logit', features, 1, { gain: 1 }), [features.shape[0]]);
  if (config.conditioning === 'projection') {
    const projected = net.embedding('projection', oneHot, features.shape[1]);
    return { logits: tf.add(logits, tf.sum(tf.mul(projected, features), 1)), classLosses: null };
  }
  if (config.conditioning !== 'classifier') return { logits, classLosses: null };
  const named = tf.logSoftmax(net.dense('class', features, config.classes, { gain: 1 }));
  return { logits, classLosses: tf.neg(tf.sum<Tensor1D>(tf.mul(named, oneHot), 1)) };
}

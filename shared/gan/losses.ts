/**
 * Losses per example, from logits [n] that are above zero for real images.
 *
 * @see Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3 (the non-saturating form);
 *   Lim and Ye 2017, https://arxiv.org/abs/1705.02894 (hinge)
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor1D } from '@tensorflow/tfjs';
import type { GanConfig } from './config.ts';

export type LossName = GanConfig['loss'];

/**
 * What the discriminator minimises for each example.
 * @param sign - [n]: +1 where the example is real, -1 where it is a fake.
 */
export function discriminatorLosses(loss: LossName, logits: Tensor1D, sign: Tensor1D): Tensor1D {
  const towards: Tensor1D = tf.mul(logits, sign);
  return loss === 'bce' ? tf.softplus(tf.neg(towards)) : tf.relu(tf.sub<Tensor1D>(1, towards));
}

/** What the generator minimises for each fake. */
export function generatorLosses(loss: LossName, logits: Tensor1D): Tensor1D {
  return loss === 'bce' ? tf.softplus(tf.neg(logits)) : tf.neg(logits);
}

/** [n]: 1 where the discriminator calls an example fake, 0 where it does not. */
export const calledFake = (logits: Tensor1D): Tensor1D => tf.cast(tf.less(logits, 0), 'float32');

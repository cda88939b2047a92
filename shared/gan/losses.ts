/**
 * Losses per example, from what a discriminator says of it. Where it names classes, it is taught them by real examples
 * alone, and the generator pays for a fake that is taken for another class than it was asked for.
 *
 * @see Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3 (the non-saturating form);
 *   Lim and Ye 2017, https://arxiv.org/abs/1705.02894 (hinge); Odena et al. 2017, https://arxiv.org/abs/1610.09585, section 4 (classes)
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor1D } from '@tensorflow/tfjs';
import type { Judgement } from './architecture.ts';
import type { GanConfig } from './config.ts';

export type LossName = GanConfig['loss'];

/**
 * What the discriminator minimises for each example.
 * @param sign - [n]: +1 where the example is real, -1 where it is a fake.
 */
export function discriminatorLosses(loss: LossName, { logits, classLosses }: Judgement, sign: Tensor1D): Tensor1D {
  const towards: Tensor1D = tf.mul(logits, sign);
  const losses: Tensor1D = loss === 'bce' ? tf.softplus(tf.neg(towards)) : tf.relu(tf.sub<Tensor1D>(1, towards));
  return classLosses === null ? losses : tf.add(losses, tf.mul(classLosses, tf.relu(sign)));
}

/** What the generator minimises for each fake. */
export function generatorLosses(loss: LossName, { logits, classLosses }: Judgement): Tensor1D {
  const losses: Tensor1D = loss === 'bce' ? tf.softplus(tf.neg(logits)) : tf.neg(logits);
  return classLosses === null ? losses : tf.add(losses, classLosses);
}

/** [n]: 1 where the discriminator calls an example fake, 0 where it does not. */
export const calledFake = (logits: Tensor1D): Tensor1D => tf.cast(tf.less(logits, 0), 'float32');

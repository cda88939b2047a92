/**
 * Trains the critic of the next moment round: a small classifier of the current generator's fakes. Fakes and their
 * labels are all it ever sees, so it is post-processing of what sites released and costs no epsilon.
 */
import * as tf from '@tensorflow/tfjs';
import type { Scalar, Tensor, Tensor4D } from '@tensorflow/tfjs';
import { adam } from '../shared/engine/optimizers.ts';
import { type Engine, float32, type TensorFunction } from '../shared/engine/program.ts';
import { drawFakeInputs, oneHot } from '../shared/gan/batch.ts';
import { addToFlat, initialise, parameterFeeds, parameterInputs } from '../shared/gan/layout.ts';
import { PlainNet } from '../shared/gan/plain-net.ts';
import type { Gan } from '../shared/gan/registry.ts';
import { Sampler } from '../shared/gan/sampler.ts';
import { criticLayout, criticNetwork, MAX_CRITIC_PARAMETER } from '../shared/moments/critic.ts';

export interface CriticTraining {
  readonly engine: Engine;
  readonly gan: Gan;
  readonly width: number;
  readonly steps: number;
  readonly batch: number;
  readonly lr: number;
  /** Probability of each class among the fakes. Public. */
  readonly distribution: readonly number[];
  /** Public: first weights and fakes. */
  readonly seed: string;
}

const BETAS = { beta1: 0.9, beta2: 0.99 };

/**
 * @param generator - [d] whose fakes the critic learns to tell apart by class.
 * @returns parameters, flat, in the layout of `criticLayout`.
 */
export async function trainCritic(p: CriticTraining, generator: Float32Array): Promise<Float32Array> {
  const { engine, gan, width, steps, batch, lr, distribution, seed } = p;
  const { classes, channels, imageSize: size, latent } = gan.config;
  const layout = criticLayout({ width }, { channels, size }, classes);
  const names = layout.entries.map(({ name }) => name);
  const fn: TensorFunction = ({ x, labels, ...rest }) => {
    const loss = (...parameters: Tensor[]): Scalar => {
      const net = new PlainNet(Object.fromEntries(names.map((name, i) => [name, parameters[i]])));
      const { logits } = criticNetwork(net, tf.transpose(x as Tensor4D, [0, 2, 3, 1]), classes, width);
      return tf.neg(tf.mean(tf.sum(tf.mul(labels, tf.logSoftmax(logits)), 1)));
    };
    const grads = tf.grads(loss)(names.map((name) => rest[`c.${name}`]));
    return Object.fromEntries(names.map((name, i) => [`d.${name}`, grads[i]]));
  };
  const program = await engine.compile('critic-step', fn, {
    x: float32(batch, channels, size, size),
    labels: float32(batch, classes),
    ...parameterInputs(layout, 'c.'),
  });
  const sampler = await Sampler.open(engine, gan, batch, 'batch');
  try {
    let parameters = initialise(layout, `critic ${seed}`);
    let state = adam({ learningRate: 0 }).init(layout.length);
    for (let step = 0; step < steps; step++) {
      const inputs = drawFakeInputs(batch, latent, distribution, `critic ${seed} ${step}`);
      const out = await program.run({
        x: await sampler.images(generator, inputs),
        labels: oneHot(inputs.labels, classes),
        ...parameterFeeds(layout, parameters, 'c.'),
      });
      const gradient = new Float64Array(layout.length);
      addToFlat(layout, out, 'd.', gradient);
      // Full for the first half, then down to nothing in a straight line.
      const learningRate = lr * Math.min(1, 2 * (1 - step / steps));
      ({ weights: parameters, state } = adam({ learningRate, ...BETAS }).update(parameters, gradient, state));
    }
    return parameters.map((w) => Math.max(-MAX_CRITIC_PARAMETER, Math.min(MAX_CRITIC_PARAMETER, w)));
  } finally {
    await program.dispose();
    await sampler.dispose();
  }
}

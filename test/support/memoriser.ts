/** A generator that was trained without privacy to give a few images back: what a release gate has to stop. */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs';
import { adam } from '../../shared/engine/optimizers.ts';
import { type Engine, float32 } from '../../shared/engine/program.ts';
import { oneHot } from '../../shared/gan/batch.ts';
import { addToFlat, initialise, parameterFeeds, parameterInputs } from '../../shared/gan/layout.ts';
import { PlainNet } from '../../shared/gan/plain-net.ts';
import type { Gan } from '../../shared/gan/registry.ts';
import { imageAt, type LabelledImages } from '../../shared/imaging/images.ts';
import { PublicRandom } from '../../shared/public-random.ts';

const BATCH = 64;

/**
 * Shares the plane of the first two latent values out among the images of a class, by angle, and trains the generator to
 * answer each latent vector with the image it belongs to: mean squared error, no clip, no noise.
 * @returns [generator parameters]
 */
export async function memorise(engine: Engine, gan: Gan, images: LabelledImages, steps: number): Promise<Float32Array> {
  const { latent, classes } = gan.config;
  const { layout } = gan.generator;
  const names = layout.entries.map(({ name }) => name);
  const d = images.pixels.length / images.n;
  const program = await engine.compile(
    'memorise',
    ({ z, y, target, ...rest }) => {
      const loss = (...parameters: Tensor[]) => {
        const net = new PlainNet(Object.fromEntries(names.map((name, i) => [name, parameters[i]])));
        const made = gan.architecture.generator(net, z as Tensor2D, y as Tensor2D, gan.config);
        const flat = tf.reshape(tf.transpose(made, [0, 3, 1, 2]), [BATCH, d]);
        const difference = tf.sub(flat, target);
        return tf.mean(tf.mul(difference, difference)).asScalar();
      };
      const { grads } = tf.valueAndGrads(loss)(names.map((name) => rest[`g.${name}`]));
      return Object.fromEntries(names.map((name, i) => [`d.${name}`, grads[i]]));
    },
    {
      z: float32(BATCH, latent),
      y: float32(BATCH, classes),
      target: float32(BATCH, d),
      ...parameterInputs(layout, 'g.'),
    },
  );
  const random = new PublicRandom('memorise');
  const members = images.classNames.map((_, k) => [...images.labels.keys()].filter((i) => images.labels[i] === k));
  let weights = initialise(layout, 'memorise');
  let optimizer = adam({ learningRate: 0 }).init(layout.length);
  try {
    for (let step = 0; step < steps; step++) {
      const z = random.gaussians(BATCH * latent);
      const labels = random.integers(BATCH, classes);
      const target = new Float32Array(BATCH * d);
      for (let i = 0; i < BATCH; i++) {
        const own = members[labels[i]];
        const turn = Math.atan2(z[i * latent + 1], z[i * latent]) / (2 * Math.PI) + 0.5;
        target.set(imageAt(images, own[Math.min(own.length - 1, Math.floor(turn * own.length))]), i * d);
      }
      const out = await program.run({
        z,
        y: oneHot(labels, classes),
        target,
        ...parameterFeeds(layout, weights, 'g.'),
      });
      const gradient = new Float64Array(layout.length);
      addToFlat(layout, out, 'd.', gradient);
      const learningRate = 0.01 * (1 - (0.95 * step) / steps);
      ({ weights, state: optimizer } = adam({ learningRate, beta1: 0.9, beta2: 0.99 }).update(
        weights,
        gradient,
        optimizer,
      ));
    }
    return weights;
  } finally {
    await program.dispose();
  }
}

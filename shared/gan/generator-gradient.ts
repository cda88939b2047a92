/**
 * Step 4 of 9: how the generator should change, from the noised discriminator and fakes alone.
 *
 * Guarantee: post-processing. No image, label, count or statistic of a patient is in scope or can be passed in: the only
 * input that ever had to do with one is `NoisedDiscriminator`, which `discriminator-trainer.ts` alone makes, from noised
 * sums. So the update costs no epsilon.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs';
import { type Engine, float32, type Program } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { drawFakeInputs, oneHot, type ClassWeights } from './batch.ts';
import { releaseKept, type TensorProgram, withoutPrefix } from './discriminator-gradient.ts';
import { addToFlat, parameterFeeds, parameterInputs } from './layout.ts';
import { calledFake, discriminatorLosses, generatorLosses } from './losses.ts';
import type { NoisedDiscriminator } from './noised-discriminator.ts';
import { PlainNet } from './plain-net.ts';
import type { Gan } from './registry.ts';

/**
 * The gradient of Σ weight × generator loss over one micro-batch of fakes.
 *
 * Inputs: `g.<parameter>`, `d.<parameter>`, `latents` [n, latent], `labels` [n, classes], `weights` [n]. Outputs:
 * `g.<parameter>`; `fakeLoss` and `calledFake`, sums over the micro-batch.
 */
export function generatorGradientSum(gan: Gan, n: number): TensorProgram {
  const { entries } = gan.generator.layout;
  const fn = (inputs: Record<string, Tensor>) => {
    const parameters = withoutPrefix(inputs, 'g.');
    const discriminator = new PlainNet(withoutPrefix(inputs, 'd.'));
    const [latents, labels] = [inputs['latents'] as Tensor2D, inputs['labels'] as Tensor2D];
    const shown: Record<string, Tensor> = {};
    const gradients = tf.grads((...values: Tensor[]) => {
      const net = new PlainNet(Object.fromEntries(entries.map(({ name }, i) => [name, values[i]])));
      const images = gan.architecture.generator(net, latents, labels, gan.config);
      const judged = gan.architecture.discriminator(discriminator, images, labels, gan.config);
      const fake = tf.fill<tf.Rank.R1>([n], -1);
      shown['fakeLoss'] = tf.keep(tf.sum(discriminatorLosses(gan.config.loss, judged, fake)));
      shown['calledFake'] = tf.keep(tf.sum(calledFake(judged.logits)));
      return tf.sum(tf.mul(generatorLosses(gan.config.loss, judged), inputs['weights']));
    })(entries.map(({ name }) => parameters[name]));
    const outputs: Record<string, Tensor> = {};
    entries.forEach(({ name }, i) => (outputs[`g.${name}`] = gradients[i]));
    releaseKept(shown, outputs);
    return outputs;
  };
  return {
    fn,
    inputs: {
      ...parameterInputs(gan.generator.layout, 'g.'),
      ...parameterInputs(gan.discriminator.layout, 'd.'),
      latents: float32(n, gan.config.latent),
      labels: float32(n, gan.config.classes),
      weights: float32(n),
    },
  };
}

export interface GeneratorUpdate {
  /** Clipped. [generator parameters] */
  readonly update: Float32Array;
  /** Mean discriminator loss on the fakes. */
  readonly fakeLoss: number;
  /** Share of the fakes that the discriminator calls fake. */
  readonly fakeAccuracy: number;
}

/** A vector scaled to an L2 norm of at most `norm`; all zeros where it holds anything that is not finite. */
export function clipVector(values: Float64Array, norm: number): Float32Array {
  // Plain loops: this runs over every parameter of the generator at every round.
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += values[i] * values[i];
  const length = Math.sqrt(squares);
  const clipped = new Float32Array(values.length);
  if (!Number.isFinite(length)) return clipped;
  // A hair below 1: rounding to float32 afterwards must not exceed the norm.
  const scale = length > norm ? (norm / length) * (1 - 2 ** -23) : 1;
  for (let i = 0; i < values.length; i++) clipped[i] = values[i] * scale;
  return clipped;
}

/** Compiled once for a run; a call is one update. */
export class GeneratorGradient {
  readonly #gan: Gan;
  readonly #fakes: number;
  readonly #microBatch: number;
  readonly #program: Program;

  private constructor(gan: Gan, fakes: number, microBatch: number, program: Program) {
    this.#gan = gan;
    this.#fakes = fakes;
    this.#microBatch = microBatch;
    this.#program = program;
  }

  /**
   * @param fakes - fakes in an update; @param microBatch - how many at once: bounds the memory, and is the batch that
   *   the generator's batch normalisation sees, so it is part of the policy.
   * @throws {FedError} PARAMETER_INVALID unless micro-batches divide the fakes.
   */
  static async open(engine: Engine, gan: Gan, fakes: number, microBatch: number): Promise<GeneratorGradient> {
    if (fakes % microBatch !== 0) throw new FedError('PARAMETER_INVALID', `${fakes} fakes in batches of ${microBatch}`);
    const { fn, inputs } = generatorGradientSum(gan, microBatch);
    return new GeneratorGradient(gan, fakes, microBatch, await engine.compile('generator-gradient', fn, inputs));
  }

  /**
   * @param generator - [generator parameters].
   * @param classes - which classes this site draws, and the public weight of each: `classWeights`.
   * @param seed - public; names the fakes.
   * @param clipNorm - L2 bound on the update.
   */
  async update(
    generator: Float32Array,
    discriminator: NoisedDiscriminator,
    classes: ClassWeights,
    seed: string,
    clipNorm: number,
  ): Promise<GeneratorUpdate> {
    const { latent, classes: classCount } = this.#gan.config;
    const { labels, latents } = drawFakeInputs(this.#fakes, latent, classes.distribution, seed);
    const weights = Float32Array.from(labels, (label) => classes.weights[label] / this.#fakes);
    const hot = oneHot(labels, classCount);
    const fixed = {
      ...parameterFeeds(this.#gan.generator.layout, generator, 'g.'),
      ...parameterFeeds(this.#gan.discriminator.layout, discriminator.values, 'd.'),
    };
    const total = new Float64Array(this.#gan.generator.layout.length);
    let [fakeLoss, calledFake] = [0, 0];
    for (let start = 0; start < this.#fakes; start += this.#microBatch) {
      const end = start + this.#microBatch;
      const outputs = await this.#program.run({
        ...fixed,
        latents: latents.subarray(start * latent, end * latent),
        labels: hot.subarray(start * classCount, end * classCount),
        weights: weights.subarray(start, end),
      });
      addToFlat(this.#gan.generator.layout, outputs, 'g.', total);
      fakeLoss += outputs['fakeLoss'][0];
      calledFake += outputs['calledFake'][0];
    }
    return {
      update: clipVector(total, clipNorm),
      fakeLoss: fakeLoss / this.#fakes,
      fakeAccuracy: calledFake / this.#fakes,
    };
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

/**
 * Images from a generator: fakes for training, synthetic images for release. Post-processing throughout.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs';
import { type Engine, float32, type Program } from '../engine/program.ts';
import type { FakeInputs } from './batch.ts';
import { oneHot } from './batch.ts';
import { withoutPrefix } from './discriminator-gradient.ts';
import { parameterFeeds, parameterInputs } from './layout.ts';
import { PlainNet } from './plain-net.ts';
import type { Gan } from './registry.ts';
import type { TensorProgram } from './discriminator-gradient.ts';

/**
 * A generator's forward pass.
 *
 * Inputs: `g.<parameter>`, `latents` [n, latent], `labels` [n, classes] one-hot; with `fixed` statistics also
 * `s.<statistic>`. Outputs: `images` [n, channels, size, size] in [-1, 1]; with statistics of the batch (`batch`) also
 * `s.<layer>.mean` and `s.<layer>.variance` as this batch had them.
 */
export function generatorForward(gan: Gan, n: number, statistics: 'batch' | 'fixed'): TensorProgram {
  const { layout, statistics: fixed } = gan.generator;
  return {
    inputs: {
      ...parameterInputs(layout, 'g.'),
      ...(statistics === 'fixed' ? parameterInputs(fixed, 's.') : {}),
      latents: float32(n, gan.config.latent),
      labels: float32(n, gan.config.classes),
    },
    fn: (inputs) => {
      const given = statistics === 'fixed' ? withoutPrefix(inputs, 's.') : undefined;
      const net = new PlainNet(withoutPrefix(inputs, 'g.'), given);
      const [latents, labels] = [inputs['latents'] as Tensor2D, inputs['labels'] as Tensor2D];
      const images = gan.architecture.generator(net, latents, labels, gan.config);
      // An engine's tanh may pass 1 by a rounding.
      const within = tf.clipByValue(images, -1, 1);
      const outputs: Record<string, Tensor> = { images: tf.transpose(within, [0, 3, 1, 2]) };
      for (const [name, { mean, variance }] of net.seen) {
        outputs[`s.${name}.mean`] = mean;
        outputs[`s.${name}.variance`] = variance;
      }
      return outputs;
    },
  };
}

/** Generates in batches of a fixed size; the last one is filled up and cut. */
export class Sampler {
  readonly #gan: Gan;
  readonly #batch: number;
  readonly #program: Program;
  readonly #statistics: 'batch' | 'fixed';

  private constructor(gan: Gan, batch: number, program: Program, statistics: 'batch' | 'fixed') {
    this.#gan = gan;
    this.#batch = batch;
    this.#program = program;
    this.#statistics = statistics;
  }

  /**
   * @param statistics - `batch`: normalised by the batch, as in training, so images depend on their neighbours; `fixed`:
   *   by the statistics passed to `images`, so each image depends on its own latent vector alone.
   */
  static async open(engine: Engine, gan: Gan, batch: number, statistics: 'batch' | 'fixed'): Promise<Sampler> {
    const { fn, inputs } = generatorForward(gan, batch, statistics);
    return new Sampler(gan, batch, await engine.compile(`sampler-${statistics}`, fn, inputs), statistics);
  }

  /**
   * @param generator - [d]; @param statistics - flat, in the layout of the generator's statistics.
   * @returns [n, channels, size, size] in [-1, 1]
   */
  async images(generator: Float32Array, fakes: FakeInputs, statistics?: Float32Array): Promise<Float32Array> {
    const { channels, imageSize } = this.#gan.config;
    const each = channels * imageSize * imageSize;
    const images = new Float32Array(fakes.labels.length * each);
    for (let start = 0; start < fakes.labels.length; start += this.#batch) {
      const { images: part } = await this.#run(generator, fakes, start, statistics);
      const count = Math.min(this.#batch, fakes.labels.length - start);
      images.set((part as Float32Array).subarray(0, count * each), start * each);
    }
    return images;
  }

  /**
   * Means and variances of the batch normalisations over whole batches of fakes, averaged: what a generator is released
   * with. Run once after training, on the averaged generator. Public. [statistics]
   */
  async calibrate(generator: Float32Array, fakes: FakeInputs): Promise<Float32Array> {
    const { statistics } = this.#gan.generator;
    const total = new Float64Array(statistics.length);
    const batches = Math.max(1, Math.floor(fakes.labels.length / this.#batch));
    for (let i = 0; i < batches; i++) {
      const outputs = await this.#run(generator, fakes, i * this.#batch);
      for (const { name, offset, size } of statistics.entries)
        for (let j = 0; j < size; j++) total[offset + j] += outputs[`s.${name}`][j] / batches;
    }
    return Float32Array.from(total);
  }

  #run(generator: Float32Array, fakes: FakeInputs, start: number, statistics?: Float32Array) {
    const { latent, classes } = this.#gan.config;
    const available = fakes.labels.length;
    const latents = new Float32Array(this.#batch * latent);
    const labels = new Int32Array(this.#batch);
    // Past the end the batch begins again: batch statistics must not see rows of zeros.
    for (let i = 0; i < this.#batch; i++) {
      const from = (start + i) % available;
      latents.set(fakes.latents.subarray(from * latent, (from + 1) * latent), i * latent);
      labels[i] = fakes.labels[from];
    }
    return this.#program.run({
      ...parameterFeeds(this.#gan.generator.layout, generator, 'g.'),
      ...(this.#statistics === 'fixed'
        ? parameterFeeds(this.#gan.generator.statistics, statistics ?? new Float32Array(), 's.')
        : {}),
      latents,
      labels: oneHot(labels, classes),
    });
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

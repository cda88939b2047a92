/**
 * The fixed convolutional classifier that utility is measured with. It is trained on images that are public or
 * synthetic, never on a site's; what it measures on private images would be a release of its own.
 */
import * as tf from '@tensorflow/tfjs';
import type { Scalar, Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { adam } from '../engine/optimizers.ts';
import { float32, type Engine, type Program, type Specs, type TensorFunction } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { declare } from '../gan/declaring-net.ts';
import { initialise, parameterFeeds, parameterInputs, type Layout } from '../gan/layout.ts';
import type { Net } from '../gan/net.ts';
import { PlainNet } from '../gan/plain-net.ts';
import { type LabelledImages, valuesPerImage } from '../imaging/images.ts';
import { PublicRandom } from '../public-random.ts';

/** Length of the feature vector under the last layer: what Fréchet distance and PRDC are measured on. */
export const FEATURES = 128;
const BATCH = 64;
/** Share of the features that a training step leaves out, against learning the quirks of one generator by heart. */
const DROPOUT = 0.4;

export interface ClassifierTraining {
  readonly epochs: number;
  /** Order of the images and first weights. */
  readonly seed: string;
  readonly progress?: (share: number) => void;
}

/** Two 4×4 convolutions of stride 2, 32 and 64 filters, a dense layer of 128, a dense layer of the classes. */
function network(net: Net, x: Tensor4D, classes: number, kept?: Tensor): { features: Tensor2D; logits: Tensor2D } {
  const one = tf.relu(net.conv2d('conv1', x, { filters: 32, kernel: 4, stride: 2 }));
  const two = tf.relu(net.conv2d('conv2', one, { filters: 64, kernel: 4, stride: 2 }));
  const flat = tf.reshape<tf.Rank.R2>(two, [x.shape[0], -1]);
  const features = tf.relu(net.dense('features', flat, FEATURES));
  const seen: Tensor2D = kept ? tf.mul(features, kept) : features;
  return { features, logits: net.dense('logits', seen, classes, { gain: 1 }) };
}

/** A trained classifier of images of one shape. Owns its programs: dispose of it. */
export class Classifier {
  readonly #program: Program;
  readonly #layout: Layout;
  readonly #weights: Float32Array;
  readonly classes: number;

  private constructor(program: Program, layout: Layout, weights: Float32Array, classes: number) {
    this.#program = program;
    this.#layout = layout;
    this.#weights = weights;
    this.classes = classes;
  }

  /**
   * Trains with Adam (1e-3) on cross-entropy, batches of 64, for a fixed number of epochs: no early stop, no choice of a
   * checkpoint, so that no test image has a say. The order and the first weights follow from the seed.
   *
   * @throws {FedError} PARAMETER_INVALID when there is no image.
   */
  static async train(engine: Engine, images: LabelledImages, options: ClassifierTraining): Promise<Classifier> {
    if (images.n === 0) throw new FedError('PARAMETER_INVALID', 'a classifier cannot learn from no images');
    const classes = images.classNames.length;
    const { channels, size } = images;
    const toNet = (x: Tensor) => tf.transpose(x as Tensor4D, [0, 2, 3, 1]);
    const { layout } = declare((net) => network(net, tf.zeros([1, size, size, channels]), classes).logits);
    const names = layout.entries.map(({ name }) => name);
    const optimizer = adam({ learningRate: 1e-3 });
    const step: TensorFunction = ({ x, labels, time, kept, ...rest }) => {
      const loss = (...parameters: Tensor[]): Scalar => {
        const net = new PlainNet(Object.fromEntries(names.map((name, i) => [name, parameters[i]])));
        const { logits } = network(net, toNet(x), classes, kept);
        const logProbabilities = tf.logSoftmax(logits);
        return tf.neg(tf.sum(tf.mul(labels, logProbabilities))).div(BATCH);
      };
      const { value, grads } = tf.valueAndGrads(loss)(names.map((name) => rest[`w.${name}`]));
      const outputs: Record<string, Tensor> = { loss: value };
      names.forEach((name, i) => {
        const slots = optimizer.slotNames.map((slot) => rest[`${slot}.${name}`]);
        const next = optimizer.updateTensors(rest[`w.${name}`], grads[i], slots, time);
        outputs[`w.${name}`] = next.weights;
        optimizer.slotNames.forEach((slot, k) => (outputs[`${slot}.${name}`] = next.slots[k]));
      });
      return outputs;
    };
    const predict: TensorFunction = ({ x, ...rest }) => {
      const net = new PlainNet(Object.fromEntries(names.map((name) => [name, rest[`w.${name}`]])));
      return { ...network(net, toNet(x), classes) };
    };
    const inputs = { x: float32(BATCH, channels, size, size), ...parameterInputs(layout, 'w.') };
    const slotInputs: Specs = Object.fromEntries(
      optimizer.slotNames.flatMap((slot) => Object.entries(parameterInputs(layout, `${slot}.`))),
    );
    const training = await engine.compile('classifier-step', step, {
      ...inputs,
      ...slotInputs,
      labels: float32(BATCH, classes),
      time: float32(),
      kept: float32(BATCH, FEATURES),
    });
    const weights = initialise(layout, options.seed);
    // Weights and the optimiser's slots: each step's outputs are the next step's inputs.
    let state = parameterFeeds(layout, weights, 'w.');
    for (const slot of optimizer.slotNames)
      state = { ...state, ...parameterFeeds(layout, new Float32Array(layout.length), `${slot}.`) };
    let time = 0;
    const random = new PublicRandom(`classifier ${options.seed}`);
    const steps = Math.max(1, Math.floor(images.n / BATCH));
    for (let epoch = 0; epoch < options.epochs; epoch++) {
      const order = random.permutation(images.n);
      for (let s = 0; s < steps; s++) {
        const rows = Array.from({ length: BATCH }, (_, i) => order[(s * BATCH + i) % images.n]);
        const { x, labels } = batchOf(images, rows);
        time++;
        const { loss: _, ...next } = await training.run({
          x,
          labels,
          time: Float32Array.of(time),
          kept: keptFeatures(random),
          ...state,
        });
        state = next as Record<string, Float32Array>;
        options.progress?.((epoch * steps + s + 1) / (options.epochs * steps));
      }
    }
    await training.dispose();
    for (const { name, offset } of layout.entries) weights.set(state[`w.${name}`], offset);
    return new Classifier(await engine.compile('classifier', predict, inputs), layout, weights, classes);
  }

  /** @returns the class of each image [n], its features [n, FEATURES], and a score for each class [n, classes]. */
  async predict(images: LabelledImages): Promise<{ labels: Int32Array; features: Float32Array; logits: Float32Array }> {
    const labels = new Int32Array(images.n);
    const scores = new Float32Array(images.n * this.classes);
    const features = new Float32Array(images.n * FEATURES);
    for (let start = 0; start < images.n; start += BATCH) {
      const rows = Array.from({ length: BATCH }, (_, i) => Math.min(start + i, images.n - 1));
      const { x } = batchOf(images, rows);
      const out = await this.#program.run({ x, ...parameterFeeds(this.#layout, this.#weights, 'w.') });
      const count = Math.min(BATCH, images.n - start);
      features.set(out['features'].subarray(0, count * FEATURES), start * FEATURES);
      scores.set(out['logits'].subarray(0, count * this.classes), start * this.classes);
      for (let i = 0; i < count; i++) {
        const logits = out['logits'].subarray(i * this.classes, (i + 1) * this.classes);
        labels[start + i] = logits.indexOf(Math.max(...logits));
      }
    }
    return { labels, features, logits: scores };
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

/** 0 for a feature that is left out, and for the others what makes up for those. [BATCH, FEATURES] */
const keptFeatures = (random: PublicRandom): Float32Array =>
  Float32Array.from(random.uniforms(BATCH * FEATURES), (u) => (u < DROPOUT ? 0 : 1 / (1 - DROPOUT)));

function batchOf(images: LabelledImages, rows: readonly number[]): { x: Float32Array; labels: Float32Array } {
  const each = valuesPerImage(images);
  const classes = images.classNames.length;
  const x = new Float32Array(rows.length * each);
  const labels = new Float32Array(rows.length * classes);
  rows.forEach((row, i) => {
    x.set(images.pixels.subarray(row * each, (row + 1) * each), i * each);
    labels[i * classes + images.labels[row]] = 1;
  });
  return { x, labels };
}

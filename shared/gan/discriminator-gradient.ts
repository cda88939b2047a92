/**
 * The discriminator's gradient without any protection: for runs whose policy says so in as many words
 * (`none-insecure`), and the yardstick of `bench/dp.ts`. The same inputs and outputs as the private one.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { float32, type Specs, type TensorFunction } from '../engine/program.ts';
import { parameterInputs } from './layout.ts';
import { calledFake, discriminatorLosses } from './losses.ts';
import { PlainNet } from './plain-net.ts';
import type { Gan } from './registry.ts';

/** The static shape of one micro-batch. A patient is never split over two. */
export interface MicroBatch {
  readonly patients: number;
  /** m: image slots of each patient. */
  readonly imagesPerPatient: number;
  readonly fakes: number;
}

export interface TensorProgram {
  readonly fn: TensorFunction;
  readonly inputs: Specs;
}

/** The inputs every discriminator gradient has, private or not. */
export function discriminatorInputs(gan: Gan, { patients, imagesPerPatient: m, fakes }: MicroBatch): Specs {
  const { channels, imageSize: size, classes } = gan.config;
  return {
    ...parameterInputs(gan.discriminator.layout, 'd.'),
    images: float32(patients * m, channels, size, size),
    labels: float32(patients * m, classes),
    /** Share of each image in its patient's loss: 1 / images of the patient; 0 in empty slots and absent patients. */
    imageWeights: float32(patients * m),
    fakes: float32(fakes, channels, size, size),
    fakeLabels: float32(fakes, classes),
    /** 1, or 0 where a micro-batch has more places than fakes are left. */
    fakeWeights: float32(fakes),
  };
}

/** Parameters by their names in the layout, from inputs whose names have a prefix. */
export const withoutPrefix = (inputs: Record<string, Tensor>, prefix: string): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(inputs).flatMap(([name, x]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), x]] : [])),
  );

/** Real images first, then fakes, as the network wants them: pixels, labels, sign and weight of each. */
export function joinBatch(inputs: Record<string, Tensor>) {
  const [real, fakes] = [inputs['imageWeights'] as Tensor1D, inputs['fakeWeights'] as Tensor1D];
  return {
    pixels: tf.transpose(tf.concat([inputs['images'], inputs['fakes']], 0), [0, 2, 3, 1]) as Tensor4D,
    oneHot: tf.concat([inputs['labels'], inputs['fakeLabels']], 0) as Tensor2D,
    sign: tf.concat<Tensor1D>([tf.ones(real.shape), tf.fill(fakes.shape, -1)], 0),
    weights: tf.concat<Tensor1D>([real, fakes], 0),
  };
}

/** What may be shown of a step: sums over fakes alone. */
export function fakeStatistics(losses: Tensor1D, logits: Tensor1D, fakeWeights: Tensor) {
  const fakes = fakeWeights.shape[0] ?? 0;
  const last = (x: Tensor1D): Tensor1D => tf.slice(x, x.shape[0] - fakes, fakes);
  return {
    fakeLoss: tf.sum(tf.mul(last(losses), fakeWeights)),
    calledFake: tf.sum(tf.mul(calledFake(last(logits)), fakeWeights)),
  };
}

/**
 * The sum over patients and fakes of their gradients, unclipped: PRIVATE DATA, without any guarantee.
 *
 * Inputs: `discriminatorInputs`. Outputs: `g.<parameter>`; `fakeLoss` and `calledFake`, sums over fakes.
 */
export function insecureGradientSum(gan: Gan, batch: MicroBatch): TensorProgram {
  const { entries } = gan.discriminator.layout;
  const fn: TensorFunction = (inputs) => {
    const { pixels, oneHot, sign, weights } = joinBatch(inputs);
    const outputs: Record<string, Tensor> = {};
    const shown: Record<string, Tensor> = {};
    const parameters = withoutPrefix(inputs, 'd.');
    const gradients = tf.grads((...values: Tensor[]) => {
      const net = new PlainNet(Object.fromEntries(entries.map(({ name }, i) => [name, values[i]])));
      const judged = gan.architecture.discriminator(net, pixels, oneHot, gan.config);
      const losses = discriminatorLosses(gan.config.loss, judged, sign);
      for (const [name, x] of Object.entries(fakeStatistics(losses, judged.logits, inputs['fakeWeights'])))
        shown[name] = tf.keep(x);
      return tf.sum(tf.mul(losses, weights));
    })(entries.map(({ name }) => parameters[name]));
    entries.forEach(({ name }, i) => (outputs[`g.${name}`] = gradients[i]));
    releaseKept(shown, outputs);
    return outputs;
  };
  return { fn, inputs: discriminatorInputs(gan, batch) };
}

/** Copies tensors that were kept beyond tidy into the outputs, and lets the kept ones go. */
export function releaseKept(kept: Record<string, Tensor>, outputs: Record<string, Tensor>): void {
  for (const [name, x] of Object.entries(kept)) {
    outputs[name] = tf.clone(x);
    x.dispose();
  }
}

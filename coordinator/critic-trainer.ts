/**
 * Trains the critic of the next moment round: a small classifier of the current generator's fakes. Fakes and their
 * labels are all it ever sees, so it is post-processing of what sites released and costs no epsilon.
 */
import * as tf from '@tensorflow/tfjs';
import type { Scalar, Tensor, Tensor4D } from '@tensorflow/tfjs';
import { adam } from '../shared/engine/optimizers.ts';
import { type Engine, float32, type TensorFunction } from '../shared/engine/program.ts';
import { drawFakeInputs, oneHot } from '../shared/gan/batch.ts';
import { addToFlat, initialise, type Layout, parameterFeeds, parameterInputs } from '../shared/gan/layout.ts';
import { PlainNet } from '../shared/gan/plain-net.ts';
import type { Gan } from '../shared/gan/registry.ts';
import { Sampler } from '../shared/gan/sampler.ts';
import {
  type CriticConfig,
  type CriticLayer,
  criticNetwork,
  criticNetworkLayout,
  criticStatistics,
  MAX_CRITIC_PARAMETER,
} from '../shared/moments/critic.ts';
import { PublicRandom } from '../shared/public-random.ts';
import { type Augmentation, augmentFakes } from './augment-fakes.ts';

export interface CriticTraining extends CriticConfig {
  readonly engine: Engine;
  readonly gan: Gan;
  readonly steps: number;
  readonly batch: number;
  readonly lr: number;
  /** How far fakes are moved about while it learns from them; absent: not at all. */
  readonly augment?: Augmentation | undefined;
  /** Probability of each class among the fakes. Public. */
  readonly distribution: readonly number[];
  /** Public: first weights and fakes. */
  readonly seed: string;
}

const BETAS = { beta1: 0.9, beta2: 0.99 };
/** Fakes over which a layer's means and deviations are taken. */
const MEASURED = 4000;
/** Below this a unit that hardly moves would be stretched; and one over it is the most a parameter may be. */
const LEAST_DEVIATION = 1 / MAX_CRITIC_PARAMETER;

/**
 * @param generator - [d] whose fakes the critic learns to tell apart by class.
 * @returns parameters, flat, in the layout of `criticLayout`.
 */
export async function trainCritic(p: CriticTraining, generator: Float32Array): Promise<Float32Array> {
  const { engine, gan, width, steps, batch, lr, augment, distribution, seed } = p;
  const { classes, channels, imageSize: size, latent } = gan.config;
  const layout = criticNetworkLayout(width, { channels, size }, classes);
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
      const fakes = await sampler.images(generator, inputs);
      const moving = new PublicRandom(`critic augment ${seed} ${step}`);
      const out = await program.run({
        x: augment ? augmentFakes(fakes, { channels, size }, augment, moving) : fakes,
        labels: oneHot(inputs.labels, classes),
        ...parameterFeeds(layout, parameters, 'c.'),
      });
      const gradient = new Float64Array(layout.length);
      addToFlat(layout, out, 'd.', gradient);
      // Full for the first half, then down to nothing in a straight line.
      const learningRate = lr * Math.min(1, 2 * (1 - step / steps));
      ({ weights: parameters, state } = adam({ learningRate, ...BETAS }).update(parameters, gradient, state));
    }
    const within = parameters.map((w) => Math.max(-MAX_CRITIC_PARAMETER, Math.min(MAX_CRITIC_PARAMETER, w)));
    const statistics = await layerStatistics(p, { layout, parameters: within }, sampler, generator);
    return Float32Array.from([...within, ...statistics]);
  } finally {
    await program.dispose();
    await sampler.dispose();
  }
}

/** Each unit's mean, and one over its deviation, of those layers whose blocks ask for it; in the order of `criticLayout`. */
async function layerStatistics(
  { engine, gan, width, blocks, batch, distribution, seed }: CriticTraining,
  { layout, parameters }: { readonly layout: Layout; readonly parameters: Float32Array },
  sampler: Sampler,
  generator: Float32Array,
): Promise<number[]> {
  const asked = criticStatistics({ blocks });
  if (asked.length === 0) return [];
  const { classes, channels, imageSize: size, latent } = gan.config;
  const fn: TensorFunction = ({ x, ...rest }) => {
    const net = new PlainNet(Object.fromEntries(layout.entries.map(({ name }) => [name, rest[`c.${name}`]])));
    const layers = criticNetwork(net, tf.transpose(x as Tensor4D, [0, 2, 3, 1]), classes, width);
    return Object.fromEntries(
      asked.flatMap(({ layer }) => [
        [`${layer}.sum`, tf.sum(layers[layer], 0)],
        [`${layer}.squares`, tf.sum(tf.square(layers[layer]), 0)],
      ]),
    );
  };
  const inputs = { x: float32(batch, channels, size, size), ...parameterInputs(layout, 'c.') };
  const program = await engine.compile('critic-layers', fn, inputs);
  const totals = new Map<string, Float64Array>();
  const batches = Math.ceil(MEASURED / batch);
  try {
    for (let i = 0; i < batches; i++) {
      const fakes = drawFakeInputs(batch, latent, distribution, `critic layers ${seed} ${i}`);
      const x = await sampler.images(generator, fakes);
      for (const [name, values] of Object.entries(
        await program.run({ x, ...parameterFeeds(layout, parameters, 'c.') }),
      ))
        totals.set(
          name,
          (totals.get(name) ?? new Float64Array(values.length)).map((t, j) => t + values[j]),
        );
    }
  } finally {
    await program.dispose();
  }
  const perFake = (layer: CriticLayer, what: 'sum' | 'squares') =>
    Array.from(totals.get(`${layer}.${what}`)!, (total) => total / (batches * batch));
  return asked.flatMap(({ layer, scaled }) => {
    const mean = perFake(layer, 'sum').map((m) => Math.max(-MAX_CRITIC_PARAMETER, Math.min(MAX_CRITIC_PARAMETER, m)));
    if (!scaled) return mean;
    const squares = perFake(layer, 'squares');
    const scale = mean.map((m, j) => 1 / Math.max(LEAST_DEVIATION, Math.sqrt(Math.max(0, squares[j] - m * m))));
    return [...mean, ...scale];
  });
}

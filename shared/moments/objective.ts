/**
 * The coordinator's side of round zero: from a sum of noised embeddings to a term of the generator's objective. All of
 * it is post-processing of what the sites released, so it costs no epsilon, however often it is evaluated.
 */
import * as tf from '@tensorflow/tfjs';
import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs';
import {
  float32,
  type Engine,
  type Program,
  type Specs,
  type TensorFunction,
  type TensorSpec,
} from '../engine/program.ts';
import { oneHot } from '../gan/batch.ts';
import { withoutPrefix } from '../gan/discriminator-gradient.ts';
import { addToFlat, parameterFeeds, parameterInputs, type Layout } from '../gan/layout.ts';
import { PlainNet } from '../gan/plain-net.ts';
import type { Gan } from '../gan/registry.ts';
import { CONSTANT_COORDINATE } from './embedding.ts';
import type { FeaturePart, FeatureSet } from './features.ts';

/** What the generator is fitted to. */
export interface MomentTargets {
  /** [classes, features]: mean embedding of each class, noise included. */
  readonly means: Float32Array;
  /** [classes]: weight of each class in the objective; 0 where noise drowns the count. */
  readonly classWeights: Float32Array;
}

/** One released sum as a part of the objective: what it was measured in, and what came of it. */
export interface MomentTerm {
  readonly features: FeatureSet;
  readonly targets: MomentTargets;
}

/** A count this many standard deviations of its own noise above zero is taken to be real. */
const COUNT_SIGNIFICANCE = 4;

/**
 * Divides the summed embeddings of a class by its noised count, which came in the same event.
 *
 * @param sum - [classes × (features + 1)]: the sum over all sites, each with its own noise.
 * @param noiseStd - standard deviation of the summed noise in each coordinate: σ √sites. Public.
 * @param declared - classes that some site declared; another class keeps weight 0.
 */
export function momentTargets(
  sum: Float64Array,
  classes: number,
  noiseStd: number,
  declared: readonly boolean[],
): MomentTargets {
  const width = sum.length / classes;
  const means = new Float32Array(classes * (width - 1));
  const classWeights = new Float32Array(classes);
  for (let k = 0; k < classes; k++) {
    const count = sum[k * width + width - 1] / CONSTANT_COORDINATE;
    if (!declared[k] || !(count > (COUNT_SIGNIFICANCE * noiseStd) / CONSTANT_COORDINATE) || count < 1) continue;
    classWeights[k] = 1;
    for (let j = 0; j < width - 1; j++) means[k * (width - 1) + j] = sum[k * width + j] / count;
  }
  return { means, classWeights };
}

/**
 * Σ over classes of w ( |m|² n / (n - 1) - 2 ⟨μ, m⟩ ), m the mean of the batch's n fakes of a class: up to a constant an
 * unbiased estimate of Σ w |μ - E m|², from all pairs of different fakes. An embedding's norm is the same for every image,
 * so what an image makes with itself is a constant, and the factor takes out the rest of it: without the factor the
 * estimate would carry the variance of the fakes and reward a generator for having none.
 *
 * @param classMeans - [classes, n], see `classMeans`; @param pairs - [classes], see `pairFactors`.
 * @param means - [classes, features]; @param classWeights - [classes]
 * @see Gretton et al. 2012, JMLR 13, lemma 6 (the unbiased statistic)
 */
export function momentLoss(
  parts: readonly FeaturePart[],
  batch: { readonly classMeans: Tensor2D; readonly pairs: Tensor },
  means: Tensor2D,
  classWeights: Tensor,
): Scalar {
  const classes = means.shape[0];
  let at = 0;
  const perClass = parts.map(({ rows, scale }) => {
    const width = rows.shape[1];
    // What a site's vectors hold is scaled to leave room for the constant coordinate.
    const m = tf.mul<Tensor2D>(tf.matMul(batch.classMeans, rows), scale * Math.sqrt(1 - CONSTANT_COORDINATE ** 2));
    const target = tf.slice(means, [0, at], [classes, width]);
    at += width;
    return tf.sub(tf.mul(batch.pairs, tf.sum(tf.square(m), 1)), tf.mul(tf.sum(tf.mul(target, m), 1), 2));
  });
  return tf.sum(tf.mul(tf.addN(perClass), classWeights));
}

const countsOf = (labels: Int32Array, classes: number): Int32Array => {
  const counts = new Int32Array(classes);
  for (const label of labels) counts[label]++;
  return counts;
};

/** The matrix that takes a batch to its class means: [classes, n]. */
export function classMeans(labels: Int32Array, classes: number): Float32Array {
  const counts = countsOf(labels, classes);
  const matrix = new Float32Array(classes * labels.length);
  labels.forEach((label, i) => (matrix[label * labels.length + i] = 1 / counts[label]));
  return matrix;
}

/** n / (n - 1) for each class; 0 where the batch has no pair of a class. [classes] */
export const pairFactors = (labels: Int32Array, classes: number): Float32Array =>
  Float32Array.from(countsOf(labels, classes), (n) => (n < 2 ? 0 : n / (n - 1)));

/** What of a batch's labels an objective reads. */
export const batchFeeds = (labels: Int32Array, classes: number) => ({
  oneHot: oneHot(labels, classes),
  classMeans: classMeans(labels, classes),
  pairs: pairFactors(labels, classes),
});

/** What an objective is made of. */
export interface ObjectiveParts {
  readonly gan: Gan;
  readonly terms: readonly MomentTerm[];
  /** Fakes in one evaluation. */
  readonly batch: number;
}

/**
 * The sum of some moment terms as a function of `g.<parameter>`, `z` [batch, latent], `oneHot` [batch, classes] and the
 * rest of `batchFeeds`, with what is fixed among its inputs.
 */
export function momentObjective({ gan, terms, batch }: ObjectiveParts) {
  const { architecture, config } = gan;
  const { layout } = gan.generator;
  const names = layout.entries.map(({ name }) => name);
  const loss = (
    parameters: readonly Tensor[],
    { z, oneHot, classMeans, pairs, ...rest }: Record<string, Tensor>,
  ): Scalar => {
    const net = new PlainNet(Object.fromEntries(names.map((name, i) => [name, parameters[i]])));
    // Generators make [n, height, width, channels]; features read [n, channels, height, width].
    const images = tf.transpose(architecture.generator(net, z as Tensor2D, oneHot as Tensor2D, config), [0, 3, 1, 2]);
    const losses = terms.map(({ features }, t) =>
      momentLoss(
        features.parts(images, withoutPrefix(rest, `t${t}.`)),
        { classMeans: classMeans as Tensor2D, pairs },
        rest[`means${t}`] as Tensor2D,
        rest[`classWeights${t}`],
      ),
    );
    return losses.reduce((sum, one) => tf.add(sum, one));
  };
  /** Value and gradients, in the order of the layout. */
  const valueAndGradients = ({ ...inputs }: Record<string, Tensor>) =>
    tf.valueAndGrads((...parameters: Tensor[]) => loss(parameters, inputs))(names.map((name) => inputs[`g.${name}`]));
  const constants = terms.flatMap(({ features }, t) =>
    Object.entries(features.constants).map(([k, c]) => [`t${t}.${k}`, c] as const),
  );
  const inputs: Specs = {
    z: float32(batch, config.latent),
    oneHot: float32(batch, config.classes),
    classMeans: float32(config.classes, batch),
    pairs: float32(config.classes),
    ...Object.fromEntries(
      terms.flatMap(({ features }, t): [string, TensorSpec][] => [
        [`means${t}`, float32(config.classes, features.length)],
        [`classWeights${t}`, float32(config.classes)],
      ]),
    ),
    ...Object.fromEntries(constants.map(([k, c]) => [k, float32(...c.shape)])),
    ...parameterInputs(layout, 'g.'),
  };
  const fixed: Record<string, Float32Array> = {
    ...Object.fromEntries(
      terms.flatMap(({ targets }, t): [string, Float32Array][] => [
        [`means${t}`, targets.means],
        [`classWeights${t}`, targets.classWeights],
      ]),
    ),
    ...Object.fromEntries(constants.map(([k, c]) => [k, c.values])),
  };
  return { names, layout, inputs, fixed, valueAndGradients };
}

/** The gradient of the sum of some moment terms with respect to the generator, compiled. */
export class MomentObjective {
  readonly #program: Program;
  readonly #layout: Layout;
  readonly #fixed: Record<string, Float32Array>;
  readonly #classes: number;
  /** Fakes in one evaluation. */
  readonly batch: number;

  private constructor(
    program: Program,
    parts: { layout: Layout; fixed: Record<string, Float32Array> },
    p: ObjectiveParts,
  ) {
    this.#program = program;
    this.#layout = parts.layout;
    this.#fixed = parts.fixed;
    this.#classes = p.gan.config.classes;
    this.batch = p.batch;
  }

  static async create({ engine, ...p }: ObjectiveParts & { engine: Engine }): Promise<MomentObjective> {
    const { names, inputs, valueAndGradients, ...parts } = momentObjective(p);
    const fn: TensorFunction = (tensors) => {
      const { value, grads } = valueAndGradients(tensors);
      return { loss: value, ...Object.fromEntries(names.map((name, i) => [`d.${name}`, grads[i]])) };
    };
    return new MomentObjective(await engine.compile('moment-objective', fn, inputs), parts, p);
  }

  /**
   * @param generator - [d] flat parameters.
   * @param z - [batch, latent], independent N(0, 1).
   * @param labels - [batch]; two or more of every class.
   * @returns the gradient [d] and the loss, which may be negative: a constant is left out.
   */
  async gradient(
    generator: Float32Array,
    z: Float32Array,
    labels: Int32Array,
  ): Promise<{ loss: number; gradient: Float64Array }> {
    const out = await this.#program.run({
      z,
      ...batchFeeds(labels, this.#classes),
      ...this.#fixed,
      ...parameterFeeds(this.#layout, generator, 'g.'),
    });
    const gradient = new Float64Array(this.#layout.length);
    addToFlat(this.#layout, out, 'd.', gradient);
    return { loss: out['loss'][0], gradient };
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

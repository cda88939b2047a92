/**
 * The coordinator's side of round zero: from a sum of noised embeddings to a term of the generator's objective. All of
 * it is post-processing of what the sites released, so it costs no epsilon, however often it is evaluated.
 */
import * as tf from '@tensorflow/tfjs';
import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs';
import { float32, type Engine, type Program, type TensorFunction, type TensorSpec } from '../engine/program.ts';
import { withoutPrefix } from '../gan/discriminator-gradient.ts';
import { addToFlat, parameterFeeds, parameterInputs, type Layout } from '../gan/layout.ts';
import { PlainNet } from '../gan/plain-net.ts';
import type { Gan } from '../gan/registry.ts';
import { CONSTANT_COORDINATE, momentRows } from './embedding.ts';
import type { FeatureSet } from './features.ts';

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
 * Σ over classes of w ( ⟨m₁, m₂⟩ - ⟨μ, m₁ + m₂⟩ ), m₁ and m₂ the means of two independent halves of the batch: up to
 * a constant an unbiased estimate of Σ w |μ - E m|². With one mean squared instead, the estimate would carry the
 * variance of the fakes and reward a generator for having none.
 *
 * @param rows - [n, features + 1], see `momentRows`; the first half of the batch belongs to m₁.
 * @param oneHot - [n, classes]
 * @see Gretton et al. 2012, JMLR 13, lemma 6 (the unbiased statistic)
 */
export function momentLoss(rows: Tensor2D, oneHot: Tensor2D, means: Tensor2D, classWeights: Tensor): Scalar {
  const half = rows.shape[0] / 2;
  const width = rows.shape[1] - 1;
  const [m1, m2] = [0, half].map((start) => {
    const labels = tf.slice(oneHot, [start, 0], [half, -1]);
    const sums = tf.matMul(labels, tf.slice(rows, [start, 0], [half, width]), true, false);
    return tf.div(sums, tf.maximum(tf.reshape(tf.sum(labels, 0), [-1, 1]), 1));
  });
  const perClass = tf.sum(tf.sub(tf.mul(m1, m2), tf.mul(means, tf.add(m1, m2))), 1);
  return tf.sum(tf.mul(perClass, classWeights));
}

/** The gradient of the sum of some moment terms with respect to the generator, compiled. */
export class MomentObjective {
  readonly #program: Program;
  readonly #layout: Layout;
  readonly #fixed: Record<string, Float32Array>;
  /** Fakes in one evaluation, even. */
  readonly batch: number;

  private constructor(program: Program, layout: Layout, fixed: Record<string, Float32Array>, batch: number) {
    this.#program = program;
    this.#layout = layout;
    this.#fixed = fixed;
    this.batch = batch;
  }

  static async create(p: {
    engine: Engine;
    gan: Gan;
    terms: readonly MomentTerm[];
    batch: number;
  }): Promise<MomentObjective> {
    const { terms } = p;
    const { architecture, config } = p.gan;
    const { layout } = p.gan.generator;
    const batch = p.batch + (p.batch % 2);
    const names = layout.entries.map(({ name }) => name);
    const fn: TensorFunction = ({ z, oneHot, ...rest }) => {
      const loss = (...parameters: Tensor[]): Scalar => {
        const net = new PlainNet(Object.fromEntries(names.map((name, i) => [name, parameters[i]])));
        // Generators make [n, height, width, channels]; features read [n, channels, height, width].
        const images = tf.transpose(
          architecture.generator(net, z as Tensor2D, oneHot as Tensor2D, config),
          [0, 3, 1, 2],
        );
        // The embedding's constant cancels in no mean: it is left out by `momentLoss`; the scale of φ stays in.
        const losses = terms.map(({ features }, t) => {
          const rows = momentRows(features, images, withoutPrefix(rest, `t${t}.`));
          return momentLoss(rows, oneHot as Tensor2D, rest[`means${t}`] as Tensor2D, rest[`classWeights${t}`]);
        });
        return losses.reduce((sum, loss) => tf.add(sum, loss));
      };
      const { value, grads } = tf.valueAndGrads(loss)(names.map((name) => rest[`g.${name}`]));
      return { loss: value, ...Object.fromEntries(names.map((name, i) => [`d.${name}`, grads[i]])) };
    };
    const own: [string, TensorSpec][] = terms.flatMap(({ features }, t) => [
      [`means${t}`, float32(config.classes, features.length)],
      [`classWeights${t}`, float32(config.classes)],
      ...Object.entries(features.constants).map(([k, c]): [string, TensorSpec] => [`t${t}.${k}`, float32(...c.shape)]),
    ]);
    const program = await p.engine.compile('moment-objective', fn, {
      z: float32(batch, config.latent),
      oneHot: float32(batch, config.classes),
      ...Object.fromEntries(own),
      ...parameterInputs(layout, 'g.'),
    });
    const fixed: [string, Float32Array][] = terms.flatMap(({ features, targets }, t) => [
      [`means${t}`, targets.means],
      [`classWeights${t}`, targets.classWeights],
      ...Object.entries(features.constants).map(([k, c]): [string, Float32Array] => [`t${t}.${k}`, c.values]),
    ]);
    return new MomentObjective(program, layout, Object.fromEntries(fixed), batch);
  }

  /**
   * @param generator - [d] flat parameters.
   * @param z - [batch, latent], independent N(0, 1).
   * @param oneHot - [batch, classes]; each half holds every class.
   * @returns the gradient [d] and the loss, which may be negative: a constant is left out.
   */
  async gradient(
    generator: Float32Array,
    z: Float32Array,
    oneHot: Float32Array,
  ): Promise<{ loss: number; gradient: Float64Array }> {
    const out = await this.#program.run({
      z,
      oneHot,
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

/**
 * Round zero, at a site: every patient becomes one vector over class × (features and a constant), the vectors are
 * summed, noise is added once.
 *
 * Guarantee: a patient's vector is the mean over the patient's images of e_class ⊗ (√(1 - b²) φ(x), b). Each image's
 * vector is clipped to norm 1, so the mean has norm at most 1 whatever classes the images span; adding or removing one
 * patient moves the sum by at most 1 in L2. One call is one Gaussian mechanism of sensitivity 1.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { float32, type Engine, type Program, type TensorFunction } from '../engine/program.ts';
import type { FeatureSet, ImageShape } from './features.ts';

/** Share of a vector's length that counts patients; the rest holds features. */
export const CONSTANT_COORDINATE = 0.25;

/** Images whose embedding is to be summed, patient by patient. */
export interface MomentImage {
  /** Row in `pixels`. */
  readonly index: number;
  readonly label: number;
  /** 1 over the number of the patient's images that count. */
  readonly weight: number;
}

/** The length of what a site sends: [classes, features + 1] row-major; the constant is the last column. */
export const momentLength = (classes: number, features: FeatureSet): number => classes * (features.length + 1);

/**
 * Rows [n, features + 1] of norm at most 1: scaled features, then the constant coordinate.
 * The clip makes the bound hold in floating point too, and against a feature set that breaks its word.
 */
export function momentRows(features: FeatureSet, x: Tensor4D, constants: Record<string, Tensor>): Tensor2D {
  return tf.tidy(() => {
    const phi = tf.mul(features.embed(x, constants), Math.sqrt(1 - CONSTANT_COORDINATE ** 2));
    const one = tf.fill([x.shape[0], 1], CONSTANT_COORDINATE);
    const rows = tf.concat([phi, one], 1);
    const norm = tf.sqrt(tf.sum(tf.square(rows), 1, true));
    return tf.div<Tensor2D>(rows, tf.maximum(norm, 1));
  });
}

/** Sums embeddings over micro-batches; the sum is private until noise is added. */
export class MomentSummer {
  readonly #program: Program;
  readonly #constants: Record<string, Float32Array>;
  readonly #shape: ImageShape;
  readonly #classes: number;
  readonly #width: number;
  readonly #batch: number;

  private constructor(program: Program, features: FeatureSet, shape: ImageShape, classes: number, batch: number) {
    this.#program = program;
    this.#constants = Object.fromEntries(Object.entries(features.constants).map(([k, c]) => [k, c.values]));
    this.#shape = shape;
    this.#classes = classes;
    this.#width = features.length + 1;
    this.#batch = batch;
  }

  static async create(engine: Engine, features: FeatureSet, shape: ImageShape, classes: number, batch = 256) {
    const fn: TensorFunction = ({ x, weights, ...constants }) => {
      const rows = momentRows(features, x as Tensor4D, constants);
      return { sum: tf.matMul(weights, rows, true, false) };
    };
    const program = await engine.compile('moment-sums', fn, {
      x: float32(batch, shape.channels, shape.size, shape.size),
      weights: float32(batch, classes),
      ...Object.fromEntries(Object.entries(features.constants).map(([k, c]) => [k, float32(...c.shape)])),
    });
    return new MomentSummer(program, features, shape, classes, batch);
  }

  /**
   * @param pixels - [n, channels, size, size] in [-1, 1].
   * @returns [classes × (features + 1)]: the exact sum. Only a mechanism may see it.
   */
  async sum(pixels: Float32Array, images: readonly MomentImage[]): Promise<Float64Array> {
    const total = new Float64Array(this.#classes * this.#width);
    const each = this.#shape.channels * this.#shape.size ** 2;
    for (let start = 0; start < images.length; start += this.#batch) {
      const x = new Float32Array(this.#batch * each);
      const weights = new Float32Array(this.#batch * this.#classes);
      images.slice(start, start + this.#batch).forEach(({ index, label, weight }, i) => {
        const image = pixels.subarray(index * each, (index + 1) * each);
        // An image that is not finite counts as absent: to throw would publish a fact about it, and to let it in would
        // spoil its neighbours' rows, which is more than one patient may do.
        if (!image.every((v) => Math.abs(v) <= 1)) return;
        x.set(image, i * each);
        weights[i * this.#classes + label] = weight;
      });
      const { sum } = await this.#program.run({ x, weights, ...this.#constants });
      for (let i = 0; i < total.length; i++) total[i] += sum[i];
    }
    return total;
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

/**
 * The images of each patient that count, at most `imagesPerPatient`, with weights that sum to 1 per patient.
 * @param patients - per patient, the rows of its images.
 */
export function momentImages(
  patients: readonly (readonly number[])[],
  labels: Int32Array,
  imagesPerPatient: number,
): MomentImage[] {
  return patients.flatMap((rows) => {
    const kept = rows.slice(0, imagesPerPatient);
    return kept.map((index) => ({ index, label: labels[index], weight: 1 / kept.length }));
  });
}

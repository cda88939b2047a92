/**
 * The fit of a generator to noised mean embeddings, a step at a time: gradient, Adam and the average in one program, whose
 * outputs are the next step's inputs. Post-processing throughout.
 */
import type { Tensor } from '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs';
import { adam, type OptimizerState } from '../engine/optimizers.ts';
import { type Arrays, type Engine, float32, type Program, type Specs, type TensorFunction } from '../engine/program.ts';
import { type Layout, parameterFeeds, parameterInputs } from '../gan/layout.ts';
import { batchFeeds, momentObjective, type ObjectiveParts } from './objective.ts';

/** Adam in the moment fit: the second moment forgets faster than in adversarial rounds. */
const BETAS = { beta1: 0.5, beta2: 0.99 };
/** Weights, their average, and the optimiser's slots: what a step takes and gives, by prefix. */
const CARRIED = ['g.', 'average.', 'm.', 'v.'] as const;

/** Where a fit is: what the next one goes on from, with other terms or the same. */
export interface FitState {
  /** [d] */
  readonly weights: Float32Array;
  /** The average of the weights so far, the newest of them counted most. [d] */
  readonly average: Float32Array;
  readonly optimizer: OptimizerState;
}

export class MomentFit {
  readonly #program: Program;
  readonly #layout: Layout;
  readonly #fixed: Arrays;
  #carried: Arrays;
  #step: number;
  /** Fakes in one step. */
  readonly batch: number;

  private constructor(program: Program, layout: Layout, fixed: Arrays, from: FitState, batch: number) {
    this.batch = batch;
    this.#program = program;
    this.#layout = layout;
    this.#fixed = fixed;
    this.#step = from.optimizer.step;
    const vectors = [from.weights, from.average, ...from.optimizer.slots];
    this.#carried = Object.assign(
      {},
      ...CARRIED.map((prefix, i) => parameterFeeds(layout, vectors[i], prefix)),
    ) as Arrays;
  }

  /**
   * @param labels - [batch] of every step; two or more of every class.
   * @param from - where it begins: first weights, or where another fit of this generator ended.
   */
  static async create(
    p: Omit<ObjectiveParts, 'batch'> & { engine: Engine; labels: Int32Array; from: FitState },
  ): Promise<MomentFit> {
    const { engine, labels, from } = p;
    const { classes } = p.gan.config;
    const { names, layout, inputs, fixed, valueAndGradients } = momentObjective({ ...p, batch: labels.length });
    const optimizer = adam({ learningRate: 1, ...BETAS });
    const fn: TensorFunction = ({ step, rate, decay, ...tensors }) => {
      const { value, grads } = valueAndGradients(tensors);
      const outputs: Record<string, Tensor> = { loss: value };
      names.forEach((name, i) => {
        const slots = [tensors[`m.${name}`], tensors[`v.${name}`]];
        const next = optimizer.updateTensors(tensors[`g.${name}`], grads[i], slots, step, rate);
        const average = tensors[`average.${name}`];
        outputs[`g.${name}`] = next.weights;
        outputs[`average.${name}`] = tf.add(next.weights, tf.mul(decay, tf.sub(average, next.weights)));
        [outputs[`m.${name}`], outputs[`v.${name}`]] = next.slots;
      });
      return outputs;
    };
    const carried = CARRIED.map((prefix) => parameterInputs(layout, prefix));
    const all: Specs = Object.assign(
      { step: float32(), rate: float32(), decay: float32() },
      inputs,
      ...carried,
    ) as Specs;
    const program = await engine.compile('moment-fit', fn, all);
    const always = { ...fixed, ...batchFeeds(labels, classes) };
    return new MomentFit(program, layout, always, from, labels.length);
  }

  /**
   * One step.
   * @param z - [batch, latent], independent N(0, 1).
   * @param pace.rate - the learning rate. @param pace.decay - of the average.
   * @returns the loss before it, which may be negative: a constant is left out.
   */
  async step(z: Float32Array, { rate, decay }: { rate: number; decay: number }): Promise<number> {
    this.#step++;
    const scalars = { step: Float32Array.of(this.#step), rate: Float32Array.of(rate), decay: Float32Array.of(decay) };
    const { loss, ...carried } = await this.#program.run({ z, ...scalars, ...this.#fixed, ...this.#carried });
    this.#carried = carried;
    return loss[0];
  }

  state(): FitState {
    const [weights, average, ...slots] = CARRIED.map((prefix) => {
      const flat = new Float32Array(this.#layout.length);
      for (const { name, offset } of this.#layout.entries) flat.set(this.#carried[`${prefix}${name}`], offset);
      return flat;
    });
    return { weights, average, optimizer: { step: this.#step, slots } };
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

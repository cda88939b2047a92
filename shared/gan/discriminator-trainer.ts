/**
 * One private step of a discriminator: clipped sum, noise, mean over the expected batch, Adam. In this order, and with
 * nothing in between that looks at the private sum.
 */
import type { LatticeGaussian } from '../dp/gaussian.ts';
import { meanOverExpectedBatch, privatize } from '../dp/noised.ts';
import type { PatientBatch } from '../dp/patient-batch.ts';
import { type FakeBatch, type GradientRule, PatientGradients, type StepShape } from '../dp/patient-gradient.ts';
import type { Engine } from '../engine/program.ts';
import { type DiscriminatorOptimiser, type DiscriminatorState, stepDiscriminator } from './noised-discriminator.ts';
import type { Gan } from './registry.ts';

/** Everything about a step that the policy fixes. */
export interface DiscriminatorTraining extends StepShape {
  readonly rule: GradientRule;
  /** C. Not used by `none-insecure`. */
  readonly clipNorm: number;
  /** σ; 0 for `none-insecure`. */
  readonly noiseMultiplier: number;
  /** What the sum is divided by: public, never the true number of patients. */
  readonly expectedBatch: number;
  readonly optimiser: DiscriminatorOptimiser;
}

export class DiscriminatorTrainer {
  readonly #training: DiscriminatorTraining;
  readonly #gradients: PatientGradients;

  private constructor(training: DiscriminatorTraining, gradients: PatientGradients) {
    this.#training = training;
    this.#gradients = gradients;
  }

  /**
   * @param imagesAtOnce - images in one pass: speed and memory only.
   * @throws {FedError} LAYER_WITHOUT_NORM_RULE
   */
  static async open(engine: Engine, gan: Gan, training: DiscriminatorTraining, imagesAtOnce?: number) {
    const gradients = await PatientGradients.open(engine, gan, training, training.rule, imagesAtOnce);
    return new DiscriminatorTrainer(training, gradients);
  }

  /**
   * Guarantee: with the rule `clip` or `normalise`, one Gaussian mechanism of `noiseMultiplier` on the patients laid into
   * the batch; an empty batch takes the same step. What is returned besides the state concerns fakes alone.
   *
   * @param gaussian - over `secureBytes`; fresh noise at every call.
   * @param rateFactor - public: what the optimiser's rate is multiplied by.
   */
  async step(
    state: DiscriminatorState,
    patients: PatientBatch,
    fakes: FakeBatch,
    gaussian: LatticeGaussian,
    rateFactor = 1,
  ): Promise<{ state: DiscriminatorState; fakeLoss: number; fakeAccuracy: number }> {
    const { clipNorm, noiseMultiplier, expectedBatch, optimiser } = this.#training;
    const { sum, fakeLoss, fakeAccuracy } = await this.#gradients.sum(state.parameters, patients, fakes, clipNorm);
    const noised = privatize(sum, { clipNorm: sum.clipNorm, noiseMultiplier }, gaussian);
    const gradient = meanOverExpectedBatch(noised, expectedBatch);
    const slowed = { ...optimiser, learningRate: rateFactor * optimiser.learningRate };
    return { state: stepDiscriminator(state, gradient, slowed), fakeLoss, fakeAccuracy };
  }

  dispose(): Promise<void> {
    return this.#gradients.dispose();
  }
}

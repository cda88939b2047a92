/**
 * The two halves of a pooled discriminator step. A site sums its patients' clipped gradients; the coordinator, which
 * knows the discriminator, adds the fakes' part and takes the optimiser's step. Added up they are the step that
 * `DiscriminatorTrainer` would take on the patients of all sites at once.
 */
import type { ClippedSum } from '../dp/noised.ts';
import { layPatients, type PatientBatch } from '../dp/patient-batch.ts';
import { type FakeBatch, type GradientRule, PatientGradients, type StepShape } from '../dp/patient-gradient.ts';
import { type GradientPart, pooledGradient } from '../dp/pooled-mean.ts';
import type { ClipRule } from '../dp/clipped-gradient.ts';
import type { Engine } from '../engine/program.ts';
import { type DiscriminatorOptimiser, type DiscriminatorState, stepDiscriminator } from './noised-discriminator.ts';
import type { Gan } from './registry.ts';

/** Everything about a pooled step that the policy fixes. */
export interface PooledTraining {
  /** Never `none-insecure`: the lattice needs a bound, noise or not. */
  readonly rule: ClipRule;
  readonly clipNorm: number;
  readonly noiseMultiplier: number;
  readonly stepsPerClip: number;
  readonly optimiser: DiscriminatorOptimiser;
}

const NO_FAKES: FakeBatch = { images: new Float32Array(), labels: new Int32Array() };

/** A site's half: the sum over its patients, and nothing of fakes. */
export class PatientsPart {
  readonly #gradients: PatientGradients;
  readonly #clipNorm: number;
  private constructor(gradients: PatientGradients, clipNorm: number) {
    this.#gradients = gradients;
    this.#clipNorm = clipNorm;
  }

  /** @throws {FedError} LAYER_WITHOUT_NORM_RULE */
  static async open(engine: Engine, gan: Gan, shape: Omit<StepShape, 'fakes'>, training: PooledTraining) {
    const rule: GradientRule = training.rule;
    const gradients = await PatientGradients.open(engine, gan, { ...shape, fakes: 0 }, rule);
    return new PatientsPart(gradients, training.clipNorm);
  }

  /** PRIVATE. @param parameters - [d] of the discriminator. @throws {FedError} PARAMETER_INVALID, on public parameters */
  async sum(parameters: Float32Array, patients: PatientBatch): Promise<ClippedSum> {
    return (await this.#gradients.sum(parameters, patients, NO_FAKES, this.#clipNorm)).sum;
  }

  dispose(): Promise<void> {
    return this.#gradients.dispose();
  }
}

/** The fakes' part of one step, and what may be shown of it. */
export interface FakesSum {
  /** [d] */
  readonly sum: Float64Array;
  readonly fakeLoss: number;
  readonly fakeAccuracy: number;
}

/** The coordinator's half. */
export class FakesPart {
  readonly #gradients: PatientGradients;
  readonly #training: PooledTraining;
  readonly #nobody: PatientBatch;
  private constructor(gradients: PatientGradients, training: PooledTraining, nobody: PatientBatch) {
    this.#gradients = gradients;
    this.#training = training;
    this.#nobody = nobody;
  }

  static async open(engine: Engine, gan: Gan, fakes: number, training: PooledTraining): Promise<FakesPart> {
    const gradients = await PatientGradients.open(
      engine,
      gan,
      { places: 1, imagesPerPatient: 1, fakes },
      training.rule,
    );
    return new FakesPart(gradients, training, layPatients(gan.config, 1, 1, []));
  }

  /** The fakes' gradients, each clipped as a patient's is. @param parameters - [d] of the discriminator. */
  async sum(parameters: Float32Array, fakes: FakeBatch): Promise<FakesSum> {
    const { sum, fakeLoss, fakeAccuracy } = await this.#gradients.sum(
      parameters,
      this.#nobody,
      fakes,
      this.#training.clipNorm,
    );
    return { sum: sum.values, fakeLoss, fakeAccuracy };
  }

  /**
   * One step of Adam.
   * @param pooled - the opened sum over sites, in lattice steps, and the expected number of patients in it.
   * @param rateFactor - public: what the optimiser's rate is multiplied by.
   */
  step(state: DiscriminatorState, pooled: GradientPart, fakes: GradientPart, rateFactor = 1): DiscriminatorState {
    const { optimiser, clipNorm, noiseMultiplier, stepsPerClip } = this.#training;
    const gradient = pooledGradient({ ...pooled, stepsPerClip, clipNorm, noiseMultiplier }, fakes);
    const slowed = { ...optimiser, learningRate: rateFactor * optimiser.learningRate };
    return stepDiscriminator(state, gradient, slowed);
  }

  dispose(): Promise<void> {
    return this.#gradients.dispose();
  }
}

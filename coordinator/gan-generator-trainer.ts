/**
 * Step 7 of 9: the generator, its average and its optimiser, stepped on sums of noised or masked updates. Everything
 * here is post-processing of what sites released. States are bytes, so that each is durable before a round closes.
 */
import { adam, type OptimizerState } from '../shared/engine/optimizers.ts';
import type { Engine } from '../shared/engine/program.ts';
import { FedError } from '../shared/errors.ts';
import { movingAverage } from '../shared/gan/average.ts';
import { oneHot } from '../shared/gan/batch.ts';
import { initialise } from '../shared/gan/layout.ts';
import { type Gan, openGan } from '../shared/gan/registry.ts';
import { decodeState, encodeState, stateBytes } from '../shared/gan/state-bytes.ts';
import { momentLength } from '../shared/moments/embedding.ts';
import { type FeatureSet, featureSet } from '../shared/moments/features.ts';
import { MomentObjective, momentTargets, type MomentTargets } from '../shared/moments/objective.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { ganConfigOf } from '../shared/policy/views.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';
import { PublicRandom } from '../shared/public-random.ts';
import type { GeneratorTrainer } from './core/generator-trainer.ts';

/** What is kept between rounds. */
export interface GeneratorState {
  readonly weights: Float32Array;
  /** Exponential average of the weights: what is released. */
  readonly average: Float32Array;
  readonly optimizer: OptimizerState;
  /** Of the moment round, once it has been; null before, and in a run without one. */
  readonly targets: MomentTargets | null;
}

/** Adam in the moment fit: the second moment forgets faster than in adversarial rounds. */
const FIT_BETAS = { beta1: 0.5, beta2: 0.99 };
/** The fit's rate is full for this share of its steps and then falls along a cosine to a hundredth. */
const FULL_RATE_SHARE = 0.4;

export class GanGeneratorTrainer implements GeneratorTrainer {
  readonly #policy: CheckedPolicy;
  readonly #engine: Engine;
  readonly #features: FeatureSet | null;
  /** One at a time, for the targets it was compiled with. */
  #objective: { targets: MomentTargets; compiled: MomentObjective } | null = null;
  readonly gan: Gan;

  constructor(engine: Engine, policy: CheckedPolicy) {
    this.#engine = engine;
    this.#policy = policy;
    this.gan = openGan(ganConfigOf(policy));
    const { warmStart, model } = policy;
    const shape = { channels: model.channels, size: model.imageSize };
    this.#features = warmStart.kind === 'moments' ? featureSet(warmStart.features, shape) : null;
  }

  /** Public first values: a pure function of the policy. */
  async initialState(): Promise<Uint8Array> {
    const { layout } = this.gan.generator;
    const weights = initialise(layout, `generator ${this.#policy.id} ${this.#policy.version}`);
    const optimizer = adam({ learningRate: 0 }).init(layout.length);
    return this.encode({ weights, average: weights, optimizer, targets: null });
  }

  weights(state: Uint8Array): Float32Array {
    return this.decode(state).weights;
  }

  updateLength(plan: RoundPlan): number {
    if (plan.kind === 'generator') return this.gan.generator.layout.length;
    return momentLength(this.gan.config.classes, this.#momentFeatures());
  }

  /**
   * Fits the generator to the noised mean embeddings, from the state's weights.
   * @param sum - [classes × (features + 1)], each contributor's noise in it.
   */
  async fitMoments(bytes: Uint8Array, plan: RoundPlan, sum: Float64Array, progress: (share: number) => void) {
    const { warmStart, training } = this.#policy;
    if (warmStart.kind !== 'moments') throw new FedError('PARAMETER_INVALID', 'the policy has no moment round');
    const state = this.decode(bytes);
    const noiseStd = warmStart.noiseMultiplier * Math.sqrt(plan.invited.length);
    const declared = plan.declarers.map((n) => n > 0);
    const targets = momentTargets(sum, this.gan.config.classes, noiseStd, declared);
    let { weights, average, optimizer } = state;
    average = weights;
    for (let step = 0; step < warmStart.fitSteps; step++) {
      const { gradient } = await this.#momentGradient(weights, targets, `${plan.publicSeed} fit ${step}`);
      const learningRate = warmStart.lr * fitRate(step / warmStart.fitSteps);
      ({ weights, state: optimizer } = adam({ learningRate, ...FIT_BETAS }).update(weights, gradient, optimizer));
      // The average starts as short as the run is, so that first steps do not linger in it.
      average = movingAverage(average, weights, Math.min(training.emaDecay, step / (step + 10)));
      progress((step + 1) / warmStart.fitSteps);
    }
    // Adversarial rounds begin from the average, with an optimiser that knows nothing of the fit.
    optimizer = adam({ learningRate: 0 }).init(weights.length);
    return this.encode({ weights: average, average, optimizer, targets });
  }

  /** One step of Adam on the summed generator gradients, and on the moment term where the policy keeps it. */
  async applyGradients(bytes: Uint8Array, plan: RoundPlan, sum: Float64Array, _contributors: readonly string[]) {
    const { training } = this.#policy;
    const { weights: before, average, optimizer, targets } = this.decode(bytes);
    const gradient = Float64Array.from(sum);
    if (targets && training.momentWeight > 0) {
      const term = await this.#momentGradient(before, targets, `${plan.publicSeed} moment term`);
      for (let i = 0; i < gradient.length; i++) gradient[i] += training.momentWeight * term.gradient[i];
    }
    const { lrG: learningRate, beta1, beta2, emaDecay } = training;
    const { weights, state } = adam({ learningRate, beta1, beta2 }).update(before, gradient, optimizer);
    return this.encode({
      weights,
      average: movingAverage(average, weights, Math.min(emaDecay, (state.step + 1) / (state.step + 10))),
      optimizer: state,
      targets,
    });
  }

  encode({ weights, average, optimizer, targets }: GeneratorState): Uint8Array {
    const first = encodeState(optimizer.step, [weights, average, ...optimizer.slots]);
    const second = targets
      ? encodeState(0, [Float32Array.of(...targets.classWeights, ...targets.means)])
      : new Uint8Array();
    const bytes = new Uint8Array(first.length + second.length);
    bytes.set(first);
    bytes.set(second, first.length);
    return bytes;
  }

  /** @throws {FedError} STORE_CORRUPT */
  decode(bytes: Uint8Array): GeneratorState {
    const { length } = this.gan.generator.layout;
    const size = stateBytes(4, length);
    const { steps, vectors } = decodeState(bytes.subarray(0, size), 4, length);
    const [weights, average, ...slots] = vectors;
    return { weights, average, optimizer: { step: steps, slots }, targets: this.#targetsFrom(bytes.subarray(size)) };
  }

  #targetsFrom(bytes: Uint8Array): MomentTargets | null {
    if (bytes.length === 0) return null;
    const { classes } = this.gan.config;
    if (!this.#features) throw new FedError('STORE_CORRUPT', 'moments in the state of a run that has none');
    const { vectors } = decodeState(bytes, 1, classes * (this.#features.length + 1));
    return { classWeights: vectors[0].slice(0, classes), means: vectors[0].slice(classes) };
  }

  #momentFeatures(): FeatureSet {
    if (!this.#features) throw new FedError('PARAMETER_INVALID', 'the policy has no moment round');
    return this.#features;
  }

  async #momentGradient(weights: Float32Array, targets: MomentTargets, seed: string) {
    const { classes, latent } = this.gan.config;
    if (!this.#objective || !sameTargets(this.#objective.targets, targets)) {
      await this.#objective?.compiled.dispose();
      const compiled = await MomentObjective.create({
        engine: this.#engine,
        gan: this.gan,
        features: this.#momentFeatures(),
        targets,
        batch: this.#fitBatch(),
      });
      this.#objective = { targets, compiled };
    }
    const { compiled } = this.#objective;
    // Both halves hold every class equally often.
    const labels = Int32Array.from({ length: compiled.batch }, (_, i) => (i % (compiled.batch / 2)) % classes);
    const latents = new PublicRandom(`latents ${seed}`).gaussians(compiled.batch * latent);
    return compiled.gradient(weights, latents, oneHot(labels, classes));
  }

  /** The policy's batch, rounded so that two halves hold every class equally often. */
  #fitBatch(): number {
    const { warmStart } = this.#policy;
    const { classes } = this.gan.config;
    const wanted = warmStart.kind === 'moments' ? warmStart.fitBatch : 0;
    return 2 * classes * Math.max(1, Math.round(wanted / (2 * classes)));
  }

  async dispose(): Promise<void> {
    await this.#objective?.compiled.dispose();
    this.#objective = null;
  }
}

/** Share of the fit's learning rate at a share of its steps. */
function fitRate(share: number): number {
  if (share < FULL_RATE_SHARE) return 1;
  return 0.01 + 0.495 * (1 + Math.cos((Math.PI * (share - FULL_RATE_SHARE)) / (1 - FULL_RATE_SHARE)));
}

const sameValues = (a: Float32Array, b: Float32Array): boolean =>
  a.length === b.length && a.every((v, i) => v === b[i]);
const sameTargets = (a: MomentTargets, b: MomentTargets): boolean =>
  a === b || (sameValues(a.classWeights, b.classWeights) && sameValues(a.means, b.means));

/**
 * Step 7 of 9: the generator, its average and its optimiser, stepped on sums of noised or masked updates. Everything
 * here is post-processing of what sites released. States are bytes, so that each is durable before a round closes.
 */
import { adam, type OptimizerState } from '../shared/engine/optimizers.ts';
import type { Engine } from '../shared/engine/program.ts';
import { FedError } from '../shared/errors.ts';
import { movingAverage } from '../shared/gan/average.ts';
import { releasedValues } from '../shared/gate/draw.ts';
import { initialise, type Layout } from '../shared/gan/layout.ts';
import { type Gan, openGan } from '../shared/gan/registry.ts';
import { decodeState, encodeState, stateBytes } from '../shared/gan/state-bytes.ts';
import { criticFeatures, criticLayout, criticLength, criticSeed } from '../shared/moments/critic.ts';
import { featureSet, type ImageShape } from '../shared/moments/features.ts';
import { type FitState, MomentFit } from '../shared/moments/fit.ts';
import { MomentObjective, momentTargets, type MomentTargets, type MomentTerm } from '../shared/moments/objective.ts';
import { momentRoundsOf } from '../shared/policy/cost.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import type { WarmStart } from '../shared/policy/schema.ts';
import type { DeepReadonly } from '../shared/policy/freeze.ts';
import { rateFactor } from '../shared/policy/training.ts';
import { ganConfigOf, labelDistribution } from '../shared/policy/views.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';
import { PublicRandom } from '../shared/public-random.ts';
import { trainCritic } from './critic-trainer.ts';
import type { GeneratorTrainer } from './core/generator-trainer.ts';

/** What is kept between rounds. */
export interface GeneratorState {
  readonly weights: Float32Array;
  /** Exponential average of the weights: what is released. */
  readonly average: Float32Array;
  readonly optimizer: OptimizerState;
  /** What every moment round so far has given, in order. */
  readonly moments: readonly MomentRelease[];
  /** The critic of the next round, where that is a moment round in its features. */
  readonly critic: Float32Array | null;
}

/** What one moment round has given, and the critic whose features it was in: null in the first, whose are fixed. */
export interface MomentRelease {
  readonly critic: Float32Array | null;
  readonly targets: MomentTargets;
}

type Moments = Extract<WarmStart, { kind: 'moments' }>;

/** The fit's rate is full for this share of its steps, those after critic rounds among them, and then falls along a cosine to a hundredth. */
const FULL_RATE_SHARE = 0.4;

export class GanGeneratorTrainer implements GeneratorTrainer {
  readonly #policy: CheckedPolicy;
  readonly #engine: Engine;
  readonly #shape: ImageShape;
  /** One at a time, for the moments it was compiled with. */
  #objective: { moments: readonly MomentRelease[]; compiled: MomentObjective } | null = null;
  readonly gan: Gan;

  constructor(engine: Engine, policy: CheckedPolicy) {
    this.#engine = engine;
    this.#policy = policy;
    this.gan = openGan(ganConfigOf(policy));
    this.#shape = { channels: policy.model.channels, size: policy.model.imageSize };
  }

  /** Public first values: a pure function of the policy. */
  async initialState(): Promise<Uint8Array> {
    const { layout } = this.gan.generator;
    const weights = initialise(layout, `generator ${this.#policy.id} ${this.#policy.version}`);
    const optimizer = adam({ learningRate: 0 }).init(layout.length);
    return this.encode({ weights, average: weights, optimizer, moments: [], critic: null });
  }

  weights(state: Uint8Array): Float32Array {
    return this.decode(state).weights;
  }

  critic(state: Uint8Array): Float32Array | null {
    return this.decode(state).critic;
  }

  released(state: Uint8Array): Promise<Float32Array> {
    return releasedValues(this.#engine, this.#policy, this.decode(state).average);
  }

  updateLength(plan: RoundPlan): number {
    if (plan.kind !== 'moments') return this.gan.generator.layout.length;
    return this.gan.config.classes * (this.#featureLength(plan.round) + 1);
  }

  /**
   * Fits the generator, from where the state has it, to the noised mean embeddings of this and all earlier moment rounds;
   * then trains the critic of the next, where there is one. All of these fits are one: optimiser, average and falling rate
   * go on through them, so that a round adds a term and begins nothing anew.
   * @param sum - [classes × (features + 1)], each contributor's noise in it.
   */
  async fitMoments(bytes: Uint8Array, plan: RoundPlan, sum: Float64Array, progress: (share: number) => void) {
    const { training } = this.#policy;
    const warmStart = this.#warmStart();
    const { critic, moments: before, ...from } = this.decode(bytes);
    const declared = plan.declarers.map((n) => n > 0);
    const targets = momentTargets(sum, this.gan.config.classes, this.momentNoise(plan), declared);
    const moments = [...before, { critic, targets }];
    const done = fitStepsOf(warmStart, before.length);
    const until = fitStepsOf(warmStart, moments.length);
    const rounds = momentRoundsOf(this.#policy);
    const all = fitStepsOf(warmStart, rounds);
    const fit = await MomentFit.create({
      engine: this.#engine,
      gan: this.gan,
      terms: this.#terms(moments),
      labels: this.#fakeLabels(warmStart.fitBatch),
      from,
    });
    let fitted: FitState;
    try {
      for (let step = done; step < until; step++) {
        const latents = this.#latents(`${plan.publicSeed} fit ${step}`, fit.batch);
        // The average starts as short as the run is, so that first steps do not linger in it.
        const decay = Math.min(training.emaDecay, step / (step + 10));
        await fit.step(latents, { rate: warmStart.lr * fitRate(step / all), decay });
        progress((step + 1 - done) / (until - done));
      }
      fitted = fit.state();
    } finally {
      await fit.dispose();
    }
    const { average } = fitted;
    if (moments.length < rounds)
      return this.encode({ ...fitted, moments, critic: await this.#trainCritic(average, plan) });
    // Later rounds begin from the average, with an optimiser that knows nothing of the fit.
    const optimizer = adam({ learningRate: 0 }).init(average.length);
    return this.encode({ weights: average, average, optimizer, moments, critic: null });
  }

  /** Standard deviation of the noise in a moment sum: every site's own. */
  protected momentNoise(plan: RoundPlan): number {
    return this.#warmStart().noiseMultiplier * Math.sqrt(plan.invited.length);
  }

  /** One step of Adam on the summed generator gradients, and on the moment term where the policy keeps it. */
  async applyGradients(bytes: Uint8Array, plan: RoundPlan, sum: Float64Array, _contributors: readonly string[]) {
    const { training } = this.#policy;
    const { weights: before, average, optimizer, moments, critic } = this.decode(bytes);
    const gradient = Float64Array.from(sum);
    if (moments.length > 0 && training.momentWeight > 0) {
      const fakes = training.momentBatch ?? this.#warmStart().fitBatch;
      const term = await this.#momentGradient(before, moments, `${plan.publicSeed} moment term`, fakes);
      for (let i = 0; i < gradient.length; i++) gradient[i] += training.momentWeight * term.gradient[i];
    }
    const { beta1, beta2, emaDecay } = training;
    const learningRate = training.lrG * rateFactor(this.#policy, plan.round);
    const { weights, state } = adam({ learningRate, beta1, beta2 }).update(before, gradient, optimizer);
    return this.encode({
      weights,
      average: movingAverage(average, weights, Math.min(emaDecay, (state.step + 1) / (state.step + 10))),
      optimizer: state,
      moments,
      critic,
    });
  }

  encode({ weights, average, optimizer, moments, critic }: GeneratorState): Uint8Array {
    const parts = [encodeState(optimizer.step, [weights, average, ...optimizer.slots])];
    for (const { critic: own, targets } of moments) {
      if (own) parts.push(encodeState(0, [own]));
      parts.push(encodeState(0, [Float32Array.of(...targets.classWeights, ...targets.means)]));
    }
    if (critic) parts.push(encodeState(0, [critic]));
    return new Uint8Array(Buffer.concat(parts));
  }

  /** @throws {FedError} STORE_CORRUPT */
  decode(bytes: Uint8Array): GeneratorState {
    let at = 0;
    const next = (vectors: number, length: number) => {
      const size = stateBytes(vectors, length);
      const state = decodeState(bytes.subarray(at, at + size), vectors, length);
      at += size;
      return state;
    };
    const { steps, vectors } = next(4, this.gan.generator.layout.length);
    const [weights, average, ...slots] = vectors;
    const { classes } = this.gan.config;
    const moments: MomentRelease[] = [];
    let critic: Float32Array | null = null;
    while (at < bytes.length) {
      const round = moments.length;
      if (round >= momentRoundsOf(this.#policy))
        throw new FedError('STORE_CORRUPT', 'more moments in the state than the run has moment rounds');
      if (round > 0) critic = next(1, this.#criticLayout().length).vectors[0];
      if (at === bytes.length) break;
      const values = next(1, classes * (this.#featureLength(round) + 1)).vectors[0];
      moments.push({ critic, targets: { classWeights: values.slice(0, classes), means: values.slice(classes) } });
      critic = null;
    }
    return { weights, average, optimizer: { step: steps, slots }, moments, critic };
  }

  #warmStart(): Extract<CheckedPolicy['warmStart'], { kind: 'moments' }> {
    const { warmStart } = this.#policy;
    if (warmStart.kind !== 'moments') throw new FedError('PARAMETER_INVALID', 'the policy has no moment round');
    return warmStart;
  }

  #featureLength(round: number): number {
    const { features, critic } = this.#warmStart();
    return round > 0 && critic ? criticLength(critic) : featureSet(features, this.#shape).length;
  }

  #criticLayout(): Layout {
    const { critic } = this.#warmStart();
    if (!critic) throw new FedError('PARAMETER_INVALID', 'the policy has no critic');
    return criticLayout(critic, this.#shape, this.gan.config.classes);
  }

  #trainCritic(generator: Float32Array, plan: RoundPlan): Promise<Float32Array> {
    const { critic } = this.#warmStart();
    if (!critic) throw new FedError('PARAMETER_INVALID', 'the policy has no critic');
    const distribution = labelDistribution(this.#policy);
    const training = { engine: this.#engine, gan: this.gan, ...critic, distribution, seed: plan.publicSeed };
    return trainCritic(training, generator);
  }

  /** A released sum with the features it was measured in. */
  #term({ critic: parameters, targets }: MomentRelease, round: number): MomentTerm {
    const { features, critic } = this.#warmStart();
    if (parameters === null || !critic) return { features: featureSet(features, this.#shape), targets };
    const { classes } = this.gan.config;
    return { features: criticFeatures(critic, this.#shape, classes, criticSeed(critic, round), parameters), targets };
  }

  #terms(moments: readonly MomentRelease[]): MomentTerm[] {
    return moments.map((release, round) => this.#term(release, round));
  }

  /** @param wanted - fakes; rounded so that the batch holds every class equally often, and twice at least. [batch] */
  #fakeLabels(wanted: number): Int32Array {
    const { classes } = this.gan.config;
    return Int32Array.from({ length: classes * Math.max(2, Math.round(wanted / classes)) }, (_, i) => i % classes);
  }

  #latents(seed: string, batch: number): Float32Array {
    return new PublicRandom(`latents ${seed}`).gaussians(batch * this.gan.config.latent);
  }

  async #momentGradient(weights: Float32Array, moments: readonly MomentRelease[], seed: string, wanted: number) {
    const labels = this.#fakeLabels(wanted);
    const compiled = await this.#objectiveOf(moments, labels.length);
    return compiled.gradient(weights, this.#latents(seed, labels.length), labels);
  }

  /** Compiled for these moments and this batch; the one before it goes. */
  async #objectiveOf(moments: readonly MomentRelease[], batch: number): Promise<MomentObjective> {
    const old = this.#objective;
    if (old && old.compiled.batch === batch && sameMoments(old.moments, moments)) return old.compiled;
    this.#objective = null;
    await old?.compiled.dispose();
    const terms = this.#terms(moments);
    const compiled = await MomentObjective.create({ engine: this.#engine, gan: this.gan, terms, batch });
    this.#objective = { moments, compiled };
    return compiled;
  }

  async dispose(): Promise<void> {
    await this.#objective?.compiled.dispose();
    this.#objective = null;
  }
}

/** Steps of all fits up to and with the one to `released` moments. */
function fitStepsOf({ fitSteps, critic }: DeepReadonly<Moments>, released: number): number {
  if (released === 0 || !critic) return released === 0 ? 0 : fitSteps;
  const last = released > critic.rounds;
  return (
    fitSteps + (released - 1 - (last ? 1 : 0)) * critic.fitSteps + (last ? (critic.lastFitSteps ?? critic.fitSteps) : 0)
  );
}

/** Share of the fit's learning rate at a share of all its steps. */
function fitRate(share: number): number {
  if (share < FULL_RATE_SHARE) return 1;
  return 0.01 + 0.495 * (1 + Math.cos((Math.PI * (share - FULL_RATE_SHARE)) / (1 - FULL_RATE_SHARE)));
}

const sameValues = (a: Float32Array, b: Float32Array): boolean =>
  a.length === b.length && a.every((v, i) => v === b[i]);
const sameMoments = (a: readonly MomentRelease[], b: readonly MomentRelease[]): boolean =>
  a === b || (a.length === b.length && a.every((release, i) => sameRelease(release, b[i])));
const sameRelease = (a: MomentRelease, b: MomentRelease): boolean =>
  a === b || (sameTargets(a.targets, b.targets) && (a.critic === b.critic || sameCritic(a.critic, b.critic)));
const sameCritic = (a: Float32Array | null, b: Float32Array | null): boolean =>
  a !== null && b !== null && sameValues(a, b);
const sameTargets = (a: MomentTargets, b: MomentTargets): boolean =>
  sameValues(a.classWeights, b.classWeights) && sameValues(a.means, b.means);

/**
 * Steps 3 and 7 of 9 under `pooled`: the one discriminator of all sites, stepped on opened sums, and the generator
 * stepped against it. All of it is post-processing: what the sums hold was noised at the sites, and fakes are public.
 */
import type { Engine } from '../shared/engine/program.ts';
import { FedError } from '../shared/errors.ts';
import { type ClassWeights, classWeights, drawFakeInputs } from '../shared/gan/batch.ts';
import { GeneratorGradient } from '../shared/gan/generator-gradient.ts';
import { initialise } from '../shared/gan/layout.ts';
import {
  type DiscriminatorState,
  judgeOf,
  pooledFromBytes,
  pooledToBytes,
  startDiscriminator,
} from '../shared/gan/noised-discriminator.ts';
import { FakesPart, type FakesSum } from '../shared/gan/pooled-discriminator.ts';
import { Sampler } from '../shared/gan/sampler.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { planLatticeOf, pooledOf, requireCoordinates } from '../shared/policy/pooled.ts';
import { samplingOf } from '../shared/policy/sampling.ts';
import { pooledTrainingOf, rateFactor } from '../shared/policy/training.ts';
import { labelDistribution } from '../shared/policy/views.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';
import type { FakesStep, PooledTrainer } from './core/pooled-trainer.ts';
import { GanGeneratorTrainer } from './gan-generator-trainer.ts';

/** Compiled when the first discriminator round comes. */
interface Programs {
  readonly fakes: FakesPart;
  readonly sampler: Sampler;
  readonly generator: GeneratorGradient;
}

export class GanPooledTrainer extends GanGeneratorTrainer implements PooledTrainer {
  readonly #policy: CheckedPolicy;
  readonly #engine: Engine;
  #programs: Promise<Programs> | null = null;
  /** What states hold, by the bytes at hand: each is asked for some times in a step. */
  readonly #discriminators = new WeakMap<Uint8Array, DiscriminatorState>();
  readonly #generators = new WeakMap<Uint8Array, Float32Array>();

  /** @throws {FedError} POLICY_INVALID when a vector is longer than the policy's `pooled.coordinates`. */
  constructor(engine: Engine, policy: CheckedPolicy) {
    super(engine, policy);
    this.#engine = engine;
    this.#policy = policy;
    requireCoordinates(policy, this.gan.discriminator.layout.length);
  }

  override updateLength(plan: RoundPlan): number {
    return plan.kind === 'discriminator' ? this.gan.discriminator.layout.length : super.updateLength(plan);
  }

  /** @param sum - in lattice steps. */
  override fitMoments(bytes: Uint8Array, plan: RoundPlan, sum: Float64Array, progress: (share: number) => void) {
    requireCoordinates(this.#policy, sum.length);
    const { stepsPerClip, norm } = planLatticeOf(this.#policy, plan);
    const unit = norm / stepsPerClip;
    return super.fitMoments(
      bytes,
      plan,
      sum.map((x) => x * unit),
      progress,
    );
  }

  /** Of all shares together, in the unit of the moments. */
  protected override momentNoise(plan: RoundPlan): number {
    const { share, stepsPerClip, norm } = planLatticeOf(this.#policy, plan);
    return (Math.sqrt(share * plan.invited.length) * norm) / stepsPerClip;
  }

  async initialDiscriminator(): Promise<Uint8Array> {
    const { id, version } = this.#policy;
    const first = initialise(this.gan.discriminator.layout, `pooled discriminator ${id} ${version}`);
    return pooledToBytes(startDiscriminator(first));
  }

  discriminatorWeights(discriminator: Uint8Array): Float32Array {
    return this.#discriminator(discriminator).parameters;
  }

  async fakesStep(discriminator: Uint8Array, generator: Uint8Array, plan: RoundPlan): Promise<FakesStep> {
    const { fakes: part, sampler } = await this.#compiled();
    const { parameters, step } = this.#discriminator(discriminator);
    const { fakesPerStep } = this.#policy.training;
    const { distribution } = this.#classes(plan);
    const inputs = drawFakeInputs(
      fakesPerStep,
      this.gan.config.latent,
      distribution,
      `${plan.publicSeed} step ${step}`,
    );
    const images = await sampler.images(this.#generator(generator), inputs);
    const made = await part.sum(parameters, { images, labels: inputs.labels });
    const { fakeLoss, fakeAccuracy } = made;
    return { of: discriminator, part: made, fakes: { fakeLoss, fakeAccuracy } };
  }

  async stepDiscriminator(
    discriminator: Uint8Array,
    plan: RoundPlan,
    sum: Float64Array,
    contributors: readonly string[],
    { of, part }: FakesStep,
  ): Promise<Uint8Array> {
    if (of !== discriminator) throw new FedError('PARAMETER_INVALID', 'fakes of another discriminator');
    const { fakes } = await this.#compiled();
    const expected = (sites: readonly string[]): number =>
      sites.reduce((total, site) => total + samplingOf(this.#policy, site).expectedBatch, 0);
    const after = fakes.step(
      this.#discriminator(discriminator),
      { sum, over: expected(contributors) },
      { sum: (part as FakesSum).sum, over: expected(plan.invited) },
      rateFactor(this.#policy, plan.round),
    );
    const bytes = pooledToBytes(after);
    this.#discriminators.set(bytes, after);
    return bytes;
  }

  async stepGenerator(generator: Uint8Array, discriminator: Uint8Array, plan: RoundPlan) {
    const { generator: gradient } = await this.#compiled();
    const judge = judgeOf(this.#discriminator(discriminator));
    const { generatorClipNorm } = this.#policy.privacy;
    const classes = this.#classes(plan);
    let state = generator;
    let [fakeLoss, fakeAccuracy] = [0, 0];
    const { generatorSteps } = pooledOf(this.#policy);
    for (let step = 0; step < generatorSteps; step++) {
      // Each step's fakes, those of the moment term among them, have a name of their own.
      const named = { ...plan, publicSeed: `${plan.publicSeed} ${step}` };
      const seed = `${named.publicSeed} generator`;
      const made = await gradient.update(this.weights(state), judge, classes, seed, generatorClipNorm);
      state = await this.applyGradients(state, named, Float64Array.from(made.update), plan.invited);
      fakeLoss += made.fakeLoss / generatorSteps;
      fakeAccuracy += made.fakeAccuracy / generatorSteps;
    }
    return { state, fakes: { fakeLoss, fakeAccuracy } };
  }

  override async dispose(): Promise<void> {
    await super.dispose();
    const programs = await this.#programs?.catch(() => null);
    this.#programs = null;
    if (programs)
      await Promise.all([programs.fakes.dispose(), programs.sampler.dispose(), programs.generator.dispose()]);
  }

  #discriminator(bytes: Uint8Array): DiscriminatorState {
    const known = this.#discriminators.get(bytes);
    if (known !== undefined) return known;
    const state = pooledFromBytes(bytes, this.gan.discriminator.layout.length);
    this.#discriminators.set(bytes, state);
    return state;
  }

  #generator(bytes: Uint8Array): Float32Array {
    const known = this.#generators.get(bytes);
    if (known !== undefined) return known;
    const weights = this.weights(bytes);
    this.#generators.set(bytes, weights);
    return weights;
  }

  /** Every class that somebody declares, by the policy's distribution. */
  #classes({ declarers }: RoundPlan): ClassWeights {
    const declared = declarers.flatMap((n, k) => (n > 0 ? [k] : []));
    return classWeights(
      labelDistribution(this.#policy),
      declared,
      declarers.map((n) => Math.min(1, n)),
    );
  }

  #compiled(): Promise<Programs> {
    return (this.#programs ??= this.#compile());
  }

  async #compile(): Promise<Programs> {
    const { fakesPerStep, generatorBatch } = this.#policy.training;
    const training = pooledTrainingOf(this.#policy);
    return {
      fakes: await FakesPart.open(this.#engine, this.gan, fakesPerStep, training),
      sampler: await Sampler.open(this.#engine, this.gan, fakesPerStep, 'batch'),
      generator: await GeneratorGradient.open(this.#engine, this.gan, generatorBatch, generatorBatch),
    };
  }
}

/** The trainer a policy asks for. */
export const openTrainer = (engine: Engine, policy: CheckedPolicy): GanGeneratorTrainer =>
  policy.placement === 'pooled' ? new GanPooledTrainer(engine, policy) : new GanGeneratorTrainer(engine, policy);

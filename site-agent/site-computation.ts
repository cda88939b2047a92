/**
 * Steps 1 to 4 of the data's path on this site's images: what `round.ts` calls, with everything private in one place.
 *
 * What leaves this class is a noised state, a generator gradient made from it, or a noised moment sum. Counts, labels
 * and images stay inside. Not audited.
 */
import { samplePatients } from '../shared/dp/poisson.ts';
import { gaussianEvent, notPrivateEvent, poissonGaussianEvent, type PrivacyEvent } from '../shared/dp/event.ts';
import { latticeGaussian } from '../shared/dp/gaussian.ts';
import { type ClippedSum, dangerouslyTrustAsClippedSum, privatize } from '../shared/dp/noised.ts';
import { layPatients, type PatientBatch } from '../shared/dp/patient-batch.ts';
import type { FakeBatch } from '../shared/dp/patient-gradient.ts';
import type { Engine } from '../shared/engine/program.ts';
import { FedError } from '../shared/errors.ts';
import { type ClassWeights, classWeights, drawFakeInputs } from '../shared/gan/batch.ts';
import { DiscriminatorTrainer } from '../shared/gan/discriminator-trainer.ts';
import { GeneratorGradient } from '../shared/gan/generator-gradient.ts';
import { initialise } from '../shared/gan/layout.ts';
import {
  discriminatorFromBytes,
  discriminatorToBytes,
  judgeOf,
  startDiscriminator,
} from '../shared/gan/noised-discriminator.ts';
import { type Gan, openGan } from '../shared/gan/registry.ts';
import { Sampler } from '../shared/gan/sampler.ts';
import { imageAt } from '../shared/imaging/images.ts';
import { checkCritic, criticFeatures, criticLayout, criticLength, criticSeed } from '../shared/moments/critic.ts';
import { momentImages, MomentSummer } from '../shared/moments/embedding.ts';
import { featureSet } from '../shared/moments/features.ts';
import { samplingOf, type SiteSampling } from '../shared/policy/cost.ts';
import type { DeepReadonly } from '../shared/policy/freeze.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import type { Policy } from '../shared/policy/schema.ts';
import { discriminatorTrainingOf, rateFactor } from '../shared/policy/training.ts';
import { declaredClasses, ganConfigOf, labelDistribution } from '../shared/policy/views.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';
import type { RandomBytes } from '../shared/random.ts';
import type { GateComputation, SiteComputation } from './core/computation.ts';
import { splitHoldOut } from './core/hold-out.ts';
import { SiteGate } from './gate-computation.ts';
import type { PrivateImages } from './imaging/private-images.ts';

export interface Parts {
  readonly engine: Engine;
  readonly policy: CheckedPolicy;
  readonly siteId: string;
  readonly images: PrivateImages;
  /** `secureBytes`, but for tests. */
  readonly random: RandomBytes;
  /** Decides who is held out, where the policy has a release gate: the same in every process of a run. */
  readonly holdOutKey?: Uint8Array;
}

/**
 * What training may see, and the gate's part: the one place where patients are held out. Every computation of a site
 * opens itself with this, so that no road to a gradient or a moment leads around it.
 */
export function forTraining<P extends Parts>(p: P): { parts: P; gate: GateComputation | undefined } {
  const { policy } = p;
  const { gate } = policy.release;
  if (gate === null) return { parts: p, gate: undefined };
  const split = splitHoldOut(p.images, gate.holdOut, p.holdOutKey);
  return { parts: { ...p, images: split.training }, gate: new SiteGate({ ...p, gate, split }) };
}

export class DpSiteComputation implements SiteComputation {
  readonly #p: Parts;
  readonly #gan: Gan;
  readonly #sampling: SiteSampling;
  readonly #trainer: DiscriminatorTrainer;
  readonly #generatorGradient: GeneratorGradient;
  readonly #sampler: Sampler;
  readonly gate: GateComputation | undefined;

  private constructor(
    { parts: p, gate }: ReturnType<typeof forTraining>,
    gan: Gan,
    trainer: DiscriminatorTrainer,
    gradient: GeneratorGradient,
    sampler: Sampler,
  ) {
    this.#p = p;
    this.gate = gate;
    this.#gan = gan;
    this.#sampling = samplingOf(p.policy, p.siteId);
    this.#trainer = trainer;
    this.#generatorGradient = gradient;
    this.#sampler = sampler;
  }

  /**
   * Compiles the site's programs.
   * @throws {FedError} DATASET_INVALID when the images do not fit the policy: shape, classes, or more patients than it
   *   declares for this site (its delta would not hold); LAYER_WITHOUT_NORM_RULE.
   */
  static async open(p: Parts): Promise<DpSiteComputation> {
    checkDataset(p);
    const { policy, engine } = p;
    const gan = openGan(ganConfigOf(policy));
    const { generatorBatch, fakesPerStep } = policy.training;
    const trainer = await DiscriminatorTrainer.open(engine, gan, discriminatorTrainingOf(policy, p.siteId));
    const gradient = await GeneratorGradient.open(engine, gan, generatorBatch, generatorBatch);
    const sampler = await Sampler.open(engine, gan, fakesPerStep, 'batch');
    return new DpSiteComputation(forTraining(p), gan, trainer, gradient, sampler);
  }

  /** Public first values: the same discriminator at every site, so that the first fakes are judged alike. */
  async initialState(plan: RoundPlan): Promise<Uint8Array> {
    const seed = `discriminator ${plan.policySha256}`;
    return discriminatorToBytes(startDiscriminator(initialise(this.#gan.discriminator.layout, seed)));
  }

  checkGenerator(generator: Float32Array): void {
    const { length } = this.#gan.generator.layout;
    if (generator.length !== length)
      throw new FedError('PARAMETER_INVALID', `a generator of ${generator.length} parameters, not ${length}`);
    if (!generator.every((x) => Number.isFinite(x)))
      throw new FedError('PARAMETER_INVALID', 'a generator with a parameter that is not finite');
  }

  discriminatorEvent(): PrivacyEvent {
    const { privacy } = this.#p.policy;
    if (privacy.mechanism === 'none-insecure') return notPrivateEvent(1);
    return poissonGaussianEvent(this.#sampling.sampleRate, privacy.noiseMultiplier, 1);
  }

  async discriminatorStep(bytes: Uint8Array, plan: RoundPlan, generator: Float32Array) {
    const { images, random } = this.#p;
    const state = discriminatorFromBytes(bytes, this.#gan.discriminator.layout.length);
    const drawn = samplePatients(images.patientGroups.length, this.#sampling, random);
    const batch = layDrawn(this.#p, this.#gan, this.#sampling, drawn);
    const fakes = await this.#fakes(plan, generator, `step ${state.step}`);
    const gaussian = latticeGaussian(random);
    const slower = rateFactor(this.#p.policy, plan.round);
    const next = await this.#trainer.step(state, batch, fakes, gaussian, slower);
    return {
      state: discriminatorToBytes(next.state),
      fakes: { fakeLoss: next.fakeLoss, fakeAccuracy: next.fakeAccuracy },
    };
  }

  async generatorGradient(bytes: Uint8Array, plan: RoundPlan, generator: Float32Array) {
    const state = discriminatorFromBytes(bytes, this.#gan.discriminator.layout.length);
    const seed = `${plan.publicSeed} ${this.#p.siteId} generator`;
    const { generatorClipNorm } = this.#p.policy.privacy;
    const { update, fakeLoss, fakeAccuracy } = await this.#generatorGradient.update(
      generator,
      judgeOf(state),
      this.#classes(plan),
      seed,
      generatorClipNorm,
    );
    return { update, fakes: { fakeLoss, fakeAccuracy } };
  }

  checkCritic(critic: Float32Array): void {
    checkCriticOf(this.#p, critic);
  }

  momentEvent(): PrivacyEvent {
    const { policy } = this.#p;
    if (policy.privacy.mechanism === 'none-insecure') return notPrivateEvent(1);
    if (policy.warmStart.kind !== 'moments') throw new FedError('PARAMETER_INVALID', 'the policy has no moment round');
    return gaussianEvent(policy.warmStart.noiseMultiplier, 1);
  }

  async noisedMoments(plan: RoundPlan, critic: Float32Array | null): Promise<Float32Array> {
    const { policy, random } = this.#p;
    const noiseMultiplier = policy.warmStart.kind === 'moments' ? policy.warmStart.noiseMultiplier : 0;
    const sum = await momentSum(this.#p, plan, critic);
    return Float32Array.from(privatize(sum, { clipNorm: 1, noiseMultiplier }, latticeGaussian(random)).values);
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#trainer.dispose(), this.#generatorGradient.dispose(), this.#sampler.dispose()]);
  }

  /** Which classes this site draws: those it declares, from the policy's distribution. Public. */
  #classes(plan: RoundPlan): ClassWeights {
    const { policy, siteId } = this.#p;
    return classWeights(labelDistribution(policy), declaredClasses(policy, siteId), plan.declarers);
  }

  async #fakes(plan: RoundPlan, generator: Float32Array, name: string): Promise<FakeBatch> {
    const { latent } = this.#gan.config;
    const { distribution } = this.#classes(plan);
    const seed = `${plan.publicSeed} ${this.#p.siteId} ${name}`;
    const inputs = drawFakeInputs(this.#p.policy.training.fakesPerStep, latent, distribution, seed);
    return { images: await this.#sampler.images(generator, inputs), labels: inputs.labels };
  }
}

/** Findings about the site's own folder, told to its own operator before it takes part in anything. */
export function checkDataset({ policy, siteId, images }: Parts): void {
  const { model } = policy;
  if (images.channels !== model.channels || images.size !== model.imageSize)
    throw new FedError('DATASET_INVALID', `images are not ${model.channels} x ${model.imageSize} x ${model.imageSize}`);
  if (images.classNames.join('\n') !== model.classes.join('\n'))
    throw new FedError(
      'DATASET_INVALID',
      `classes are ${images.classNames.join(', ')}, not ${model.classes.join(', ')}`,
    );
  const declared = new Set(declaredClasses(policy, siteId));
  const stray = images.labels.find((label) => !declared.has(label));
  if (stray !== undefined)
    throw new FedError(
      'DATASET_INVALID',
      `holds class "${model.classes[stray]}", which the policy does not list for ${siteId}`,
    );
  const { patientsAtMost } = samplingOf(policy, siteId);
  if (images.patientGroups.length > patientsAtMost)
    throw new FedError('DATASET_INVALID', `more patients than the policy's ${patientsAtMost} for ${siteId}`);
}

/** The patients that were drawn, in the fixed places of a step. Private. */
export function layDrawn(
  { images, policy }: Parts,
  gan: Gan,
  { maxBatch }: SiteSampling,
  drawn: Int32Array,
): PatientBatch {
  const { imagesPerPatient } = policy.privacy;
  const patients = Array.from(drawn, (i) => {
    const rows = images.patientGroups[i].images.slice(0, imagesPerPatient);
    return { images: rows.map((row) => imageAt(images, row)), labels: rows.map((row) => images.labels[row]) };
  });
  return layPatients(gan.config, maxBatch, imagesPerPatient, patients);
}

/** @throws {FedError} PARAMETER_INVALID when the critic is not one of this policy. */
export function checkCriticOf({ policy, images }: Parts, critic: Float32Array): void {
  const config = policy.warmStart.kind === 'moments' ? policy.warmStart.critic : undefined;
  if (!config) throw new FedError('PARAMETER_INVALID', 'the policy has no critic');
  checkCritic(critic, criticLayout(config, images, policy.model.classes.length));
}

/** How long the vectors of the moment rounds are; empty without any. */
export function momentLengths({ warmStart, model }: Pick<DeepReadonly<Policy>, 'warmStart' | 'model'>): number[] {
  if (warmStart.kind !== 'moments') return [];
  const shape = { channels: model.channels, size: model.imageSize };
  const features = [
    featureSet(warmStart.features, shape).length,
    ...(warmStart.critic ? [criticLength(warmStart.critic)] : []),
  ];
  return features.map((length) => model.classes.length * (length + 1));
}

/** A moment round's sum over this site's patients, each of whom adds a vector of norm at most 1: PRIVATE. */
export async function momentSum(
  { policy, engine, images }: Parts,
  plan: RoundPlan,
  critic: Float32Array | null,
): Promise<ClippedSum> {
  const { warmStart, privacy } = policy;
  if (warmStart.kind !== 'moments') throw new FedError('PARAMETER_INVALID', 'the policy has no moment round');
  const shape = { channels: images.channels, size: images.size };
  const classes = policy.model.classes.length;
  const features =
    critic === null || !warmStart.critic
      ? featureSet(warmStart.features, shape)
      : criticFeatures(warmStart.critic, shape, classes, criticSeed(warmStart.critic, plan.round), critic);
  const summer = await MomentSummer.create(engine, features, shape, classes);
  try {
    const chosen = momentImages(
      images.patientGroups.map((patient) => patient.images),
      images.labels,
      privacy.imagesPerPatient,
    );
    return dangerouslyTrustAsClippedSum(await summer.sum(images.pixels, chosen), 1);
  } finally {
    await summer.dispose();
  }
}

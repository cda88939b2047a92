/**
 * A site made for attacks: the real computation of a real site, on images of noise that stand for patients, each in or
 * out by a coin. What is audited is the code that runs at hospitals, from the draw of patients to the bytes that leave.
 */
import { makePlan } from '../../coordinator/core/make-plan.ts';
import { EMPTY_LOG } from '../../shared/audit/log.ts';
import { layPatients } from '../../shared/dp/patient-batch.ts';
import { type FakeBatch, PatientGradients } from '../../shared/dp/patient-gradient.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { classWeights, drawFakeInputs } from '../../shared/gan/batch.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { discriminatorFromBytes, type DiscriminatorState } from '../../shared/gan/noised-discriminator.ts';
import { type Gan, openGan } from '../../shared/gan/registry.ts';
import { Sampler } from '../../shared/gan/sampler.ts';
import { imageAt, type LabelledImages } from '../../shared/imaging/images.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { discriminatorTrainingOf } from '../../shared/policy/training.ts';
import { declaredClasses, ganConfigOf, labelDistribution, roundTermsOf } from '../../shared/policy/views.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { firstGeneratorRound } from '../../shared/protocol/terms.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { asPrivateImages, type LeftOut, withoutPatients } from '../../site-agent/imaging/private-images.ts';
import { DpSiteComputation } from '../../site-agent/site-computation.ts';

/** The site's name in plans; a policy under audit names no sites. */
export const AUDITED = 'audited-site';

/** Who is in the data: what the attacker has to guess. */
export class Coins implements LeftOut {
  version = 0;
  #included = new Set<string>();
  readonly #random: RandomBytes;
  constructor(random: RandomBytes) {
    this.#random = random;
  }

  /** Tosses a fair coin for each. @returns [patients]: 1 in, 0 out. */
  toss(patients: readonly string[]): Uint8Array {
    const bytes = new Uint8Array(patients.length);
    this.#random(bytes);
    return this.put(
      patients,
      bytes.map((b) => b & 1),
    );
  }
  /** Puts exactly these in. */
  put(patients: readonly string[], bits: Uint8Array): Uint8Array {
    this.#included = new Set(patients.filter((_, i) => bits[i] === 1));
    this.version += 1;
    return bits;
  }
  has(patient: string): boolean {
    return !this.#included.has(patient);
  }
}

/** Images that nobody has: uniform noise from -1 to 1, so that no two are alike and none is a phantom's. */
export function noiseImages(policy: CheckedPolicy, n: number, random: RandomBytes): LabelledImages {
  const { channels, imageSize: size, classes } = policy.model;
  const bytes = new Uint8Array(n * channels * size * size);
  random(bytes);
  return {
    n,
    channels,
    size,
    pixels: Float32Array.from(bytes, (b) => b / 127.5 - 1),
    labels: Int32Array.from({ length: n }, (_, i) => i % classes.length),
    classNames: [...classes],
    patients: Array.from({ length: n }, (_, i) => `canary-${i}`),
  };
}

export class AuditedSite implements AsyncDisposable {
  readonly policy: CheckedPolicy;
  readonly gan: Gan;
  readonly coins: Coins;
  readonly plan: RoundPlan;
  readonly computation: DpSiteComputation;
  /** The images of all who may be in. */
  readonly candidates: LabelledImages;
  /** Public: the same for everybody. [generator parameters] */
  readonly generator: Float32Array;
  readonly #single: PatientGradients;
  readonly #step: PatientGradients;
  readonly #sampler: Sampler;

  private constructor(o: {
    policy: CheckedPolicy;
    gan: Gan;
    coins: Coins;
    plan: RoundPlan;
    computation: DpSiteComputation;
    candidates: LabelledImages;
    single: PatientGradients;
    step: PatientGradients;
    sampler: Sampler;
  }) {
    this.policy = o.policy;
    this.gan = o.gan;
    this.coins = o.coins;
    this.plan = o.plan;
    this.computation = o.computation;
    this.candidates = o.candidates;
    this.generator = initialise(o.gan.generator.layout, 'audit');
    this.#single = o.single;
    this.#step = o.step;
    this.#sampler = o.sampler;
  }

  static async open(o: {
    engine: Engine;
    policy: CheckedPolicy;
    candidates: LabelledImages;
    random: RandomBytes;
  }): Promise<AuditedSite> {
    const { engine, policy, candidates, random } = o;
    const gan = openGan(ganConfigOf(policy));
    const coins = new Coins(random);
    const images = withoutPatients(asPrivateImages(candidates, true), coins);
    const computation = await DpSiteComputation.open({ engine, policy, siteId: AUDITED, images, random });
    const { imagesPerPatient } = policy.privacy;
    const training = discriminatorTrainingOf(policy, AUDITED);
    const open = (fakes: number) =>
      PatientGradients.open(engine, gan, { places: 1, imagesPerPatient, fakes }, training.rule);
    // Candidates one by one beside a single fake, which is taken off again: the fakes of a step need to be summed once.
    const [single, step] = [await open(1), await open(policy.training.fakesPerStep)];
    const sampler = await Sampler.open(engine, gan, policy.training.fakesPerStep, 'batch');
    return new AuditedSite({ ...o, gan, coins, plan: planOf(policy, random), computation, single, step, sampler });
  }

  /** The discriminator that everybody begins with. */
  async start(): Promise<DiscriminatorState> {
    return this.state(await this.computation.initialState(this.plan));
  }

  state(bytes: Uint8Array): DiscriminatorState {
    return discriminatorFromBytes(bytes, this.gan.discriminator.layout.length);
  }

  /**
   * What each candidate, and what the fakes, would add to the sum of the next step after `state`: all public but for who
   * is in. The fakes are drawn as the site draws them.
   */
  async parts(state: DiscriminatorState): Promise<{ candidates: Float64Array[]; fakes: Float64Array }> {
    const { policy, plan } = this;
    const { distribution } = classWeights(labelDistribution(policy), declaredClasses(policy, AUDITED), plan.declarers);
    const seed = `${plan.publicSeed} ${AUDITED} step ${state.step}`;
    const inputs = drawFakeInputs(policy.training.fakesPerStep, this.gan.config.latent, distribution, seed);
    const fakes = { images: await this.#sampler.images(this.generator, inputs), labels: inputs.labels };
    const one = {
      images: fakes.images.slice(0, fakes.images.length / fakes.labels.length),
      labels: fakes.labels.slice(0, 1),
    };
    const sumOf = async (by: PatientGradients, row: number | null, beside: FakeBatch): Promise<Float64Array> => {
      const images = this.candidates;
      const patients = row === null ? [] : [{ images: [imageAt(images, row)], labels: [images.labels[row]] }];
      const batch = layPatients(this.gan.config, 1, policy.privacy.imagesPerPatient, patients);
      const { sum } = await by.sum(state.parameters, batch, beside, policy.privacy.clipNorm);
      return sum.values;
    };
    const without = await sumOf(this.#single, null, one);
    const candidates: Float64Array[] = [];
    for (let row = 0; row < this.candidates.n; row++)
      candidates.push((await sumOf(this.#single, row, one)).map((value, j) => value - without[j]));
    return { candidates, fakes: await sumOf(this.#step, null, fakes) };
  }

  /** The noised sum of a step, from the discriminator before and after it: Adam's mean gives it away. */
  noisedSum(before: DiscriminatorState, after: DiscriminatorState): Float64Array {
    const { beta1 } = this.policy.training;
    const { expectedBatch } = this.policy.privacy;
    return Float64Array.from(
      after.slots[0],
      (mean, j) => (expectedBatch * (mean - beta1 * before.slots[0][j])) / (1 - beta1),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([
      this.computation.dispose(),
      this.#single.dispose(),
      this.#step.dispose(),
      this.#sampler.dispose(),
    ]);
  }
}

/** The plan of the first round in which a discriminator trains, as a coordinator makes it. */
function planOf(policy: CheckedPolicy, random: RandomBytes): RoundPlan {
  const terms = roundTermsOf(policy);
  return makePlan({
    terms,
    runId: uuidOf(random),
    round: firstGeneratorRound(terms),
    invited: [AUDITED],
    generatorSha256: '0'.repeat(64),
    checkpoint: EMPTY_LOG,
    witnessed: null,
    roster: { version: 0, sha256: '0'.repeat(64) },
    before: null,
  });
}

/** Names the run, and by it all that is public in it: a seeded attack is the same attack again. */
function uuidOf(random: RandomBytes): string {
  const bytes = new Uint8Array(16);
  random(bytes);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Buffer.from(bytes).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/**
 * Steps 1 to 3 of the data's path under `pooled`: a site's sum of clipped gradients at the discriminator of all sites,
 * on the lattice, with its share of the noise. What leaves this class is a share: private until it is in a sum of enough
 * sites, which is the scheme's to see to. Not audited.
 */
import { samplePatients } from '../shared/dp/poisson.ts';
import type { PrivacyEvent } from '../shared/dp/event.ts';
import { drawShareNoise, noiseShare } from '../shared/dp/pooled-share.ts';
import { FedError } from '../shared/errors.ts';
import { MAX_PARAMETER } from '../shared/gan/noised-discriminator.ts';
import { PatientsPart } from '../shared/gan/pooled-discriminator.ts';
import { type Gan, openGan } from '../shared/gan/registry.ts';
import { planLatticeOf, pooledEventOf, requireCoordinates } from '../shared/policy/pooled.ts';
import { samplingOf, type SiteSampling } from '../shared/policy/sampling.ts';
import { pooledTrainingOf } from '../shared/policy/training.ts';
import { ganConfigOf } from '../shared/policy/views.ts';
import type { RoundPlan } from '../shared/protocol/plan.ts';
import type { GateComputation, PooledSteps, SiteComputation } from './core/computation.ts';
import {
  checkCriticOf,
  checkDataset,
  forTraining,
  layDrawn,
  momentLengths,
  momentSum,
  type Parts,
} from './site-computation.ts';

export class PooledSiteComputation implements SiteComputation, PooledSteps {
  readonly #p: Parts;
  readonly #gan: Gan;
  readonly #sampling: SiteSampling;
  readonly #patients: PatientsPart;
  readonly pooled = this;
  readonly gate: GateComputation | undefined;

  private constructor({ parts: p, gate }: ReturnType<typeof forTraining>, gan: Gan, patients: PatientsPart) {
    this.#p = p;
    this.gate = gate;
    this.#gan = gan;
    this.#sampling = samplingOf(p.policy, p.siteId);
    this.#patients = patients;
  }

  /**
   * Compiles the site's program.
   * @throws {FedError} DATASET_INVALID as `DpSiteComputation`; POLICY_INVALID when a vector is longer than the policy
   *   says; LAYER_WITHOUT_NORM_RULE.
   */
  static async open(p: Parts): Promise<PooledSiteComputation> {
    checkDataset(p);
    const { policy, engine, siteId } = p;
    const gan = openGan(ganConfigOf(policy));
    for (const length of [gan.discriminator.layout.length, ...momentLengths(policy)])
      requireCoordinates(policy, length);
    const shape = { places: samplingOf(policy, siteId).maxBatch, imagesPerPatient: policy.privacy.imagesPerPatient };
    return new PooledSiteComputation(
      forTraining(p),
      gan,
      await PatientsPart.open(engine, gan, shape, pooledTrainingOf(policy)),
    );
  }

  checkDiscriminator(weights: Float32Array): void {
    const { length } = this.#gan.discriminator.layout;
    if (weights.length !== length)
      throw new FedError('PARAMETER_INVALID', `a discriminator of ${weights.length} parameters, not ${length}`);
    for (let i = 0; i < length; i++)
      // A comparison with NaN is false.
      if (!(Math.abs(weights[i]) <= MAX_PARAMETER))
        throw new FedError('PARAMETER_INVALID', `a discriminator parameter is beyond ${MAX_PARAMETER}`);
  }

  discriminatorEvent(): PrivacyEvent {
    return pooledEventOf(this.#p.policy, 'discriminator', this.#sampling.sampleRate);
  }

  async share(weights: Float32Array, plan: RoundPlan): Promise<Int32Array> {
    const { images, policy, random } = this.#p;
    const lattice = planLatticeOf(policy, plan);
    const drawn = samplePatients(images.patientGroups.length, this.#sampling, random);
    const batch = layDrawn(this.#p, this.#gan, this.#sampling, drawn);
    const computing = this.#patients.sum(weights, batch);
    computing.catch(() => undefined);
    // Drawn while the network computes: the noise does not depend on what comes of it.
    const noise = drawShareNoise(weights.length, lattice.share, random);
    return noiseShare(await computing, lattice, noise).values;
  }

  checkCritic(critic: Float32Array): void {
    checkCriticOf(this.#p, critic);
  }

  momentEvent(): PrivacyEvent {
    return pooledEventOf(this.#p.policy, 'moments', 1);
  }

  async noisedMoments(plan: RoundPlan, critic: Float32Array | null): Promise<Int32Array> {
    const lattice = planLatticeOf(this.#p.policy, plan);
    const sum = await momentSum(this.#p, plan, critic);
    return noiseShare(sum, lattice, drawShareNoise(sum.values.length, lattice.share, this.#p.random)).values;
  }

  /** A pooled run has no generator at the sites, and no discriminator of a site's own. */
  checkGenerator(): never {
    return notHere();
  }
  initialState(): Promise<never> {
    return notHere();
  }
  discriminatorStep(): Promise<never> {
    return notHere();
  }
  generatorGradient(): Promise<never> {
    return notHere();
  }

  dispose(): Promise<void> {
    return this.#patients.dispose();
  }
}

const notHere = (): never => {
  throw new FedError('POLICY_MISMATCH', 'a step of a site’s own discriminator, under a policy that pools it');
};

/** A pooled discriminator is the discriminator that one party with everybody's patients would train. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GanPooledTrainer } from '../../coordinator/gan-pooled-trainer.ts';
import { latticeGaussian } from '../../shared/dp/gaussian.ts';
import { layPatients, type PatientImages } from '../../shared/dp/patient-batch.ts';
import { samplePatients } from '../../shared/dp/poisson.ts';
import { drawShareNoise } from '../../shared/dp/pooled-share.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { drawFakeInputs } from '../../shared/gan/batch.ts';
import { DiscriminatorTrainer } from '../../shared/gan/discriminator-trainer.ts';
import { pooledFromBytes } from '../../shared/gan/noised-discriminator.ts';
import { Sampler } from '../../shared/gan/sampler.ts';
import { imageAt } from '../../shared/imaging/images.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { samplingOf } from '../../shared/policy/sampling.ts';
import { pooledTrainingOf } from '../../shared/policy/training.ts';
import { labelDistribution } from '../../shared/policy/views.ts';
import { publicBytes } from '../../shared/public-random.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { PooledSiteComputation } from '../../site-agent/pooled-computation.ts';
import { phantomSite, planFor } from '../support/glue-rig.ts';
import { pooledPolicy } from '../support/pooled-rig.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const IDS = ['site-1', 'site-2', 'site-3'];
const sites = new Map(IDS.map((site) => [site, phantomSite({ site, imagesPerPatient: 2, patients: 20 })]));
const STEPS = 3;

/** Runs both ways from the same seeds; hands back parameters after every step. */
async function both(policy: CheckedPolicy, withSite: readonly string[] = IDS) {
  const plan = { ...planFor(policy, 0, IDS), kind: 'discriminator' as const, discriminatorSteps: STEPS };
  const trainer = new GanPooledTrainer(engine, policy);
  const generator = await trainer.initialState();
  // The pooled way: every site's share, added up.
  const randoms = (): Map<string, RandomBytes> => new Map(IDS.map((id) => [id, publicBytes(`seed of ${id}`)]));
  const own = randoms();
  const computations = new Map(
    await Promise.all(
      IDS.map(
        async (siteId) =>
          [
            siteId,
            await PooledSiteComputation.open({
              engine,
              policy,
              siteId,
              images: sites.get(siteId)!,
              random: own.get(siteId)!,
            }),
          ] as const,
      ),
    ),
  );
  let discriminator = await trainer.initialDiscriminator();
  const d = trainer.gan.discriminator.layout.length;
  const pooled: Float32Array[] = [];
  for (let step = 0; step < STEPS; step++) {
    const sum = new Float64Array(d);
    for (const id of withSite)
      (await computations.get(id)!.share(trainer.discriminatorWeights(discriminator), plan)).forEach(
        (x, i) => (sum[i] += x),
      );
    const fakes = await trainer.fakesStep(discriminator, generator, plan);
    discriminator = await trainer.stepDiscriminator(discriminator, plan, sum, withSite, fakes);
    pooled.push(trainer.discriminatorWeights(discriminator));
  }

  // The central way: one party, all patients, the same draws.
  const { privacy, training } = policy;
  const sampling = samplingOf(policy, 'site-1');
  const central = await DiscriminatorTrainer.open(engine, trainer.gan, {
    ...pooledTrainingOf(policy),
    places: sampling.maxBatch * withSite.length,
    imagesPerPatient: privacy.imagesPerPatient,
    fakes: training.fakesPerStep,
    expectedBatch: sampling.expectedBatch * withSite.length,
  });
  const sampler = await Sampler.open(engine, trainer.gan, training.fakesPerStep, 'batch');
  const again = randoms();
  let state = pooledFromBytes(await trainer.initialDiscriminator(), d);
  const alone: Float32Array[] = [];
  for (let step = 0; step < STEPS; step++) {
    const patients: PatientImages[] = [];
    for (const id of withSite) {
      const images = sites.get(id)!;
      for (const i of samplePatients(images.patientGroups.length, sampling, again.get(id)!)) {
        const rows = images.patientGroups[i].images.slice(0, privacy.imagesPerPatient);
        patients.push({ images: rows.map((r) => imageAt(images, r)), labels: rows.map((r) => images.labels[r]) });
      }
      drawShareNoise(d, 0, again.get(id)!); // what the site has drawn for rounding
    }
    const places = sampling.maxBatch * withSite.length;
    const batch = layPatients(trainer.gan.config, places, privacy.imagesPerPatient, patients);
    const { latent } = trainer.gan.config;
    const seed = `${plan.publicSeed} step ${step}`;
    const inputs = drawFakeInputs(training.fakesPerStep, latent, labelDistribution(policy), seed);
    const images = await sampler.images(trainer.weights(generator), inputs);
    const next = await central.step(state, batch, { images, labels: inputs.labels }, latticeGaussian(publicBytes('')));
    state = next.state;
    alone.push(state.parameters);
  }
  await Promise.all([...[...computations.values()].map((c) => c.dispose()), central.dispose(), sampler.dispose()]);
  await trainer.dispose();
  return { pooled, alone };
}
const apart = (a: Float32Array, b: Float32Array) => Math.hypot(...a.map((x, i) => x - b[i]));

describe('pooled and central, from the same seeds', () => {
  // Adam's first steps are as long as the learning rate whatever the gradient: a fine lattice keeps signs.
  const fine = { pooled: { stepsPerClip: 2 ** 22 }, training: { beta1: 0, lrD: 0.01 } };

  test('the same discriminator after three steps, up to the lattice', async () => {
    for (const clipRule of ['clip', 'normalise']) {
      const { pooled, alone } = await both(pooledPolicy({ ...fine, privacy: { clipRule } }));
      expect(apart(pooled[0], alone[0])).toBeLessThan(1e-3 * apart(alone[0], alone[2]));
      expect(apart(pooled[2], alone[2])).toBeLessThan(1e-2 * apart(alone[0], alone[2]));
    }
  });

  test('on the lattice in use, to a few per cent of the way it goes', async () => {
    const { pooled, alone } = await both(pooledPolicy({ training: { beta1: 0, lrD: 0.01 } }));
    expect(apart(pooled[2], alone[2])).toBeGreaterThan(0);
    expect(apart(pooled[0], alone[0])).toBeLessThan(0.1 * apart(alone[0], alone[2]));
  });

  test('positive control: without one of the sites it is another discriminator', async () => {
    const all = await both(pooledPolicy(fine));
    const less = await both(pooledPolicy(fine), IDS.slice(0, 2));
    expect(apart(less.pooled[2], all.alone[2])).toBeGreaterThan(0.1 * apart(all.alone[0], all.alone[2]));
  });
});

/**
 * Whole steps against finite differences, and what a step returns against what was asked for.
 *
 * Finite differences along random directions: the loss in float32 is good to about 1e-7, the step is 1e-3, so slopes are
 * good to about 1e-3 of a typical one; the kinks of LeakyReLU add some. Tolerance 2 %.
 */
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type LatticeGaussian, latticeGaussian } from '../../shared/dp/gaussian.ts';
import { layPatients } from '../../shared/dp/patient-batch.ts';
import { PatientGradients } from '../../shared/dp/patient-gradient.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { classWeights, drawFakeInputs, oneHot } from '../../shared/gan/batch.ts';
import { DiscriminatorTrainer, type DiscriminatorTraining } from '../../shared/gan/discriminator-trainer.ts';
import { GeneratorGradient } from '../../shared/gan/generator-gradient.ts';
import { initialise, parameterFeeds } from '../../shared/gan/layout.ts';
import { generatorLosses } from '../../shared/gan/losses.ts';
import {
  discriminatorFromBytes,
  discriminatorToBytes,
  judgeOf,
  startDiscriminator,
} from '../../shared/gan/noised-discriminator.ts';
import { PlainNet } from '../../shared/gan/plain-net.ts';
import type { Gan } from '../../shared/gan/registry.ts';
import { publicBytes, PublicRandom } from '../../shared/public-random.ts';
import { type Case, l2, makeCase, meanLoss, onCpu, relativeError, tensorsOf } from '../support/gan-rig.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const STEP = 1e-3;
const TOLERANCE = 0.02;

/** Compares slopes along random directions; `value` is the function, `gradient` its claimed gradient. */
function slopesAgree(value: (at: Float32Array) => number, at: Float32Array, gradient: ArrayLike<number>): boolean {
  const draws = new PublicRandom('directions');
  const length = l2(gradient);
  return [1, 2, 3, 4].every(() => {
    // Half along the gradient, so that the slope is never close to zero.
    const noise = draws.gaussians(at.length);
    const spread = l2(noise);
    const direction = noise.map((x, i) => x / spread + gradient[i] / length);
    const move = (by: number) => value(at.map((x, i) => x + by * direction[i]));
    const slope = (move(STEP) - move(-STEP)) / (2 * STEP);
    const claimed = direction.reduce((sum, x, i) => sum + x * gradient[i], 0);
    return Math.abs(slope - claimed) <= TOLERANCE * Math.abs(claimed);
  });
}

const each = (c: Case) => c.gan.config.channels * c.gan.config.imageSize ** 2;

/** The discriminator's objective: Σ of the patients' mean losses and the fakes' losses, by tfjs' cpu backend. */
const objective = (c: Case) => (at: Float32Array) =>
  onCpu(() =>
    tf.tidy(() => {
      const named = tensorsOf(c.gan.discriminator, at);
      const real = c.patients.map((p) => meanLoss(c.gan, named, p.images, p.labels, 1).dataSync()[0]);
      const fakes = Array.from(
        c.fakes.labels,
        (label, i) =>
          meanLoss(c.gan, named, [c.fakes.images.subarray(i * each(c), (i + 1) * each(c))], [label], -1).dataSync()[0],
      );
      return [...real, ...fakes].reduce((sum, x) => sum + x, 0);
    }),
  );

const shapeOf = (c: Case) => ({
  places: c.batch.patients,
  imagesPerPatient: c.batch.imagesPerPatient,
  fakes: c.fakes.labels.length,
});

describe('discriminator', () => {
  test.each([
    ['unclipped private step', { kind: 'clip' }, {}],
    ['insecure step', { kind: 'none-insecure' }, {}],
    ['insecure step, planes, GroupNorm', { kind: 'none-insecure' }, { conditioning: 'planes', groupNorm: 2 }],
    ['insecure step, naming the class', { kind: 'none-insecure' }, { conditioning: 'classifier' }],
    ['insecure step, mlp', { kind: 'none-insecure' }, { architecture: 'mlp' }],
  ] as const)('%s follows the slope of the loss', async (_, rule, over) => {
    const c = makeCase(over, [2, 1], 2, 2);
    const gradients = await PatientGradients.open(engine, c.gan, shapeOf(c), rule);
    const { sum } = await gradients.sum(c.parameters, c.batch, c.fakes, 1e6);
    expect(slopesAgree(objective(c), c.parameters, sum.values)).toBe(true);
    // Positive control: 5 % off is seen.
    expect(
      slopesAgree(
        objective(c),
        c.parameters,
        sum.values.map((x) => 1.05 * x),
      ),
    ).toBe(false);
  });

  test('what is shown concerns fakes alone', async () => {
    const c = makeCase({}, [1, 1], 1, 4);
    const gradients = await PatientGradients.open(engine, c.gan, shapeOf(c));
    const shown = await gradients.sum(c.parameters, c.batch, c.fakes, 1);
    const other = layPatients(c.gan.config, 2, 1, [{ images: [new Float32Array(784).fill(0.5)], labels: [1] }]);
    const again = await gradients.sum(c.parameters, other, c.fakes, 1);
    expect([again.fakeLoss, again.fakeAccuracy]).toEqual([shown.fakeLoss, shown.fakeAccuracy]);
    expect([...again.sum.values]).not.toEqual([...shown.sum.values]);
  });

  test('classes are taught by real images alone', async () => {
    const c = makeCase({ conditioning: 'classifier' }, [1, 1], 1, 4);
    const gradients = await PatientGradients.open(engine, c.gan, shapeOf(c));
    const { layout } = c.gan.discriminator;
    const ofClasses = async (batch: Case['batch']) => {
      const { sum } = await gradients.sum(c.parameters, batch, c.fakes, 1e6);
      return Object.entries(parameterFeeds(layout, Float32Array.from(sum.values), ''))
        .filter(([name]) => name.startsWith('class.'))
        .map(([, values]) => Math.max(...values.map(Math.abs)));
    };
    const fakesAlone = await ofClasses(layPatients(c.gan.config, 2, 1, []));
    expect(fakesAlone.length).toBeGreaterThan(0);
    expect(Math.max(...fakesAlone)).toBe(0);
    expect(Math.min(...(await ofClasses(c.batch)))).toBeGreaterThan(0);
  });

  test('public parameters out of range are refused', async () => {
    const c = makeCase({}, [1], 1, 1);
    const gradients = await PatientGradients.open(engine, c.gan, shapeOf(c));
    const bad = { images: c.fakes.images.map(() => NaN), labels: c.fakes.labels };
    const far = c.parameters.map(() => 101);
    for (const refused of [gradients.sum(c.parameters, c.batch, bad, 1), gradients.sum(far, c.batch, c.fakes, 1)])
      await expect(refused).rejects.toThrow(expect.objectContaining({ code: 'PARAMETER_INVALID' }));
  });
});

describe('one step of training', () => {
  const zero: LatticeGaussian = (out) => out.fill(0);
  const NOISE = 1.5;
  const BATCH = 8;
  const C = 0.7;
  /** With no memory, Adam's mean gradient is the gradient of the step: what a test can look at. */
  const transparent = { learningRate: 1e-3, beta1: 0, beta2: 0, weightDecay: 0, averageDecay: 0 };
  const training = (c: Case, over: Partial<DiscriminatorTraining> = {}): DiscriminatorTraining => ({
    ...shapeOf(c),
    rule: { kind: 'clip' },
    clipNorm: C,
    noiseMultiplier: NOISE,
    expectedBatch: BATCH,
    optimiser: transparent,
    ...over,
  });

  /** Whether a trainer's noise on the mean gradient has standard deviation σ·C / expected batch. */
  async function noiseIsRight(c: Case, actual: Partial<DiscriminatorTraining>, gaussian: LatticeGaussian) {
    const trainer = await DiscriminatorTrainer.open(engine, c.gan, training(c, actual));
    const start = startDiscriminator(c.parameters);
    const of = async (noise: LatticeGaussian) => (await trainer.step(start, c.batch, c.fakes, noise)).state.slots[0];
    const [with_, without] = [await of(gaussian), await of(zero)];
    const std = l2(with_.map((x, i) => x - without[i])) / Math.sqrt(with_.length);
    // d draws give the standard deviation to 1 / √(2d), 0.8 %: four of these, and what the lattice adds.
    return Math.abs(std / ((NOISE * C) / BATCH) - 1) < 0.035;
  }

  test('noise has standard deviation σ·C over the expected batch, also when nobody joined', async () => {
    const noise = latticeGaussian(publicBytes('noise for tests'));
    const c = makeCase({ discriminatorWidth: 12 }, [1, 1], 1, 1);
    expect(c.parameters.length).toBeGreaterThan(7000);
    expect(await noiseIsRight(c, {}, noise)).toBe(true);
    expect(await noiseIsRight({ ...c, batch: layPatients(c.gan.config, 2, 1, []) }, {}, noise)).toBe(true);
  });

  test('positive controls: noise of the wrong scale is caught', async () => {
    const noise = latticeGaussian(publicBytes('noise for tests'));
    const c = makeCase({ discriminatorWidth: 12 }, [1, 1], 1, 1);
    for (const wrong of [{ noiseMultiplier: 0.95 * NOISE }, { expectedBatch: 2 }, { clipNorm: 0.9 * C }])
      expect(await noiseIsRight(c, wrong, noise)).toBe(false);
    const once: LatticeGaussian = (out) => {
      noise(out);
      out.fill(out[0]); // one draw for all coordinates
    };
    expect(await noiseIsRight(c, {}, once)).toBe(false);
  });

  test('the same bytes from a state and from its stored bytes', async () => {
    const c = makeCase({}, [1, 1], 1, 2);
    const optimiser = { learningRate: 1e-3, beta1: 0.5, beta2: 0.999, weightDecay: 0.01, averageDecay: 0.9 };
    const trainer = await DiscriminatorTrainer.open(engine, c.gan, training(c, { optimiser }));
    const noise = () => latticeGaussian(publicBytes('noise for tests'));
    const first = await trainer.step(startDiscriminator(c.parameters), c.batch, c.fakes, noise());
    const bytes = discriminatorToBytes(first.state);
    const restored = discriminatorFromBytes(bytes, c.parameters.length);
    expect(discriminatorToBytes(restored)).toEqual(bytes);
    const [a, b] = [first.state, restored].map((state) => trainer.step(state, c.batch, c.fakes, noise()));
    expect(discriminatorToBytes((await a).state)).toEqual(discriminatorToBytes((await b).state));
    expect((await a).state.step).toBe(2);
    for (const broken of [bytes.subarray(4), bytes.map((x, i) => (i === 0 ? x + 1 : x)), bytes.map(() => 255)])
      expect(() => discriminatorFromBytes(broken, c.parameters.length)).toThrow(
        expect.objectContaining({ code: 'STORE_CORRUPT' }),
      );
  });

  test('weight decay, average and bound on parameters', async () => {
    const c = makeCase({}, [1], 1, 1);
    const optimiser = { learningRate: 0, beta1: 0, beta2: 0, weightDecay: 0.25, averageDecay: 0.5 };
    const trainer = await DiscriminatorTrainer.open(engine, c.gan, training(c, { optimiser }));
    const { state } = await trainer.step(startDiscriminator(c.parameters), c.batch, c.fakes, zero);
    state.parameters.forEach((w, i) => {
      expect(w).toBeCloseTo(0.75 * c.parameters[i], 5);
    });
    judgeOf(state).values.forEach((w, i) => {
      expect(w).toBeCloseTo(0.875 * c.parameters[i], 5);
    });
    const wild = { ...optimiser, learningRate: 1e6 };
    const fast = await DiscriminatorTrainer.open(engine, c.gan, training(c, { optimiser: wild }));
    const thrown = await fast.step(startDiscriminator(c.parameters), c.batch, c.fakes, zero);
    expect(Math.max(...thrown.state.parameters.map(Math.abs))).toBe(100);
  });

  test('learns: fakes that are black among patients who are white are told apart', async () => {
    const c = makeCase({ architecture: 'mlp', discriminatorWidth: 8 }, [1, 1, 1, 1], 1, 4);
    const white = { images: [new Float32Array(784).fill(0.9)], labels: [0] };
    const patients = layPatients(c.gan.config, 4, 1, [white, white, white, white]);
    const fakes = { images: new Float32Array(4 * 784).fill(-0.9), labels: Int32Array.of(0, 0, 0, 0) };
    const optimiser = { learningRate: 2e-3, beta1: 0.5, beta2: 0.999, weightDecay: 0, averageDecay: 0 };
    const trainer = await DiscriminatorTrainer.open(engine, c.gan, training(c, { optimiser, noiseMultiplier: 0.05 }));
    const noise = latticeGaussian(publicBytes('noise for tests'));
    let state = startDiscriminator(c.parameters);
    const losses: number[] = [];
    for (let i = 0; i < 20; i++) {
      const step = await trainer.step(state, patients, fakes, noise);
      state = step.state;
      losses.push(step.fakeLoss);
    }
    expect(losses[19]).toBeLessThan(0.5 * losses[0]);
  });
});

describe('generator', () => {
  const fakes = 4;
  const uniform = [1 / 3, 1 / 3, 1 / 3];
  const classes = { distribution: uniform, weights: [0.5, 1, 2] };

  /** Σ weight × loss by tfjs' cpu backend; batch normalisation by each micro-batch. */
  const objectiveOf = (gan: Gan, discriminator: Float32Array, seed: string, microBatch: number) => (at: Float32Array) =>
    onCpu(() =>
      tf.tidy(() => {
        const { labels, latents } = drawFakeInputs(fakes, 4, uniform, seed);
        let total = 0;
        for (let start = 0; start < fakes; start += microBatch) {
          const own = labels.slice(start, start + microBatch);
          const z = tf.tensor2d(latents.slice(start * 4, (start + microBatch) * 4), [microBatch, 4]);
          const y = tf.tensor2d(oneHot(own, 3), [microBatch, 3]);
          const net = new PlainNet(tensorsOf(gan.generator, at));
          const images = gan.architecture.generator(net, z, y, gan.config);
          const judge = new PlainNet(tensorsOf(gan.discriminator, discriminator));
          const judged = gan.architecture.discriminator(judge, images, y, gan.config);
          const losses = generatorLosses(gan.config.loss, judged).dataSync();
          own.forEach((label, i) => (total += (losses[i] * classes.weights[label]) / fakes));
        }
        return total;
      }),
    );

  test.each([
    ['bce', {}, 4],
    ['hinge', { loss: 'hinge' }, 4],
    ['bce in micro-batches', {}, 2],
    ['a discriminator that names classes', { conditioning: 'classifier' }, 4],
    ['mlp', { architecture: 'mlp', generatorWidth: 16, discriminatorWidth: 16 }, 2],
  ] as const)('its gradient follows the slope of the weighted loss: %s', async (_, over, microBatch) => {
    const { gan, parameters } = makeCase(over, [1], 1, 1);
    const generator = initialise(gan.generator.layout, 'generator');
    const judge = judgeOf(startDiscriminator(parameters));
    const gradient = await GeneratorGradient.open(engine, gan, fakes, microBatch);
    const { update } = await gradient.update(generator, judge, classes, 'seed', 1e6);
    const value = objectiveOf(gan, parameters, 'seed', microBatch);
    expect(slopesAgree(value, generator, update)).toBe(true);
    expect(
      slopesAgree(
        value,
        generator,
        update.map((x) => 1.05 * x),
      ),
    ).toBe(false);
    const clipped = await gradient.update(generator, judge, classes, 'seed', 1e-3);
    expect(l2(clipped.update)).toBeCloseTo(1e-3, 9);
    expect(
      relativeError(
        Float64Array.from(clipped.update),
        Float64Array.from(update, (x) => (x * 1e-3) / l2(update)),
      ),
    ).toBeLessThan(1e-5);
  });

  test('classes that a site does not declare have no part in it', async () => {
    const { gan, parameters } = makeCase({}, [1], 1, 1);
    const generator = initialise(gan.generator.layout, 'generator');
    const judge = judgeOf(startDiscriminator(parameters));
    const gradient = await GeneratorGradient.open(engine, gan, 8, 8);
    const own = classWeights(uniform, [1], [1, 2, 1]);
    const { update } = await gradient.update(generator, judge, own, 'seed', 1e6);
    const start = gan.generator.layout.entries.find(({ name }) => name === 'start.weight')!;
    const units = start.shape[1];
    const row = (label: number) =>
      update.subarray(start.offset + (4 + label) * units, start.offset + (5 + label) * units);
    expect(row(0).every((x) => x === 0)).toBe(true);
    expect(row(2).every((x) => x === 0)).toBe(true);
    expect(l2(update)).toBeGreaterThan(0);
  });
});

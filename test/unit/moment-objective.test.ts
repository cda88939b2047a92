import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import { adam } from '../../shared/engine/optimizers.ts';
import { movingAverage } from '../../shared/gan/average.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { CONSTANT_COORDINATE } from '../../shared/moments/embedding.ts';
import { featureSet } from '../../shared/moments/features.ts';
import { type FitState, MomentFit } from '../../shared/moments/fit.ts';
import { classMeans, momentLoss, MomentObjective, momentTargets, pairFactors } from '../../shared/moments/objective.ts';
import { morletFilters } from '../../shared/moments/wavelets.ts';
import { PublicRandom } from '../../shared/public-random.ts';
import { uniform } from '../support/rng.ts';

test('targets are sums over noised counts; a class that noise drowns, or that nobody declared, gets weight 0', () => {
  // Class 0: 400 patients; class 1: none, its count is noise; class 2: 300 patients that no site declared.
  const sum = Float64Array.of(
    ...[200, -40, 400 * CONSTANT_COORDINATE],
    ...[1.5, -2, 2],
    ...[90, 30, 300 * CONSTANT_COORDINATE],
  );
  const { means, classWeights } = momentTargets(sum, 3, 2, [true, true, false]);
  expect([...classWeights]).toEqual([1, 0, 0]);
  expect(means[0]).toBeCloseTo(0.5, 6);
  expect(means[1]).toBeCloseTo(-0.1, 6);
  expect([...means.slice(2)]).toEqual([0, 0, 0, 0]);
});

test('the loss is |m|² n / (n - 1) - 2 ⟨μ, m⟩, summed over classes by hand', () => {
  // Two classes, two features in two parts, the second scaled by 2; the constant coordinate takes its share of both.
  const share = Math.sqrt(1 - CONSTANT_COORDINATE ** 2);
  const parts = [
    { rows: tf.tensor2d([1, 3, 5, 7, 3], [5, 1]), scale: 1 / share },
    { rows: tf.tensor2d([1, 2, 3, 4, 5], [5, 1]), scale: 2 / share },
  ];
  const labels = Int32Array.of(0, 1, 0, 1, 0);
  const batch = { classMeans: tf.tensor2d(classMeans(labels, 2), [2, 5]), pairs: tf.tensor1d(pairFactors(labels, 2)) };
  const means = tf.tensor2d([1, 0, 0, 1], [2, 2]);
  const loss = (weights: number[]) => momentLoss(parts, batch, means, tf.tensor1d(weights)).dataSync()[0];
  // Means of class 0 are 3 and 6, of class 1 5 and 6.
  const zero = (3 / 2) * (9 + 36) - 2 * 3;
  const one = 2 * (25 + 36) - 2 * 6;
  expect(loss([1, 0])).toBeCloseTo(zero, 4);
  expect(loss([1, 1])).toBeCloseTo(zero + one, 4);
  expect(loss([0, 0.5])).toBeCloseTo(one / 2, 4);
});

test('on rows of one norm the loss is the mean over pairs of different fakes, up to a constant', () => {
  const angles = uniform(4, 10, -3, 3);
  const rows = [...angles].map((angle) => [Math.cos(angle), Math.sin(angle)]);
  const labels = Int32Array.from({ length: 10 }, (_, i) => (i < 7 ? 0 : 1));
  const share = Math.sqrt(1 - CONSTANT_COORDINATE ** 2);
  const batch = { classMeans: tf.tensor2d(classMeans(labels, 2), [2, 10]), pairs: tf.tensor1d(pairFactors(labels, 2)) };
  const parts = [{ rows: tf.tensor2d(rows), scale: 1 / share }];
  const loss = momentLoss(parts, batch, tf.zeros([2, 2]), tf.tensor1d([1, 0])).dataSync()[0];
  let [products, pairs] = [0, 0];
  for (let i = 0; i < 7; i++)
    for (let j = 0; j < 7; j++) {
      if (i === j) continue;
      products += rows[i][0] * rows[j][0] + rows[i][1] * rows[j][1];
      pairs++;
    }
  // |m|² n / (n - 1) = mean over pairs + 1 / (n - 1)
  expect(loss - 1 / 6).toBeCloseTo(products / pairs, 4);
});

test('a class with a single fake has no pair', () => {
  expect([...pairFactors(Int32Array.of(0, 1, 1), 3)]).toEqual([0, 2, 0]);
  expect([...classMeans(Int32Array.of(0, 1, 1), 3)]).toEqual([1, 0, 0, 0, 0.5, 0.5, 0, 0, 0]);
});

test('a step of the fit is the gradient of the objective, Adam and the moving average, one after the other', async () => {
  const engine = await openEngine('cpu', { threads: 1 });
  const config = {
    imageSize: 28,
    channels: 1,
    classes: 2,
    latent: 4,
    generatorWidth: 4,
    discriminatorWidth: 4,
  } as const;
  const gan = openGan({
    ...config,
    architecture: 'smooth-dcgan',
    conditioning: 'projection',
    groupNorm: 0,
    loss: 'bce',
  });
  const block = { bandwidth: 0.5, weight: 1 } as const;
  const blocks = [
    { ...block, on: 'pixels', bandwidth: 5, frequencies: 12 },
    { ...block, on: 'wavelets', frequencies: 9 },
  ] as const;
  const features = featureSet({ kind: 'fourier', seed: 'test', blocks }, { channels: 1, size: 28 });
  const means = uniform(1, 2 * features.length, -0.1, 0.1);
  const terms = [{ features, targets: { means, classWeights: Float32Array.of(1, 0.5) } }];
  const labels = Int32Array.of(0, 1, 1, 0, 0, 1);
  let weights = initialise(gan.generator.layout, 'test');
  let state = adam({ learningRate: 0 }).init(weights.length);
  const parts = { engine, gan, terms, labels };
  const from = { weights, average: weights, optimizer: state };
  const fit = await MomentFit.create({ ...parts, from });
  const objective = await MomentObjective.create({ engine, gan, terms, batch: labels.length });
  try {
    let average = weights;
    const paces = [];
    for (const [i, rate] of [0.01, 0.002].entries()) {
      const z = new PublicRandom(`${i}`).gaussians(labels.length * 4);
      const { loss, gradient } = await objective.gradient(weights, z, labels);
      ({ weights, state } = adam({ learningRate: rate, beta1: 0.5, beta2: 0.99 }).update(weights, gradient, state));
      average = movingAverage(average, weights, 0.75);
      expect(await fit.step(z, { rate, decay: 0.75 })).toBeCloseTo(loss, 5);
      paces.push([z, { rate, decay: 0.75 }] as const);
    }
    const whole = fit.state();
    // The same steps in two fits, the second begun where the first ended, are the same bits.
    let inParts: FitState = from;
    for (const [z, pace] of paces) {
      const part = await MomentFit.create({ ...parts, from: inParts });
      await part.step(z, pace);
      inParts = part.state();
      await part.dispose();
    }
    expect(inParts).toEqual(whole);
    // Control: a second fit that begins with a fresh optimiser is another one.
    const forgetful = await MomentFit.create({ ...parts, from: { ...inParts, optimizer: from.optimizer } });
    const mindful = await MomentFit.create({ ...parts, from: inParts });
    for (const one of [forgetful, mindful]) await one.step(...paces[0]);
    expect(forgetful.state().weights).not.toEqual(mindful.state().weights);
    for (const one of [forgetful, mindful]) await one.dispose();
    const apart = whole.average.reduce((most, v, i) => Math.max(most, Math.abs(v - average[i])), 0);
    expect(apart).toBeLessThan(2e-5);
    // The steps moved the weights by far more than that.
    expect(Math.abs(average[0] - initialise(gan.generator.layout, 'test')[0])).toBeGreaterThan(1e-3);
  } finally {
    await fit.dispose();
    await objective.dispose();
    await engine.dispose();
  }
});

test('wavelets sum to zero, so that brightness alone makes no edge, and their absolute values to one', () => {
  const width = 9;
  const filters = morletFilters({ width, sigma: 2, frequency: 1.05 });
  for (let o = 0; o < 8; o++) {
    let [re, im, size] = [0, 0, 0];
    for (let i = 0; i < width * width; i++) {
      re += filters[i * 16 + o];
      im += filters[i * 16 + 8 + o];
      size += Math.hypot(filters[i * 16 + o], filters[i * 16 + 8 + o]);
    }
    expect(Math.abs(re) + Math.abs(im)).toBeLessThan(1e-6);
    expect(size).toBeCloseTo(1, 5);
  }
});

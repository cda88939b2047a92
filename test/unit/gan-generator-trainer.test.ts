/** The coordinator's optimiser: states as bytes, the fit to the moments, plain Adam where nothing else is asked for. */
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GanGeneratorTrainer } from '../../coordinator/gan-generator-trainer.ts';
import { adam } from '../../shared/engine/optimizers.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { movingAverage } from '../../shared/gan/average.ts';
import { trainCritic } from '../../coordinator/critic-trainer.ts';
import { drawFakeInputs } from '../../shared/gan/batch.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { PlainNet } from '../../shared/gan/plain-net.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { Sampler } from '../../shared/gan/sampler.ts';
import { encodeState } from '../../shared/gan/state-bytes.ts';
import { checkCritic, criticFeatures, criticLayout, criticLength, criticNetwork } from '../../shared/moments/critic.ts';
import { rateFactor } from '../../shared/policy/training.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { MomentSummer, momentImages } from '../../shared/moments/embedding.ts';
import { featureSet } from '../../shared/moments/features.ts';
import { MomentObjective, type MomentTargets } from '../../shared/moments/objective.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { PublicRandom } from '../../shared/public-random.ts';
import { phantomSite, planFor, refusalOf, tinyCritic, tinyPolicy, type TinyOptions } from '../support/glue-rig.ts';
import { uniform } from '../support/rng.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

const fitting: TinyOptions = { warmStart: { noiseMultiplier: 0.01, fitSteps: 60 } };
const SHAPE = { channels: 1, size: 28 };
const silent = () => undefined;

async function using<T>(policy: CheckedPolicy, body: (t: GanGeneratorTrainer) => Promise<T>): Promise<T> {
  const trainer = new GanGeneratorTrainer(engine, policy);
  try {
    return await body(trainer);
  } finally {
    await trainer.dispose();
  }
}

const featuresOf = (policy: CheckedPolicy) => {
  if (policy.warmStart.kind !== 'moments') throw new Error('no moments');
  return featureSet(policy.warmStart.features, SHAPE);
};

/** What two sites would send of their phantoms if no noise were needed. */
async function momentSum(policy: CheckedPolicy): Promise<Float64Array> {
  const { pixels, labels, patientGroups } = phantomSite({ patients: 90 });
  const summer = await MomentSummer.create(engine, featuresOf(policy), SHAPE, 3);
  const rows = patientGroups.map((p) => p.images);
  const sum = await summer.sum(pixels, momentImages(rows, labels, 1));
  await summer.dispose();
  return sum;
}

/** The moment loss of some weights on latent vectors that no fit has seen. */
async function lossOf(t: GanGeneratorTrainer, policy: CheckedPolicy, targets: MomentTargets, weights: Float32Array) {
  const objective = await MomentObjective.create({
    engine,
    gan: t.gan,
    terms: [{ features: featuresOf(policy), targets }],
    batch: 120,
  });
  const labels = Int32Array.from({ length: 120 }, (_, i) => i % 3);
  const latents = new PublicRandom('held out').gaussians(120 * t.gan.config.latent);
  const { loss } = await objective.gradient(weights, latents, labels);
  await objective.dispose();
  return loss;
}

test('a state with and without targets goes through bytes unchanged', async () => {
  const policy = tinyPolicy(fitting);
  await using(policy, async (t) => {
    const d = t.gan.generator.layout.length;
    const [weights, average, mean, square] = [1, 2, 3, 4].map((seed) => uniform(seed, d));
    const means = uniform(5, 3 * featuresOf(policy).length);
    for (const moments of [[], [{ critic: null, targets: { classWeights: Float32Array.of(1, 0, 1), means } }]]) {
      const state = { weights, average, optimizer: { step: 7, slots: [mean, square] }, moments, critic: null };
      const bytes = t.encode(state);
      expect(t.decode(bytes)).toEqual(state);
      expect(t.encode(t.decode(bytes))).toEqual(bytes);
      expect(t.weights(bytes)).toEqual(weights);
    }
    expect(t.updateLength(planFor(policy, 1))).toBe(d);
    expect(t.updateLength(planFor(policy, 0))).toBe(3 * (featuresOf(policy).length + 1));
  });
});

test('bytes that are no state of this run are refused', async () => {
  const none = tinyPolicy({ warmStart: null });
  const state = await using(none, async (t) => t.initialState());
  const refusal = (bytes: Uint8Array, policy = none) =>
    using(policy, (t) => refusalOf(() => t.applyGradients(bytes, planFor(policy, 1), new Float64Array(1), [])));
  expect(await refusal(state.slice(0, -4))).toMatch(/^STORE_CORRUPT/);
  expect(await refusal(new Uint8Array())).toMatch(/^STORE_CORRUPT/);
  expect(await refusal(state.map((b, i) => (i < 4 ? b ^ 1 : b)))).toMatch(/^STORE_CORRUPT/);
  // Targets cut short, and targets in a run that has no moments.
  const longer = Uint8Array.from(Buffer.concat([state, Buffer.alloc(40)]));
  expect(await refusal(longer)).toMatch(/^STORE_CORRUPT/);
  expect(await refusal(longer, tinyPolicy())).toMatch(/^STORE_CORRUPT/);
  // Another architecture's state has another length.
  expect(await refusal(state, tinyPolicy({ model: { generatorWidth: 9 } }))).toMatch(/^STORE_CORRUPT/);
});

test('without a moment term a round is one step of plain Adam on the sum', async () => {
  const policy = tinyPolicy({ warmStart: null });
  await using(policy, async (t) => {
    const d = t.gan.generator.layout.length;
    let state = await t.initialState();
    let { weights, average, optimizer } = t.decode(state);
    const { lrG: learningRate, beta1, beta2, emaDecay } = policy.training;
    for (let round = 0; round < 3; round++) {
      const sum = Float64Array.from(uniform(round, d));
      state = await t.applyGradients(state, planFor(policy, round), sum, ['site-1']);
      ({ weights, state: optimizer } = adam({ learningRate, beta1, beta2 }).update(weights, sum, optimizer));
      average = movingAverage(average, weights, Math.min(emaDecay, (round + 2) / (round + 11)));
      expect(t.decode(state)).toEqual({ weights, average, optimizer, moments: [], critic: null });
    }
  });
});

test('rates fall as the policy says: full, then in a straight line, over the rounds after the moments', async () => {
  const decay = { rounds: 5, rateDecay: { from: 0.5, to: 0.1 } };
  const falling = tinyPolicy({ training: decay, warmStart: { critic: tinyCritic } });
  const factors = [3, 4, 5, 6, 7].map((round) => rateFactor(falling, round));
  expect(factors.map((f) => f.toFixed(3))).toEqual(['1.000', '1.000', '1.000', '0.550', '0.100']);
  expect(rateFactor(falling, 99)).toBeCloseTo(0.1);
  expect(rateFactor(tinyPolicy(), 1)).toBe(1);

  const policy = tinyPolicy({ training: decay, warmStart: null });
  await using(policy, async (t) => {
    const start = await t.initialState();
    const sum = Float64Array.from(uniform(1, t.gan.generator.layout.length));
    const moved = async (round: number) => {
      const after = t.weights(await t.applyGradients(start, planFor(policy, round), sum, ['site-1']));
      return Math.hypot(...after.map((w, i) => w - t.weights(start)[i]));
    };
    expect((await moved(4)) / (await moved(0))).toBeCloseTo(0.1, 3);
  });
});

test('the fit lowers the moment loss, leaves Adam fresh, and is the same bytes every time', async () => {
  const policy = tinyPolicy(fitting);
  const sum = await momentSum(policy);
  const plan = planFor(policy, 0);
  const shares: number[] = [];
  const fit = (report: (share: number) => void) =>
    using(policy, async (t) => t.fitMoments(await t.initialState(), plan, sum, report));
  const state = await fit((share) => shares.push(share));
  expect(shares.length).toBe(60);
  expect(shares.at(-1)).toBe(1);
  expect(await fit(silent)).toEqual(state);
  await using(policy, async (t) => {
    const [before, after] = [t.decode(await t.initialState()), t.decode(state)];
    const { targets } = after.moments[0];
    expect([...targets.classWeights]).toEqual([1, 1, 1]);
    expect(after.optimizer.step).toBe(0);
    expect(after.weights).toEqual(after.average);
    const first = await lossOf(t, policy, targets, before.weights);
    const last = await lossOf(t, policy, targets, after.average);
    // The least there can be is -Σ |μ|²: the fit goes more than half the way to it.
    const least = -targets.means.reduce((total, m) => total + m * m, 0);
    expect(last).toBeLessThan(first - (first - least) / 2);
  });
});

test('a class that nobody declares is not fitted to', async () => {
  const policy = tinyPolicy({ ...fitting, warmStart: { noiseMultiplier: 0.01, fitSteps: 1 } });
  const sum = await momentSum(policy);
  const plan = { ...planFor(policy, 0), declarers: [2, 0, 2] };
  const state = await using(policy, async (t) =>
    t.decode(await t.fitMoments(await t.initialState(), plan, sum, silent)),
  );
  expect([...state.moments[0].targets.classWeights]).toEqual([1, 0, 1]);
});

test('the moment term adds its weight times its gradient to the sum, and nothing of chance', async () => {
  const policy = tinyPolicy({ ...fitting, training: { momentWeight: 5 } });
  const plain = tinyPolicy(fitting);
  const sum = await momentSum(policy);
  const plan = planFor(policy, 1);
  const step = (p: CheckedPolicy) =>
    using(p, async (t) => {
      const fitted = await t.fitMoments(await t.initialState(), planFor(policy, 0), sum, silent);
      return t.applyGradients(fitted, plan, new Float64Array(t.gan.generator.layout.length), ['site-1']);
    });
  const withTerm = await step(policy);
  expect(await step(policy)).toEqual(withTerm);
  // The number of fakes that is the policy's own choice is the fit's where it says nothing.
  expect(await step(tinyPolicy({ ...fitting, training: { momentWeight: 5, momentBatch: 24 } }))).toEqual(withTerm);
  expect(await step(tinyPolicy({ ...fitting, training: { momentWeight: 5, momentBatch: 6 } }))).not.toEqual(withTerm);
  await using(plain, async (t) => {
    const [before, moved, still] = [
      t.decode(await t.fitMoments(await t.initialState(), planFor(policy, 0), sum, silent)),
      t.decode(withTerm),
      t.decode(await step(plain)),
    ];
    expect(still.weights).toEqual(before.weights);
    expect(moved.weights).not.toEqual(before.weights);
    expect(moved.moments).toEqual(before.moments);
  });
});

const withCritic: TinyOptions = {
  training: { rounds: 1, momentWeight: 1 },
  warmStart: { noiseMultiplier: 0.01, fitSteps: 5, critic: tinyCritic },
};

test('a critic comes with every moment round but the last, and travels through bytes', async () => {
  const policy = tinyPolicy(withCritic);
  const first = await momentSum(policy);
  const layout = criticLayout(tinyCritic, SHAPE, 3);
  await using(policy, async (t) => {
    const start = await t.initialState();
    expect(t.critic(start)).toBeNull();
    const zero = await t.fitMoments(start, planFor(policy, 0), first, silent);
    const critic = t.critic(zero);
    expect(critic).toHaveLength(layout.length);
    expect(() => checkCritic(critic!, layout)).not.toThrow();
    expect(critic).not.toEqual(initialise(layout, `critic ${planFor(policy, 0).publicSeed}`));
    expect(await t.fitMoments(start, planFor(policy, 0), first, silent)).toEqual(zero);

    const length = t.updateLength(planFor(policy, 1));
    expect(length).toBe(3 * (criticLength(tinyCritic) + 1));
    const one = await t.fitMoments(zero, planFor(policy, 1), Float64Array.from(uniform(1, length), Math.abs), silent);
    const two = await t.fitMoments(one, planFor(policy, 2), Float64Array.from(uniform(2, length), Math.abs), silent);
    expect(t.critic(one)).not.toEqual(critic);
    expect(t.critic(two)).toBeNull();
    const { moments } = t.decode(two);
    expect(moments.map((m) => m.critic)).toEqual([null, critic, t.critic(one)]);
    expect(t.encode(t.decode(one))).toEqual(one);
    expect(t.encode(t.decode(two))).toEqual(two);
    // One fit in three parts: its optimiser goes on, and is fresh once the last of them is done.
    const { fitSteps } = tinyCritic;
    expect([zero, one, two].map((state) => t.decode(state).optimizer.step)).toEqual([5, 5 + fitSteps, 0]);
    const later = await t.applyGradients(two, planFor(policy, 3), new Float64Array(t.weights(two).length), ['site-1']);
    expect(t.decode(later).moments).toEqual(moments);
    // One more release than there are rounds, and half a critic.
    const more = Buffer.concat([two, encodeState(0, [critic!])]);
    expect(await refusalOf(async () => t.decode(more))).toMatch(/^STORE_CORRUPT/);
    expect(await refusalOf(async () => t.decode(one.slice(0, -4)))).toMatch(/^STORE_CORRUPT/);
  });
});

test('the fit after the last critic round may take more steps', async () => {
  const critic = { ...tinyCritic, fitSteps: 2, lastFitSteps: 5 };
  const policy = tinyPolicy({ ...withCritic, warmStart: { ...withCritic.warmStart, critic } });
  const first = await momentSum(policy);
  await using(policy, async (t) => {
    let state = await t.initialState();
    const steps: number[] = [];
    for (let round = 0; round < 3; round++) {
      const sum =
        round === 0 ? first : Float64Array.from(uniform(round, t.updateLength(planFor(policy, round))), Math.abs);
      steps.push(0);
      state = await t.fitMoments(state, planFor(policy, round), sum, () => (steps[round] += 1));
    }
    expect(steps).toEqual([5, 2, 5]);
  });
});

test('the fit after a critic round follows that round’s means too', async () => {
  const policy = tinyPolicy({ ...withCritic, warmStart: { ...withCritic.warmStart, fitSteps: 1 } });
  const first = await momentSum(policy);
  await using(policy, async (t) => {
    const zero = await t.fitMoments(await t.initialState(), planFor(policy, 0), first, silent);
    const sum = (seed: number) => Float64Array.from(uniform(seed, t.updateLength(planFor(policy, 1))), Math.abs);
    const after = async (seed: number) => t.weights(await t.fitMoments(zero, planFor(policy, 1), sum(seed), silent));
    expect(await after(1)).not.toEqual(await after(2));
  });
});

test('a critic learns to tell the classes of fakes apart', async () => {
  const policy = tinyPolicy({ ...withCritic, warmStart: { ...withCritic.warmStart, fitSteps: 40 } });
  const zero = await using(policy, async (t) =>
    t.weights(await t.fitMoments(await t.initialState(), planFor(policy, 0), await momentSum(policy), silent)),
  );
  const gan = openGan(ganConfigOf(policy));
  const training = { engine, gan, ...tinyCritic, distribution: [1 / 3, 1 / 3, 1 / 3], seed: 'test' };
  const share = async (critic: Float32Array) => {
    const fakes = drawFakeInputs(90, 4, [1 / 3, 1 / 3, 1 / 3], 'held out');
    const sampler = await Sampler.open(engine, gan, 90, 'batch');
    const images = tf.tensor4d(await sampler.images(zero, fakes), [90, 1, 28, 28]);
    await sampler.dispose();
    const { entries } = criticLayout(tinyCritic, SHAPE, 3);
    const tensors = entries.map(({ name, shape, offset, size }) => {
      return [name, tf.tensor(critic.slice(offset, offset + size), [...shape])] as const;
    });
    const net = new PlainNet(Object.fromEntries(tensors));
    const { logits } = criticNetwork(net, tf.transpose(images, [0, 2, 3, 1]), 3, tinyCritic.width);
    const guesses = await tf.argMax(logits, 1).data();
    return fakes.labels.reduce((n, label, i) => n + (label === guesses[i] ? 1 / 90 : 0), 0);
  };
  expect(await share(await trainCritic({ ...training, steps: 150, lr: 0.003 }, zero))).toBeGreaterThan(0.9);
  // Control: one that learns nothing knows nothing.
  expect(await share(await trainCritic({ ...training, lr: 1e-9 }, zero))).toBeLessThan(0.6);
});

test('a critic knows the means and deviations of its layers over fakes, where its blocks ask for them', async () => {
  const policy = tinyPolicy();
  const gan = openGan(ganConfigOf(policy));
  const zero = initialise(gan.generator.layout, 'test');
  const [maps, dense] = tinyCritic.blocks;
  const asking = {
    ...tinyCritic,
    blocks: [
      { ...maps, normalise: 'standardised' as const },
      { ...dense, normalise: 'centred' as const },
    ],
  };
  const training = { engine, gan, distribution: [1 / 3, 1 / 3, 1 / 3], seed: 'test' };
  const plain = await trainCritic({ ...training, ...tinyCritic }, zero);
  const critic = await trainCritic({ ...training, ...asking }, zero);
  // The same network, and behind it the statistics.
  expect(critic.subarray(0, plain.length)).toEqual(plain);
  const { entries, length } = criticLayout(asking, SHAPE, 3);
  expect(critic).toHaveLength(length);
  expect(entries.slice(-3).map(({ name, shape }) => [name, ...shape])).toEqual([
    ['maps.mean', 8 * 49],
    ['maps.scale', 8 * 49],
    ['dense.mean', 16],
  ]);

  const fakes = drawFakeInputs(600, 4, [1 / 3, 1 / 3, 1 / 3], 'others');
  const sampler = await Sampler.open(engine, gan, 600, 'batch');
  const images = tf.tensor4d(await sampler.images(zero, fakes), [600, 1, 28, 28]);
  await sampler.dispose();
  const of = (name: string) => {
    const { offset, size } = entries.find((e) => e.name === name)!;
    return critic.subarray(offset, offset + size);
  };
  const net = new PlainNet(Object.fromEntries(entries.map((e) => [e.name, tf.tensor(of(e.name), [...e.shape])])));
  const layers = criticNetwork(net, tf.transpose(images, [0, 2, 3, 1]), 3, tinyCritic.width);
  for (const layer of ['maps', 'dense'] as const) {
    const { mean, variance } = tf.moments(layers[layer], 0);
    const [means, deviations] = [mean.dataSync(), tf.sqrt(variance).dataSync()];
    const found = of(`${layer}.mean`);
    means.forEach((m, j) => expect(Math.abs(m - found[j])).toBeLessThan(0.3 * deviations[j] + 1e-3));
    if (layer === 'maps')
      of('maps.scale').forEach((s, j) => {
        const deviation = Math.max(0.01, deviations[j]);
        expect(s).toBeLessThanOrEqual(100);
        expect(1 / s / deviation).toBeGreaterThan(0.7);
        expect(1 / s / deviation).toBeLessThan(1.4);
      });
  }
  // What they are for: features of raw layers have much of their length in common, whatever the image.
  const common = (parameters: Float32Array, config: typeof asking | typeof tinyCritic) => {
    const features = criticFeatures(config, SHAPE, 3, 's', parameters);
    const constants = Object.fromEntries(
      Object.entries(features.constants).map(([k, c]) => [k, tf.tensor(c.values, [...c.shape])]),
    );
    const x = tf.slice(images, [0, 0, 0, 0], [200, 1, 28, 28]);
    return tf.sum(tf.square(tf.mean(features.embed(x, constants), 0))).dataSync()[0];
  };
  expect(common(critic, asking)).toBeLessThan(0.5 * common(plain, tinyCritic));
});

test('a critic learns from fakes that were moved about, where the policy says so', async () => {
  const policy = tinyPolicy();
  const gan = openGan(ganConfigOf(policy));
  const zero = initialise(gan.generator.layout, 'test');
  const training = { engine, gan, ...tinyCritic, distribution: [1 / 3, 1 / 3, 1 / 3], seed: 'test' };
  const still = await trainCritic(training, zero);
  const moved = { rotate: 20, scale: 0.2, shear: 0.2, shift: 0.1 };
  expect(await trainCritic({ ...training, augment: moved }, zero)).not.toEqual(still);
  expect(await trainCritic({ ...training, augment: { rotate: 0, scale: 0, shear: 0, shift: 0 } }, zero)).toEqual(still);
});

test('a policy without a moment round fits none', async () => {
  const policy = tinyPolicy({ warmStart: null });
  const plan = { ...planFor(policy, 0), kind: 'moments' as const };
  await using(policy, async (t) => {
    const state = await t.initialState();
    expect(await refusalOf(() => t.fitMoments(state, plan, new Float64Array(3), silent))).toMatch(/^PARAMETER_INVALID/);
    expect(await refusalOf(() => t.updateLength(plan))).toMatch(/^PARAMETER_INVALID/);
  });
});

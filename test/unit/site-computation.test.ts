/** What a site's computation refuses, and what of its results depends on what. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine, Program } from '../../shared/engine/program.ts';
import { initialise } from '../../shared/gan/layout.ts';
import { discriminatorFromBytes, discriminatorToBytes } from '../../shared/gan/noised-discriminator.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { selectImages } from '../../shared/imaging/images.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { ganConfigOf } from '../../shared/policy/views.ts';
import { publicBytes } from '../../shared/public-random.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { asPrivateImages, type PrivateImages } from '../../site-agent/imaging/private-images.ts';
import { DpSiteComputation } from '../../site-agent/site-computation.ts';
import { l2 } from '../support/gan-rig.ts';
import { CLASSES, phantomSite, planFor, refusalOf, tinyPolicy } from '../support/glue-rig.ts';

const policy = tinyPolicy();
const gan = openGan(ganConfigOf(policy));
const generator = initialise(gan.generator.layout, 'generator');
const plan = planFor(policy, 1);
const images = phantomSite();
/** Other patients, other labels, other pixels. */
const others = phantomSite({ patients: 7, seed: 'others', classes: ['hand', 'chest', 'head-ct'] });
const relabelled = asPrivateImages({ ...others, classNames: CLASSES }, true);

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

interface Over {
  readonly policy?: CheckedPolicy;
  readonly siteId?: string;
  readonly images?: PrivateImages;
  readonly random?: RandomBytes;
  readonly engine?: Engine;
}
const open = (over: Over = {}) =>
  DpSiteComputation.open({ engine, policy, siteId: 'site-1', images, random: publicBytes('noise'), ...over });

/** Opens, uses and disposes. */
async function using<T>(over: Over, body: (c: DpSiteComputation) => Promise<T>): Promise<T> {
  const computation = await open(over);
  try {
    return await body(computation);
  } finally {
    await computation.dispose();
  }
}
const stepOnce = (over: Over = {}, at = plan) =>
  using(over, async (c) => c.discriminatorStep(await c.initialState(at), at, generator));
/** Nobody is drawn: the first bytes asked for are the sampler's, and all ones are above every rate. */
function nobodyJoins(seed: string): RandomBytes {
  const rest = publicBytes(seed);
  let first = true;
  return (out) => {
    if (first) out.fill(255);
    else rest(out);
    first = false;
  };
}

test('images that do not fit the policy are refused before anything is computed', async () => {
  const refusal = (over: Over) => refusalOf(() => open(over));
  expect(await refusal({ images: phantomSite({ size: 32 }) })).toMatch(/^DATASET_INVALID: images are not 1 x 28 x 28/);
  expect(await refusal({ images: phantomSite({ channels: 3 }) })).toMatch(/^DATASET_INVALID: images are not/);
  expect(await refusal({ images: others })).toMatch(/^DATASET_INVALID: classes are hand, chest/);
  expect(await refusal({ images: phantomSite({ patients: 25 }) })).toMatch(/^DATASET_INVALID: more patients than.* 24/);
  const partly = tinyPolicy({ sites: { 'site-1': { classes: ['chest', 'hand'] } } });
  expect(await refusal({ policy: partly })).toMatch(/^DATASET_INVALID: holds class "head-ct"/);
  // Another site, which the policy does not name, declares them all.
  expect(await refusal({ policy: partly, siteId: 'site-2' })).toBe('no error');
});

test('an empty batch takes a noised step like any other, and shows nothing of the site', async () => {
  const before = await using({}, (c) => c.initialState(plan));
  const empty = await stepOnce({ random: nobodyJoins('a') });
  const [from, to] = [before, empty.state].map((b) => discriminatorFromBytes(b, gan.discriminator.layout.length));
  expect(to.step).toBe(1);
  expect(to.parameters.every((w, i) => w !== from.parameters[i])).toBe(true);
  // The same noise at a site of 7 patients, not 24, is the same step: nobody was in it, and no true count divides it.
  const elsewhere = await stepOnce({ images: relabelled, random: nobodyJoins('a') });
  expect(elsewhere.state).toEqual(empty.state);
  expect((await stepOnce({ random: nobodyJoins('b') })).state).not.toEqual(empty.state);
  // Positive control: where patients join, other images are another step.
  expect((await stepOnce({ images: relabelled })).state).not.toEqual((await stepOnce()).state);
});

/** An engine that keeps what every fake was generated from, and what came of it. */
function watchingFakes(): { engine: Engine; seen: unknown[] } {
  const seen: unknown[] = [];
  const compile: Engine['compile'] = async (name, fn, inputs) => {
    const program = await engine.compile(name, fn, inputs);
    if (!name.startsWith('sampler')) return program;
    const watched: Program = {
      name,
      inputs: program.inputs,
      outputs: program.outputs,
      async run(feeds) {
        const out = await program.run(feeds);
        seen.push({ latents: feeds['latents'], labels: feeds['labels'], images: out['images'] });
        return out;
      },
      dispose: () => program.dispose(),
    };
    return watched;
  };
  return { engine: { name: engine.name, compile, dispose: async () => undefined }, seen };
}

test('fakes depend on public inputs alone: other images, labels and noise draw the same ones', async () => {
  const fakesOf = async (over: Over, at = plan) => {
    const watch = watchingFakes();
    const { fakes } = await stepOnce({ ...over, engine: watch.engine }, at);
    expect(watch.seen.length).toBeGreaterThan(0);
    return { drawn: watch.seen, fakes };
  };
  const here = await fakesOf({});
  expect(await fakesOf({ images: relabelled, random: publicBytes('other noise') })).toEqual(here);
  // Positive controls: what is public does move them.
  expect((await fakesOf({}, planFor(policy, 2))).drawn).not.toEqual(here.drawn);
  expect((await fakesOf({ siteId: 'site-2' })).drawn).not.toEqual(here.drawn);
});

test('a state goes through bytes unchanged, and a step changes only the state it returns', async () => {
  await using({}, async (c) => {
    const first = await c.initialState(plan);
    const copy = Uint8Array.from(first);
    const { state } = await c.discriminatorStep(first, plan, generator);
    expect(first).toEqual(copy);
    const d = gan.discriminator.layout.length;
    expect(discriminatorToBytes(discriminatorFromBytes(state, d))).toEqual(state);
    expect(await refusalOf(() => c.discriminatorStep(state.slice(1), plan, generator))).toMatch(/^STORE_CORRUPT/);
  });
  expect(await using({ images: relabelled, siteId: 'site-2' }, (c) => c.initialState(plan))).toEqual(
    await using({}, (c) => c.initialState(plan)),
  );
});

test('where the policy’s rates fall, the discriminator’s step is shorter in the last round', async () => {
  const falling = tinyPolicy({ training: { rounds: 5, rateDecay: { from: 0.5, to: 0.1 } } });
  const length = (round: number) =>
    using({ policy: falling }, async (c) => {
      const at = planFor(falling, round);
      const [before, after] = [
        await c.initialState(at),
        (await c.discriminatorStep(await c.initialState(at), at, generator)).state,
      ];
      const [from, to] = [before, after].map(
        (b) => discriminatorFromBytes(b, gan.discriminator.layout.length).parameters,
      );
      return l2(to.map((w, i) => w - from[i]));
    });
  // Adam's first step has the length of its rate, whatever the gradient.
  const [first, last] = [await length(1), await length(5)];
  expect(last / first).toBeGreaterThan(0.08);
  expect(last / first).toBeLessThan(0.12);
});

test('the generator’s gradient is a function of state and plan, clipped to the policy’s norm', async () => {
  const { state } = await stepOnce();
  const here = await using({}, (c) => c.generatorGradient(state, plan, generator));
  const later = await using({ images: relabelled, random: publicBytes('other') }, (c) =>
    c.generatorGradient(state, plan, generator),
  );
  expect(later).toEqual(here);
  expect(here.update.length).toBe(gan.generator.layout.length);
  const norm = l2(here.update);
  expect(norm).toBeLessThanOrEqual(policy.privacy.generatorClipNorm);
  expect(norm).toBeGreaterThan(0.99 * policy.privacy.generatorClipNorm);
  // Positive control: with a wide clip the gradient is longer than that, so the clip was at work.
  const wide = tinyPolicy({ privacy: { generatorClipNorm: 100 } });
  const loose = await using({ policy: wide }, (c) => c.generatorGradient(state, plan, generator));
  expect(l2(loose.update)).toBeGreaterThan(2 * policy.privacy.generatorClipNorm);
});

test('classes a site does not declare get no gradient of it', async () => {
  const partly = tinyPolicy({ sites: { 'site-1': { classes: ['chest', 'hand'] } } });
  const at = planFor(partly, 1);
  expect(at.declarers).toEqual([2, 2, 1]);
  const two = asPrivateImages(
    selectImages(
      images,
      [...images.labels.keys()].filter((i) => images.labels[i] < 2),
    ),
    true,
  );
  const rowOf = (update: Float32Array, label: number) => {
    const { offset } = gan.generator.layout.entries.find((e) => e.name.startsWith('hidden') && e.shape.length === 2)!;
    const width = 8;
    return update.subarray(offset + (4 + label) * width, offset + (5 + label) * width);
  };
  await using({ policy: partly, images: two }, async (c) => {
    const { update } = await c.generatorGradient(await c.initialState(at), at, generator);
    expect([...rowOf(update, 2)]).toEqual(new Array(8).fill(0));
    expect(l2(rowOf(update, 0))).toBeGreaterThan(0);
  });
});

/** Standard deviation of what a site without any patient sends in the moment round. */
async function momentStd(noiseMultiplier: number): Promise<number> {
  const blocks = [{ on: 'pixels', bandwidth: 5, frequencies: 512, weight: 1 }];
  const features = { kind: 'fourier', seed: 'noise', blocks };
  const noisy = tinyPolicy({ warmStart: { features, noiseMultiplier } });
  const nobody = asPrivateImages(selectImages(images, []), true);
  return using({ policy: noisy, images: nobody }, async (c) => {
    const sum = await c.noisedMoments(planFor(noisy, 0), null);
    expect(sum.length).toBe(3 * 1025);
    return l2(sum) / Math.sqrt(sum.length);
  });
}

test('the moment round’s noise has the policy’s scale, also where there is nobody', async () => {
  // 3,075 draws: their spread is known to 1.3 %, so 6 % is more than four of its standard deviations.
  const near = (std: number, sigma: number) => Math.abs(std / sigma - 1) < 0.06;
  expect(near(await momentStd(2), 2)).toBe(true);
  // Positive control: noise a tenth too small is seen.
  expect(near(await momentStd(1.8), 2)).toBe(false);
});

test('events name the site’s own rate and the policy’s noise; a moment round needs a policy that has one', async () => {
  const own = tinyPolicy({ sites: { 'site-1': { classes: [...CLASSES], sampleRate: 0.25, expectedBatch: 6 } } });
  await using({ policy: own }, async (c) => {
    expect(c.discriminatorEvent()).toMatchObject({ kind: 'poisson-gaussian', sampleRate: 0.25, noiseMultiplier: 1 });
    expect(c.momentEvent()).toMatchObject({ kind: 'gaussian', noiseMultiplier: 2, count: 1 });
  });
  const plain = tinyPolicy({ warmStart: null });
  await using({ policy: plain }, async (c) => {
    expect(await refusalOf(() => c.momentEvent())).toMatch(/^PARAMETER_INVALID/);
    expect(await refusalOf(() => c.noisedMoments(planFor(plain, 0), null))).toMatch(/^PARAMETER_INVALID/);
  });
});

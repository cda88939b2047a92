/** A whole run in one process, on real networks: it ends, it adds up, it resumes, and skewed sites teach every class. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { balancedLabels } from '../../cli/run-folder.ts';
import { calibrated, sampleImages } from '../../shared/gan/released-images.ts';
import { simulate } from '../../cli/simulation.ts';
import { GanGeneratorTrainer } from '../../coordinator/gan-generator-trainer.ts';
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import { packFloat32 } from '../../shared/aggregation/clear.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import type { PrivacyEvent } from '../../shared/dp/event.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { imageAt, type LabelledImages } from '../../shared/imaging/images.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { splitBySite } from '../../shared/imaging/split.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { labelDistribution } from '../../shared/policy/views.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { asPrivateImages, type PrivateImages } from '../../site-agent/imaging/private-images.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { CLASSES, phantomSite, refusalOf, tinyCritic, tinyPolicy } from '../support/glue-rig.ts';

let engine: Engine;
const folders: string[] = [];
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(async () => {
  for (const folder of folders) rmSync(folder, { recursive: true });
  await engine.dispose();
});
const newFolder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'veilgan-simulation-')));
  return folders.at(-1)!;
};
/** The engine of these tests, with another way to compile. */
const compilingWith = (compile: Engine['compile']): Engine => ({
  ...engine,
  name: engine.name,
  dispose: async () => undefined,
  compile,
});
const sitesOf = (n: number) =>
  new Map<string, PrivateImages>(
    Array.from({ length: n }, (_, i) => [`site-${i + 1}`, phantomSite({ site: `site-${i + 1}`, imagesPerPatient: 2 })]),
  );

test('a run ends, its log verifies, its ledgers hold every step, and a second call has nothing left to do', async () => {
  const policy = tinyPolicy();
  const folder = newFolder();
  const events: CoordinatorEvent[] = [];
  const run = (over: Partial<Parameters<typeof simulate>[0]> = {}) =>
    simulate({ policy, sites: sitesOf(2), engine, folder, onEvent: (e) => events.push(e), ...over });
  const first = await run();

  const head = headOfEntries(first.log);
  expect(head.size).toBe(first.log.length);
  expect(first.log.at(-1)).toMatchObject({ kind: 'run-finished', body: { outcome: 'completed', rounds: 3 } });
  expect(events.filter((e) => e.kind === 'round-closed').map((e) => e.contributors.length)).toEqual([2, 2, 2]);
  const fakes = events.filter((e) => e.kind === 'round-closed').map((e) => e.fakes);
  expect(fakes[0]).toBeNull();
  expect(fakes.slice(1).every((f) => f !== null && f.fakeAccuracy >= 0 && f.fakeAccuracy <= 1)).toBe(true);

  // The moment release, the warm-up step, and one step in each of two rounds.
  for (const siteId of ['site-1', 'site-2']) {
    const ledger = new Ledger(join(folder, 'sites', siteId, 'ledger.sqlite'));
    const kinds = ledger.entries(first.runId).map((e) => (e.event as PrivacyEvent).kind);
    expect(kinds).toEqual(['gaussian', 'poisson-gaussian', 'poisson-gaussian', 'poisson-gaussian']);
    ledger.close();
    expect(first.epsilon.get(siteId)).toBeGreaterThan(0);
    expect(first.epsilon.get(siteId)).toBeLessThan(1e6);
  }

  events.length = 0;
  const second = await run();
  expect(second.generator).toEqual(first.generator);
  expect(second.log).toEqual(first.log);
  expect(second.epsilon).toEqual(first.epsilon);
  expect(events.filter((e) => e.kind === 'round-opened')).toEqual([]);

  expect(await refusalOf(() => run({ policy: tinyPolicy({ training: { rounds: 3 } }) }))).toMatch(/^POLICY_MISMATCH/);
  expect(await refusalOf(() => run({ sites: sitesOf(3) }))).toMatch(/^POLICY_MISMATCH/);
  expect(await refusalOf(() => run({ sites: sitesOf(1) }))).toMatch(/^POLICY_MISMATCH/);
  writeFileSync(join(folder, 'simulation.json'), '{"runId":');
  expect(await refusalOf(() => run())).toMatch(/^STORE_CORRUPT.*simulation\.json is not JSON/);
});

test('critic rounds: each is a plan with its critic, an entry in every ledger, and a generator', async () => {
  const policy = tinyPolicy({ warmStart: { noiseMultiplier: 0.1, critic: tinyCritic } });
  const folder = newFolder();
  const plans: RoundPlan[] = [];
  const { runId, generator, log } = await simulate({
    policy,
    sites: sitesOf(2),
    engine,
    folder,
    onEvent: (e) => e.kind === 'round-opened' && plans.push(e.plan),
  });
  expect(plans.map((p) => p.kind)).toEqual(['moments', 'moments', 'moments', 'generator', 'generator']);
  const critics = plans.map((p) => p.criticSha256);
  expect(critics.map((sha256) => sha256 !== null)).toEqual([false, true, true, false, false]);
  expect(critics[1]).not.toBe(critics[2]);
  expect(log.filter((e) => e.kind === 'generator-updated')).toHaveLength(5);
  for (const siteId of ['site-1', 'site-2']) {
    const ledger = new Ledger(join(folder, 'sites', siteId, 'ledger.sqlite'));
    const entries = ledger.entries(runId).map((e) => (e.event as PrivacyEvent).kind);
    expect(entries.slice(0, 4)).toEqual(['gaussian', 'gaussian', 'gaussian', 'poisson-gaussian']);
    expect(entries).toHaveLength(6);
    ledger.close();
  }
  // What the plans named is what the generator was fitted to.
  const fitted = generator.moments.map(({ critic }) => (critic ? sha256Hex(packFloat32(critic)) : null));
  expect(fitted).toEqual(critics.slice(0, 3));
  // Not the same sum again: the features are others.
  expect(generator.moments[1].targets.means).not.toEqual(generator.moments[2].targets.means);
});

test('a site that fails ends the run with its reason, and the next call goes on from there', async () => {
  const policy = tinyPolicy();
  const folder = newFolder();
  let compiled = 0;
  let broken = true;
  // The second program that runs a discriminator's gradient is some site's: it breaks in the middle of a round.
  const fragile = compilingWith(async (name, fn, inputs) => {
    const program = await engine.compile(name, fn, inputs);
    if (!name.startsWith('sampler') || ++compiled !== 2) return program;
    return Object.assign(Object.create(program) as typeof program, {
      inputs: program.inputs,
      outputs: program.outputs,
      dispose: () => program.dispose(),
      run: async (feeds: Parameters<typeof program.run>[0]) => {
        if (broken) throw new Error('the disk is full');
        return program.run(feeds);
      },
    });
  });
  await expect(simulate({ policy, sites: sitesOf(2), engine: fragile, folder })).rejects.toThrow('the disk is full');
  broken = false;
  const { log } = await simulate({ policy, sites: sitesOf(2), engine, folder });
  headOfEntries(log);
  expect(log.at(-1)).toMatchObject({ kind: 'run-finished', body: { outcome: 'completed' } });
  expect(readdirSync(folder).sort()).toEqual(expect.arrayContaining(['simulation.json', 'sites']));
});

test('a run that was interrupted after it had paid, with nothing to spare, says so where it used to wait for ever', async () => {
  const policy = tinyPolicy();
  const folder = newFolder();
  let broken = true;
  const fragile = compilingWith(async (name, fn, inputs) => {
    if (broken && name === 'moment-sums') throw new Error('the power went');
    return engine.compile(name, fn, inputs);
  });
  const run = () => simulate({ policy, sites: sitesOf(2), engine: fragile, folder });
  await expect(run()).rejects.toThrow('the power went');
  broken = false;
  const refused = await refusalOf(run);
  expect(refused).toMatch(/^ROUND_VOID/);
  expect(refused).toMatch(/site-1 \(BUDGET_EXHAUSTED\).* declined for good, \d of at least 2 sites are left/);
});

/** Share of each class's images that lie nearest to their own class's mean in `reference`. [classes] */
function nearestMeanAgreement(images: LabelledImages, reference: LabelledImages): number[] {
  const d = reference.channels * reference.size ** 2;
  const means = reference.classNames.map(() => new Float64Array(d));
  const counts = new Float64Array(means.length);
  reference.labels.forEach((k, i) => {
    counts[k]++;
    imageAt(reference, i).forEach((x, j) => (means[k][j] += x));
  });
  means.forEach((mean, k) => mean.forEach((x, j) => (mean[j] = x / counts[k])));
  const [right, all] = [new Float64Array(means.length), new Float64Array(means.length)];
  images.labels.forEach((label, i) => {
    const image = imageAt(images, i);
    const far = means.map((mean) => mean.reduce((sum, m, j) => sum + (m - image[j]) ** 2, 0));
    all[label]++;
    if (far.indexOf(Math.min(...far)) === label) right[label]++;
  });
  return Array.from(right, (r, k) => r / all[k]);
}

/** Images from a generator's weights, as they would be released. */
async function imagesFrom(policy: CheckedPolicy, weights: Float32Array): Promise<LabelledImages> {
  const { gan } = new GanGeneratorTrainer(engine, policy);
  const statistics = await calibrated(engine, gan, weights, labelDistribution(policy));
  const labels = balancedLabels(60, 3);
  return sampleImages({ engine, gan, weights, statistics, labels, classNames: policy.model.classes, seed: 'look' });
}

test('three sites, each without one of the three classes, teach the generator all of them', async () => {
  const phantoms = phantomImages({ size: 28, channels: 1, patients: 240, classes: CLASSES, seed: 'skew' });
  const split = splitBySite(phantoms, { sites: 3, seed: 'skew', skew: { kind: 'missing-class' }, testFraction: 0.2 });
  const sites = new Map(split.sites.map((s, i) => [`site-${i + 1}`, asPrivateImages(s, true)]));
  const declared = Object.fromEntries(
    [...sites.keys()].map((id, s) => [id, { classes: CLASSES.filter((_, k) => k !== s) }]),
  );
  for (const [i, own] of [...sites.values()].entries()) expect(own.labels.includes(i)).toBe(false);
  const on = { on: 'pixels', frequencies: 200, weight: 1 };
  const blocks = [10, 20].map((bandwidth) => ({ ...on, bandwidth }));
  const features = { kind: 'fourier', seed: 'skew', blocks };
  const policy = tinyPolicy({
    sites: declared,
    minSites: 3,
    model: { generatorWidth: 32 },
    training: { rounds: 10, lrG: 0.001, momentWeight: 1 },
    privacy: { sampleRate: 0.2, expectedBatch: 16, maxBatch: 80, generatorClipNorm: 1 },
    warmStart: { noiseMultiplier: 0.2, fitSteps: 400, fitBatch: 48, lr: 0.005, features },
  });
  const { generator, log } = await simulate({ policy, sites, engine, folder: newFolder() });
  expect(log.filter((e) => e.kind === 'generator-updated')).toHaveLength(11);
  const agreement = nearestMeanAgreement(await imagesFrom(policy, generator.average), split.test);
  for (const share of agreement) expect(share).toBeGreaterThan(0.8);

  // Positive control: the measure does not praise a generator that has learnt nothing.
  const trainer = new GanGeneratorTrainer(engine, policy);
  const untrained = trainer.decode(await trainer.initialState()).weights;
  expect(Math.min(...nearestMeanAgreement(await imagesFrom(policy, untrained), split.test))).toBeLessThan(0.5);
});

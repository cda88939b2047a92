/** What a finished run leaves behind, read the way a stranger would: plain tools, no code of ours. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { balancedLabels, finishRun, type FinishOptions, type RunSummary } from '../../cli/run-folder.ts';
import { calibrated } from '../../shared/gan/released-images.ts';
import { simulate } from '../../cli/simulation.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import { canonicalJson, sha256Hex } from '../../shared/audit/canonical.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { drawFakeInputs, oneHot } from '../../shared/gan/batch.ts';
import { GeneratorCard } from '../../shared/gan/export.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { Sampler } from '../../shared/gan/sampler.ts';
import { readArrayDataset } from '../../shared/imaging/array-dataset.ts';
import { loadPolicyText, policySha256 } from '../../shared/policy/load.ts';
import { ganConfigOf, labelDistribution } from '../../shared/policy/views.ts';
import { asPrivateImages } from '../../site-agent/imaging/private-images.ts';
import { difference } from '../support/engine-oracle.ts';
import { phantomSite, refusalOf, tinyPolicy } from '../support/glue-rig.ts';

/** A name that HTML, Markdown and file systems each have something against. */
const AWKWARD = 'a<b> & "c" | ../d';
const classes = ['chest', AWKWARD];
const policy = tinyPolicy({
  id: 'demo-tiny',
  classes,
  model: { architecture: 'smooth-dcgan', generatorWidth: 2, discriminatorWidth: 2 },
  training: { rounds: 1 },
  warmStart: null,
  minSites: 1,
});
const phantoms = (seed: string) => ({
  ...phantomSite({ seed, classes: ['chest', 'hand'], patients: 24 }),
  classNames: classes,
});
const IMAGES = 20;

let engine: Engine;
let folder: string;
let options: FinishOptions;
let summary: RunSummary;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
  folder = mkdtempSync(join(tmpdir(), 'veilgan-folder-'));
  const sites = new Map([['site-1', asPrivateImages(phantoms('site'), true)]]);
  const result = await simulate({ policy, sites, engine, folder: join(folder, 'parties') });
  const test = phantoms('test');
  options = {
    ...result,
    ...{ folder, policy, engine, images: IMAGES, seconds: 1.5 },
    ...{ files: 'all', reference: test, referenceName: '<i>drawn</i>', publicTest: test, publicTrain: null },
  };
  summary = await finishRun(options);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await engine.dispose();
});
const textOf = (name: string) => readFileSync(join(folder, name), 'utf8');
const bytesOf = (name: string) => readFileSync(join(folder, name));

/** Ten lines of plain ONNX Runtime: latent vectors and labels in, images out. */
async function plainly(latents: Float32Array, labels: Int32Array): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(join(folder, 'generator.onnx'));
  const { images } = await session.run({
    latents: new ort.Tensor('float32', latents, [labels.length, 4]),
    labels: new ort.Tensor('float32', oneHot(labels, 2), [labels.length, 2]),
  });
  expect(images.dims).toEqual([labels.length, 1, 28, 28]);
  return images.data as Float32Array;
}
const released = () => ({
  labels: balancedLabels(IMAGES, 2),
  latents: drawFakeInputs(IMAGES, 4, [0.5, 0.5], `release ${options.runId}`).latents,
});

test('every file is there, and they agree with each other', () => {
  const files = ['generator.json', 'generator.onnx', 'images', 'log.jsonl', 'parties', 'policy.json'];
  expect(readdirSync(folder).sort()).toEqual([
    ...files,
    ...['summary.html', 'summary.json', 'summary.md', 'synthetic.png'],
  ]);
  expect(readdirSync(join(folder, 'images')).sort()).toEqual(['a_b_c_d', 'chest', 'labels.csv', 'synthetic.npz']);
  expect(readdirSync(join(folder, 'images', 'chest'))).toHaveLength(IMAGES / 2);
  const card = GeneratorCard.parse(JSON.parse(textOf('generator.json')));
  expect(card.sha256).toBe(sha256Hex(bytesOf('generator.onnx')));
  expect(card).toMatchObject({ classes, runId: options.runId, policySha256: policySha256(policy), latent: 4 });
  expect(policySha256(loadPolicyText(textOf('policy.json'), { availableSchemes: ['clear'] }))).toBe(card.policySha256);
  expect(bytesOf('synthetic.png').subarray(1, 4).toString()).toBe('PNG');
  expect(JSON.parse(textOf('summary.json'))).toEqual(summary);
  expect(summary).toMatchObject({ rounds: 1, images: IMAGES, real: null, epsilon: [{ siteId: 'site-1' }] });
  expect(summary.synthetic!.accuracy).toBeGreaterThanOrEqual(0);
});

test('the model gives the images of the archive in plain ONNX Runtime, to 8-bit rounding', async () => {
  const { latents, labels } = released();
  const images = await plainly(latents, labels);
  const options = { size: 28, channels: 1, classes, onBadFile: 'refuse' } as const;
  const { images: stored } = await readArrayDataset(join(folder, 'images', 'synthetic.npz'), options);
  expect(stored.labels).toEqual(labels);
  // Half a grey level, and a crumb for values that lie between two.
  expect(difference(images, stored.pixels)).toBeLessThan(0.5 / 127.5 + 1e-4);
  // Positive control: the images of other latent vectors are not those.
  expect(difference(await plainly(latents.toReversed(), labels), stored.pixels)).toBeGreaterThan(1 / 127.5);
});

test('the model gives the floats of the sampler it was made from', async () => {
  const gan = openGan(ganConfigOf(policy));
  const weights = options.generator.average;
  const statistics = await calibrated(engine, gan, weights, labelDistribution(policy));
  const sampler = await Sampler.open(engine, gan, 8, 'fixed');
  const inputs = released();
  const images = await sampler.images(weights, inputs, statistics);
  await sampler.dispose();
  expect(difference(await plainly(inputs.latents, inputs.labels), images)).toBeLessThan(1e-4);
});

test('the onnx package accepts the model', (context) => {
  const script = fileURLToPath(new URL('../support/onnx-check.py', import.meta.url));
  const { status, stdout, stderr } = spawnSync('/usr/bin/python3', [script, join(folder, 'generator.onnx')], {
    encoding: 'utf8',
  });
  if (status !== 0 && /No module named|^$/.test(stderr ?? '')) {
    console.log('skipped: there is no python3 with the onnx package on this machine');
    context.skip();
  }
  expect(stdout).toMatch(/^ok /);
});

test('the log leads to the root of the summary, which a changed line does not, and a missing line is found', async () => {
  const lines = textOf('log.jsonl').trimEnd().split('\n');
  const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(headOfEntries(entries)).toEqual({ size: summary.logEntries, root: summary.logHead });
  entries.forEach((entry, i) => expect(canonicalJson(entry)).toBe(lines[i]));
  expect(headOfEntries(options.log.with(1, { ...options.log[1], timeMs: 0 })).root).not.toBe(summary.logHead);
  const log = options.log.toSpliced(1, 1);
  expect(await refusalOf(() => finishRun({ ...options, log }))).toMatch(/^LOG_INVALID: entry 1/);
});

test('the page stands alone and shows names as names', () => {
  const page = textOf('summary.html');
  const picture = /src="data:image\/png;base64,([A-Za-z0-9+/=]+)"/.exec(page)!;
  expect(Buffer.from(picture[1], 'base64').equals(bytesOf('synthetic.png'))).toBe(true);
  const html = page.replace(picture[0], '');
  expect(html.match(/https?:|\/\/[a-z]|(?:src|href)=|<script|<link|@import|url\(/i)).toBeNull();
  expect(html).toContain('a&lt;b&gt; &amp; &quot;c&quot; | ../d');
  expect(html).not.toContain('a<b>');
  expect(html).not.toContain('<i>drawn');
  const tags = new Set([...html.matchAll(/<\/?([a-z0-9]+)/gi)].map((m) => m[1]));
  const expected = 'html head meta title style body h1 p img h2 table tr th td';
  expect([...tags]).toEqual(expected.split(' '));
  // In Markdown a bar inside a cell would start another one.
  const row = textOf('summary.md')
    .split('\n')
    .find((line) => line.includes('a\\<b>'))!;
  expect(row.split(/(?<!\\)\|/)).toHaveLength(5);
});

test('a second call on the same run leaves the same images', async () => {
  const before = ['images/synthetic.npz', 'images/labels.csv', 'generator.onnx', 'synthetic.png'].map(bytesOf);
  await finishRun({ ...options, publicTest: null });
  expect(['images/synthetic.npz', 'images/labels.csv', 'generator.onnx', 'synthetic.png'].map(bytesOf)).toEqual(before);
  expect(textOf('summary.md')).toContain('Not measured');
});

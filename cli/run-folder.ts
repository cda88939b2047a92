/**
 * What a run leaves behind: pictures, the generator as a file, images with labels, the log, and a summary that a person
 * reads. Everything here is made from the released generator, the public log and images declared public.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GanGeneratorTrainer, type GeneratorState } from '../coordinator/gan-generator-trainer.ts';
import { canonicalJson } from '../shared/audit/canonical.ts';
import type { LogEntry } from '../shared/audit/entry.ts';
import { headOfEntries } from '../shared/audit/log.ts';
import type { Engine } from '../shared/engine/program.ts';
import { calibrated, sampleImages } from '../shared/gan/released-images.ts';
import { gridPng, twoPanelPng } from '../shared/imaging/grid.ts';
import type { LabelledImages } from '../shared/imaging/images.ts';
import { writeDataset } from '../shared/imaging/write-dataset.ts';
import { epochsFor, type Utility, utility } from '../shared/metrics/utility.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { labelDistribution } from '../shared/policy/views.ts';
import { generatorFiles } from './generator-files.ts';
import { summaryHtml, summaryMarkdown } from './summary.ts';

export interface FinishOptions {
  /** The run folder. */
  readonly folder: string;
  readonly policy: CheckedPolicy;
  readonly runId: string;
  readonly engine: Engine;
  readonly generator: GeneratorState;
  readonly log: readonly LogEntry[];
  /** Epsilon each site stated last. */
  readonly epsilon: ReadonlyMap<string, number>;
  /** Real images declared public, or phantoms: shown beside the synthetic ones. Null: those are shown alone. */
  readonly reference: LabelledImages | null;
  /** What the reference images are, in two or three words. */
  readonly referenceName: string;
  /** Declared public: what utility is measured on. Null: nothing is measured. */
  readonly publicTest: LabelledImages | null;
  /** Public images for train-on-real, of the size a site has. Null where no such images are public. */
  readonly publicTrain: LabelledImages | null;
  /** Synthetic images to draw: they are shown and measured. */
  readonly images: number;
  /** Whether images and generator are written, or only what is said of them. */
  readonly files: 'all' | 'papers';
  /** Seconds the rounds took. */
  readonly seconds: number;
  readonly progress?: (what: string, share: number) => void;
}

/** What `finishRun` found out; the summary shows it. */
export interface RunSummary {
  readonly folder: string;
  readonly runId: string;
  readonly policySha256: string;
  readonly logHead: string;
  readonly logEntries: number;
  readonly rounds: number;
  readonly epsilon: readonly { readonly siteId: string; readonly epsilon: number }[];
  readonly synthetic: Utility | null;
  readonly real: Utility | null;
  readonly images: number;
  readonly seconds: number;
  readonly generatorParameters: number;
  readonly referenceName: string;
  readonly files: 'all' | 'papers';
}

/** n labels in turn: as many of each class as of any other. */
export const balancedLabels = (n: number, classes: number): Int32Array =>
  Int32Array.from({ length: n }, (_, i) => i % classes);

/**
 * Writes everything a finished run leaves: `synthetic.png`, `policy.json`, `log.jsonl`, `summary.md`, `summary.html`,
 * `summary.json`; and with `files: 'all'`, `generator.onnx` with `generator.json` and `images/`.
 *
 * @throws {FedError} LOG_INVALID when an entry is malformed or out of place: then nothing is written.
 */
export async function finishRun(o: FinishOptions): Promise<RunSummary> {
  const { policy, engine } = o;
  const head = headOfEntries(o.log);
  const { gan } = new GanGeneratorTrainer(engine, policy);
  const classNames = policy.model.classes;
  const distribution = labelDistribution(policy);
  const report = (what: string, share = 0) => o.progress?.(what, share);
  await mkdir(o.folder, { recursive: true });
  const write = (name: string, body: string | Uint8Array) => writeFile(join(o.folder, name), body);

  report('exporting');
  const weights = o.generator.average;
  const statistics = await calibrated(engine, gan, weights, distribution);
  const { model, card } = generatorFiles(gan, { weights, statistics }, o);
  if (o.files === 'all') {
    await write('generator.onnx', model);
    await write('generator.json', `${JSON.stringify(card, null, 2)}\n`);
  }

  report('sampling');
  const labels = balancedLabels(o.images, classNames.length);
  const images = await sampleImages({
    engine,
    gan,
    weights,
    statistics,
    labels,
    classNames,
    seed: `release ${o.runId}`,
  });
  // Left by an earlier call on the same run, whole or cut short: the same images come again.
  if (o.files === 'all') {
    await rm(join(o.folder, 'images'), { recursive: true, force: true });
    await writeDataset(join(o.folder, 'images'), images, {
      progress: (done, all) => report('writing images', done / all),
    });
  }
  const look = { columns: 8, enlarge: 'smooth' } as const;
  const picture = o.reference
    ? twoPanelPng({ images, title: 'synthetic' }, { images: o.reference, title: o.referenceName }, look)
    : gridPng(images, { ...look, title: 'synthetic' });
  await write('synthetic.png', picture);
  await write('policy.json', `${JSON.stringify(policy, null, 2)}\n`);
  await write('log.jsonl', o.log.map((entry) => `${canonicalJson(entry)}\n`).join(''));

  const measure = async (what: string, train: LabelledImages | null) =>
    train && o.publicTest
      ? utility(engine, train, o.publicTest, {
          epochs: epochsFor(train),
          seed: 'summary',
          progress: (s) => report(what, s),
        })
      : null;
  const summary: RunSummary = {
    folder: o.folder,
    runId: o.runId,
    policySha256: card.policySha256,
    logHead: head.root,
    logEntries: head.size,
    rounds: o.log.filter((e) => e.kind === 'generator-updated').length,
    epsilon: [...o.epsilon].sort().map(([siteId, epsilon]) => ({ siteId, epsilon })),
    synthetic: await measure('train on synthetic', images),
    real: await measure('train on real', o.publicTrain),
    images: images.n,
    seconds: o.seconds,
    generatorParameters: weights.length,
    referenceName: o.referenceName,
    files: o.files,
  };
  await write('summary.json', `${JSON.stringify(summary, null, 2)}\n`);
  await write('summary.md', summaryMarkdown(summary, policy));
  await write('summary.html', summaryHtml(summary, policy, picture));
  return summary;
}

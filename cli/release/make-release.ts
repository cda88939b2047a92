/** `veilgan release`: from a run's folder to a data set that other people's tools open, signed and in the log. */
import { existsSync, readdirSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { openTrainer } from '../../coordinator/gan-pooled-trainer.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import type { Clock } from '../../shared/clock.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { FedError } from '../../shared/errors.ts';
import { releasedValues, splitReleased } from '../../shared/gate/draw.ts';
import type { GeneratorCard } from '../../shared/gan/export.ts';
import { openGan } from '../../shared/gan/registry.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { gridPng } from '../../shared/imaging/grid.ts';
import { PNG_ENCODER } from '../../shared/imaging/png.ts';
import { epochsFor, utility } from '../../shared/metrics/utility.ts';
import { policySha256 } from '../../shared/policy/load.ts';
import { ganConfigOf, labelDistribution } from '../../shared/policy/views.ts';
import { type Balance, classCounts } from '../../shared/release/counts.ts';
import { croissant } from '../../shared/release/croissant.ts';
import { MANIFEST_FILE, type Metric, type ReleasedFile, recipeId, type ReleaseRecipe, SIGNATURE_FILE, signRelease } from '../../shared/release/manifest.ts'; // prettier-ignore
import { SOFTWARE, VERSION } from '../../shared/software.ts';
import { readRun, type StoredRun } from '../coordinator-status.ts';
import { html, markdown } from '../document.ts';
import { generatorFiles } from '../generator-files.ts';
import { type Speed, threadsOf } from '../options.ts';
import type { PublicSet } from '../public-set.ts';
import { datasheet } from './datasheet.ts';
import { Drawer, DRAW_BATCH, engineName, processorClass } from './draw.ts';
import type { Facts, ManifestFacts } from './facts.ts';
import { passGate, type Passed } from './gate.ts';
import { checkpointNow, logRelease } from './log-release.ts';
import { modelCard } from './model-card.ts';
import type { ReleaseSource } from './source.ts';
import { raiWords } from './rai-words.ts';
import { asLabelled, labelsCsv, medMnistNpz, writeImages, type WrittenImages } from './write-images.ts';

export interface ReleaseOptions extends Speed {
  /** New or empty. */
  readonly out: string;
  readonly count: { readonly perClass: number } | { readonly images: number; readonly balance: Balance };
  readonly files: 'png' | 'dicom';
  readonly bits: 8 | 16;
  readonly mark: 'none' | 'corner';
  readonly licence: string;
  readonly seed?: string;
  readonly title?: string;
  readonly creator?: string;
  readonly url?: string;
  readonly answers: Readonly<Record<string, string>>;
  /** What the images are tested on: the set that the policy calls public, by its words. Null: nothing is measured. */
  readonly test: (PublicSet & { readonly name: string }) | null;
  readonly clock: Clock;
  readonly progress: (share: number, what: string) => void;
}

export interface Released {
  readonly images: number;
  readonly release: string;
  readonly manifestSha256: string;
  readonly kid: string;
}

/**
 * Writes the folder, signs it and logs it. It appears under its name whole or not at all.
 * @throws {FedError} RELEASE_REFUSED by the policy's gate or its number of images, before anything is written;
 *   PARAMETER_INVALID; STORE_CORRUPT; LOG_INVALID.
 */
export async function makeRelease(source: ReleaseSource, o: ReleaseOptions): Promise<Released> {
  if (existsSync(o.out) && readdirSync(o.out).length > 0)
    throw new FedError('PARAMETER_INVALID', `${o.out} is not empty; a release takes a folder of its own`);
  const run = await readRun(source);
  const classes = classesOf(source, o);
  const gate = await passGate(source, run);
  await using open = new AsyncDisposableStack();
  const engine = open.adopt(await openEngine(o.engine, threadsOf(o)), (e) => e.dispose());
  o.progress(0, 'exporting the generator');
  const { model, card } = await released(source, run, gate, engine);
  const recipe: ReleaseRecipe = {
    format: 'veilgan-recipe/1',
    runId: source.runId,
    policySha256: card.policySha256,
    generatorSha256: run.generator.weights.sha256,
    modelSha256: card.sha256,
    seed: o.seed ?? `release ${source.runId}`,
    batch: DRAW_BATCH,
    classes,
    files: o.files,
    bits: o.bits,
    mark: o.mark,
    licence: o.licence,
    tool: `VeilGAN ${VERSION}`,
  };
  const parent = dirname(resolve(o.out));
  await mkdir(parent, { recursive: true });
  const staging = await mkdtemp(join(parent, '.veilgan-release-'));
  open.defer(() => rm(staging, { recursive: true, force: true }));

  const { kid } = source.keys;
  const drawer = open.use(await Drawer.open(model));
  const origin = { recipe, kid };
  const progress = (share: number) => o.progress(0.05 + 0.6 * share, 'drawing images');
  const images = await writeImages({ folder: staging, origin, card, drawer, progress });
  o.progress(0.65, 'measuring');
  const metrics = await measured(engine, images, card, o);

  o.progress(0.9, 'writing the papers');
  const facts = await factsOf(source, run, { recipe, metrics, gate: gate.record, engine: await engineName() }, o);
  const files = [...images.files, ...(await writePapers(staging, facts, { model, card, images }, o))];
  const manifest = { format: 'veilgan-release/2' as const, ...manifestOf(facts), files: sortedByName(files) };
  const { text, sha256, jws } = await signRelease(manifest, source.keys);
  await writeFile(join(staging, MANIFEST_FILE), text);
  await writeFile(join(staging, SIGNATURE_FILE), `${jws}\n`);
  const { generatorSha256 } = recipe;
  await logRelease(source, { text, sha256, generatorSha256, images: manifest.images }, o.clock);
  // Folders of this kind are made for their owner alone; what leaves is for others too.
  await chmod(staging, 0o755);
  if (existsSync(o.out)) await rmdir(o.out);
  await rename(staging, o.out);
  return { images: manifest.images, release: facts.recipeSha256, manifestSha256: sha256, kid };
}

/** Images a class, within what the policy lets leave. */
function classesOf({ policy }: ReleaseSource, { count }: ReleaseOptions): ReleaseRecipe['classes'] {
  const names = policy.model.classes;
  const counts =
    'perClass' in count
      ? names.map(() => count.perClass)
      : classCounts(names, labelDistribution(policy), count.balance, count.images);
  const total = counts.reduce((a, b) => a + b, 0);
  const { maxImages } = policy.release;
  if (total > maxImages)
    throw new FedError('RELEASE_REFUSED', `${total} images; the policy lets at most ${maxImages} leave in a release`);
  if (total === 0) throw new FedError('PARAMETER_INVALID', 'a release of no images');
  return names.map((name, k) => ({ name, images: counts[k] }));
}

/** The generator that leaves, as its file. */
async function released({ policy, runId }: ReleaseSource, { state }: StoredRun, { judged }: Passed, engine: Engine) {
  const gan = openGan(ganConfigOf(policy));
  if (judged !== null) return generatorFiles(gan, splitReleased(gan, judged), { policy, runId });
  const trainer = openTrainer(engine, policy);
  try {
    const values = await releasedValues(engine, policy, trainer.decode(state).average);
    return generatorFiles(gan, splitReleased(gan, values), { policy, runId });
  } finally {
    await trainer.dispose();
  }
}

async function measured(engine: Engine, images: WrittenImages, card: GeneratorCard, o: ReleaseOptions) {
  if (o.test === null) return [];
  const train = asLabelled(images, card);
  const report = (share: number) => o.progress(0.65 + 0.25 * share, 'measuring');
  const found = await utility(engine, train, o.test.images, { epochs: epochsFor(train), seed: 'summary', progress: report }); // prettier-ignore
  const on = `${o.test.name}, ${o.test.images.n} images that the policy calls public: ${o.test.source}`;
  const say = 'accuracy on real images of a small classifier trained on these images alone (TSTR)';
  const perClass = card.classes.map((name, k): Metric => ({
    name: `train on synthetic, test on real: ${name}`,
    value: Number.isFinite(found.perClass[k]) ? found.perClass[k] : null,
    on,
    say: 'the same, of this class',
  }));
  return [{ name: 'train on synthetic, test on real', value: found.accuracy, on, say }, ...perClass];
}

async function factsOf(
  source: ReleaseSource,
  run: StoredRun,
  made: Pick<ManifestFacts, 'recipe' | 'metrics' | 'gate'> & { engine: string },
  o: ReleaseOptions,
): Promise<Facts> {
  const { policy, keys, runId } = source;
  const { recipe, metrics, gate } = made;
  const head = await checkpointNow(source);
  const { privacy } = policy;
  const noised = privacy.mechanism === 'dp-sgd';
  const sites = [...run.epsilon].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    ...{ runId, policySha256: policySha256(policy), generatorSha256: recipe.generatorSha256 },
    images: recipe.classes.reduce((sum, c) => sum + c.images, 0),
    ...{ recipe, recipeSha256: recipeId(recipe) },
    made: {
      software: SOFTWARE,
      engine: made.engine,
      processor: processorClass(),
      encoder: o.files === 'png' ? PNG_ENCODER : `veilgan-dicom/1`,
      date: new Date(o.clock.now()).toISOString().slice(0, 10),
    },
    log: {
      entries: head.size,
      ...{ root: head.root, checkpoint: head.checkpoint },
      outcome: run.outcome ?? 'unfinished',
      rounds: run.log.filter((e) => e.kind === 'generator-updated').length,
    },
    epsilon: {
      bound: noised ? privacy.epsilon : null,
      delta: noised ? privacy.delta : null,
      sites: sites.map(([siteId, epsilon]) => ({ siteId, epsilon: Number.isFinite(epsilon) ? epsilon : null })),
    },
    metrics,
    gate,
    signer: { kid: keys.kid, key: publicPart(keys.signing) },
    policy,
    title: o.title ?? `Synthetic images of run ${runId.slice(0, 8)}, policy ${policy.id}`,
    creator: o.creator ?? `The consortium of policy ${policy.id}`,
    url: o.url ?? `urn:veilgan:release:${recipeId(recipe)}`,
    answers: o.answers,
  };
}

/** Without what the papers are written from besides. */
function manifestOf(facts: Facts): ManifestFacts {
  const { policy: _p, title: _t, creator: _c, url: _u, answers: _a, ...manifest } = facts;
  return manifest;
}

const SAMPLES_PER_CLASS = 12;

/** Everything but the images and the manifest. */
async function writePapers(
  folder: string,
  facts: Facts,
  of: { model: Uint8Array; card: GeneratorCard; images: WrittenImages },
  o: ReleaseOptions,
): Promise<ReleasedFile[]> {
  const { model, card, images } = of;
  const files: ReleasedFile[] = [];
  const write = async (name: string, body: string | Uint8Array) => {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    await writeFile(join(folder, name), bytes, { flag: 'wx' });
    files.push({ name, sha256: sha256Hex(bytes), bytes: bytes.length });
  };
  const columns = Math.min(SAMPLES_PER_CLASS, Math.max(...facts.recipe.classes.map((c) => c.images)));
  const samples = gridPng(asLabelled(images, card, columns), { columns });
  const sheet = datasheet({ facts, samples });
  await write('labels.csv', labelsCsv(images, card.classes));
  await write('synthetic.npz', await medMnistNpz(images, card));
  await write('generator.onnx', model);
  await write('generator.json', `${JSON.stringify(card, null, 2)}\n`);
  await write('model-card.md', markdown(modelCard(facts, card)));
  await write('samples.png', samples);
  await write('datasheet.md', markdown(sheet));
  await write('datasheet.html', html(sheet));
  await write('policy.json', `${JSON.stringify(facts.policy, null, 2)}\n`);
  const description = croissant({
    name: facts.title,
    description: `${facts.images} synthetic medical images of ${card.classes.length} classes, drawn from a generator that ${facts.epsilon.sites.length} sites trained together. No image shows a patient. See datasheet.md.`,
    ...{ url: facts.url, licence: o.licence, creator: facts.creator, date: facts.made.date },
    ...{ release: facts.recipeSha256, classes: card.classes, files: o.files, listed: [...files] },
    words: raiWords(facts),
  });
  await write('croissant.json', `${JSON.stringify(description, null, 2)}\n`);
  return files;
}

const sortedByName = (files: readonly ReleasedFile[]): ReleasedFile[] =>
  files.toSorted((a, b) => (a.name < b.name ? -1 : 1));

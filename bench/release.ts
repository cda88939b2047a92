import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Drawer, DRAW_BATCH } from '../cli/release/draw.ts';
import { renderer, samplesOf } from '../cli/release/render.ts';
import { drawOf, labelsCsv, medMnistNpz, writeImages } from '../cli/release/write-images.ts';
import { generatorFiles } from '../cli/generator-files.ts';
import { sha256Hex } from '../shared/audit/canonical.ts';
import { FedError } from '../shared/errors.ts';
import { openGan } from '../shared/gan/registry.ts';
import { loadPolicy } from '../shared/policy/load.ts';
import { ganConfigOf } from '../shared/policy/views.ts';
import { PublicRandom } from '../shared/public-random.ts';
import type { ReleaseRecipe } from '../shared/release/manifest.ts';
import { labelsInTurn } from '../shared/release/counts.ts';
import { readPolicy } from '../cli/options.ts';
import type { Bench, BenchRow } from './run.ts';

const IMAGES = 10_000;
const TARGET_SECONDS = 60;

/**
 * Images of a generator with random weights, noise for the encoder to struggle with, as a release writes them: drawn, encoded with their marks, hashed and written; with
 * labels and npz. The parts are measured once more by themselves, on the first batches.
 * @param args - a number of images; 10,000 without one.
 */
async function run(args: string[], report: (row: BenchRow) => void): Promise<void> {
  const images = args[0] === undefined ? IMAGES : Number(args[0]);
  if (args.length > 1 || !Number.isInteger(images) || images < DRAW_BATCH)
    throw new FedError('PARAMETER_INVALID', `bench release takes a number of images, at least ${DRAW_BATCH}`);
  for (const size of [28, 64] as const) await measure(size, images, report);
}

async function measure(imageSize: 28 | 64, images: number, report: (row: BenchRow) => void): Promise<void> {
  const base = readPolicy(path.join(import.meta.dirname, '../policies/demo-insecure.json'));
  const policy = loadPolicy({ ...base, model: { ...base.model, imageSize } }, { availableSchemes: ['clear'] });
  const gan = openGan(ganConfigOf(policy));
  const draws = new PublicRandom('bench release');
  const weights = draws.gaussians(gan.generator.layout.length).map((x) => 0.5 * x);
  const statistics = new Float32Array(gan.generator.statistics.length).fill(1);
  const runId = '00000000-0000-4000-8000-000000000000';
  const { model, card } = generatorFiles(gan, { weights, statistics }, { policy, runId });
  const each = Math.floor(images / card.classes.length);
  const hash = card.sha256;
  const recipe: ReleaseRecipe = {
    format: 'veilgan-recipe/1',
    ...{ runId, policySha256: hash, generatorSha256: hash, modelSha256: hash, seed: 'bench', batch: DRAW_BATCH },
    classes: card.classes.map((name, k) => ({
      name,
      images: k === 0 ? images - each * (card.classes.length - 1) : each,
    })),
    ...{ files: 'png', bits: 8, mark: 'none', licence: 'CC0-1.0', tool: 'VeilGAN' },
  };
  const origin = { recipe, kid: 'A'.repeat(43) };
  const folder = mkdtempSync(path.join(tmpdir(), 'veilgan-bench-release-'));
  try {
    await using drawer = await Drawer.open(model);
    const [began, cpu] = [performance.now(), process.cpuUsage()];
    const written = await writeImages({ folder, origin, card, drawer });
    const csv = labelsCsv(written, card.classes);
    const npz = await medMnistNpz(written, card);
    const seconds = (performance.now() - began) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    const what = `${images} PNGs of ${imageSize} × ${imageSize}`;
    report({ case: `${what}: drawn, encoded, hashed, written`, value: seconds, unit: 's', target: `< ${TARGET_SECONDS} s`, holds: seconds < TARGET_SECONDS }); // prettier-ignore
    report({ case: `${what}: processor time`, value: (user + system) / 1e6, unit: 's' });
    const bytes = written.files.reduce((sum, f) => sum + f.bytes, 0);
    report({ case: `${what}: a file`, value: Math.round(bytes / images), unit: 'bytes' });
    report({ case: `${what}: npz and csv`, value: Math.round((npz.length + csv.length) / 1e5) / 10, unit: 'MB' });
    await parts({ imageSize, channels: card.channels }, { drawer, origin, card }, images, report);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What one image costs, part by part, over some batches. */
async function parts(
  { imageSize, channels }: { imageSize: number; channels: 1 | 3 },
  o: { drawer: Drawer; origin: Parameters<typeof renderer>[0]; card: Parameters<typeof drawOf>[1] },
  images: number,
  report: (row: BenchRow) => void,
): Promise<void> {
  const shape = { size: imageSize, channels };
  const of = drawOf(o.origin, o.card, labelsInTurn(o.origin.recipe.classes.map((c) => c.images)));
  const render = renderer(o.origin, shape);
  const batches = Math.min(16, Math.floor(images / DRAW_BATCH));
  const spent = { draw: 0, encode: 0, hash: 0 };
  for (let index = 0; index < batches; index++) {
    let at = performance.now();
    const lap = (part: keyof typeof spent) => {
      const now = performance.now();
      spent[part] += now - at;
      at = now;
    };
    const values = await o.drawer.batch(of, index);
    lap('draw');
    for (let k = 0; k < DRAW_BATCH; k++) {
      const body = render(samplesOf(values.subarray(k * of.values, (k + 1) * of.values), shape, o.origin.recipe), { path: '', label: 0, number: 1 }); // prettier-ignore
      lap('encode');
      sha256Hex(body);
      lap('hash');
    }
  }
  for (const [part, ms] of Object.entries(spent))
    report({ case: `  of it, an image of ${imageSize} × ${imageSize}: ${part}`, value: ms / (batches * DRAW_BATCH), unit: 'ms' }); // prettier-ignore
}

export const bench: Bench = {
  name: 'release',
  summary: 'synthetic images written as a released data set',
  run,
};

/** Draws from an exported generator with ONNX Runtime alone, as a recipient without our training code would. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FedError } from '../shared/errors.ts';
import { drawFakeInputs, oneHot } from '../shared/gan/batch.ts';
import { GeneratorCard } from '../shared/gan/export.ts';
import { type LabelledImages, valuesPerImage } from '../shared/imaging/images.ts';
import { writeDataset } from '../shared/imaging/write-dataset.ts';
import { secureBytes } from '../shared/random.ts';
import { parseJson, readText } from './options.ts';
import { progress } from './progress.ts';

export interface GenerateOptions {
  readonly generator: string;
  readonly count: number;
  readonly class?: string;
  readonly seed?: string;
  readonly out: string;
}

/** @throws {FedError} PARAMETER_INVALID; STORE_CORRUPT when the model is not the one its card describes. */
export async function generateImages(o: GenerateOptions): Promise<{ images: number; seed: string }> {
  const cardPath = join(dirname(o.generator), 'generator.json');
  const card = parseJson(readText(cardPath, 'card'), GeneratorCard, cardPath, 'PARAMETER_INVALID');
  const model = readModel(o.generator, card);
  const seed = o.seed ?? freshSeed();
  const inputs = drawFakeInputs(o.count, card.latent, distributionOf(card, o.class), seed);
  const bar = progress('generating');
  try {
    const pixels = await run(model, card, inputs, (share) => bar.update(share / 2));
    const images: LabelledImages = {
      n: o.count,
      channels: card.channels,
      size: card.imageSize,
      pixels,
      labels: inputs.labels,
      classNames: card.classes,
      patients: Array.from({ length: o.count }, (_, i) => `synthetic-${i + 1}`),
    };
    await writeDataset(o.out, images, { progress: (done, all) => bar.update(0.5 + done / all / 2) });
    return { images: o.count, seed };
  } finally {
    bar.stop();
  }
}

function readModel(path: string, card: GeneratorCard): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new FedError('PARAMETER_INVALID', `generator ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (createHash('sha256').update(bytes).digest('hex') !== card.sha256)
    throw new FedError('STORE_CORRUPT', `${path} is not the model that generator.json beside it describes`);
  return bytes;
}

function distributionOf(card: GeneratorCard, name: string | undefined): readonly number[] {
  if (name === undefined) return card.distribution;
  const k = card.classes.indexOf(name);
  if (k < 0) throw new FedError('PARAMETER_INVALID', `no class "${name}"; there are ${card.classes.join(', ')}`);
  return card.classes.map((_, i) => (i === k ? 1 : 0));
}

/** [n, channels, size, size] */
async function run(
  model: Uint8Array,
  card: GeneratorCard,
  { latents, labels }: { latents: Float32Array; labels: Int32Array },
  report: (share: number) => void,
): Promise<Float32Array> {
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(model);
  try {
    const { batch, latent, classes } = card;
    const n = labels.length;
    const each = valuesPerImage({ channels: card.channels, size: card.imageSize });
    const pixels = new Float32Array(n * each);
    for (let start = 0; start < n; start += batch) {
      const count = Math.min(batch, n - start);
      const z = latents.subarray(start * latent, (start + count) * latent);
      const y = oneHot(labels.subarray(start, start + count), classes.length);
      const { images } = await session.run({
        latents: new ort.Tensor('float32', z, [count, latent]),
        labels: new ort.Tensor('float32', y, [count, classes.length]),
      });
      const values = images.data as Float32Array;
      // Rounding may leave tanh a bit of dust beyond one.
      for (let i = 0; i < count * each; i++) pixels[start * each + i] = Math.max(-1, Math.min(1, values[i]));
      report((start + count) / n);
    }
    return pixels;
  } finally {
    await session.release();
  }
}

function freshSeed(): string {
  const bytes = new Uint8Array(16);
  secureBytes(bytes);
  return Buffer.from(bytes).toString('hex');
}

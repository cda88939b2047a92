/**
 * Draws some of a release's images again. With the engine and on a class of processor that the manifest names the pixels
 * have to be the same, and where the encoder is the same also the bytes; elsewhere no sample may differ by more than one
 * grey level of 255, since engines round in their own ways.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
import type { GeneratorCard } from '../../shared/gan/export.ts';
import { PNG_ENCODER } from '../../shared/imaging/png.ts';
import type { Samples } from '../../shared/imaging/quantise.ts';
import type { RandomBytes } from '../../shared/random.ts';
import type { SignedManifest } from '../../shared/release/manifest.ts';
import { type DrawOf, Drawer, engineName, processorClass } from './draw.ts';
import { largestDifference, samplesInFile, samplesInNpz } from './read-samples.ts';
import { placesOf, renderer, samplesOf } from './render.ts';
import { drawOf } from './write-images.ts';

const MOST = 20;
/** So many of a list that nobody has to scroll for the verdict. */
export const shortened = (found: readonly string[]): string[] =>
  found.length <= MOST ? [...found] : [...found.slice(0, MOST), `and ${found.length - MOST} more`];

/** Who draws, as the manifest would name it. */
export interface Drawing extends AsyncDisposable {
  readonly engine: string;
  readonly processor: string;
  batch(of: DrawOf, index: number): Promise<Float32Array>;
}

export interface Redrawn {
  readonly images: number;
  /** Whether engine and class of processor are those of the manifest. */
  readonly sameMachine: boolean;
  readonly identical: number;
  /** Largest difference of two samples, in grey levels of 255. */
  readonly largest: number;
  readonly say: string;
  readonly problems: readonly string[];
}

export interface RedrawOf {
  readonly folder: string;
  readonly manifest: SignedManifest;
  readonly card: GeneratorCard;
  /** Files that are as the manifest lists them. */
  readonly sound: ReadonlySet<string>;
  readonly sample: number;
  readonly random: RandomBytes;
  readonly drawing?: Drawing;
}

/** The folder's own model on this machine. */
async function ownDrawing(folder: string): Promise<Drawing> {
  const drawer = await Drawer.open(readFileSync(join(folder, 'generator.onnx')));
  return {
    engine: await engineName(),
    processor: processorClass(),
    batch: (of, index) => drawer.batch(of, index),
    [Symbol.asyncDispose]: () => drawer[Symbol.asyncDispose](),
  };
}

export async function redraw(o: RedrawOf): Promise<Redrawn> {
  const { folder, manifest, card, sound } = o;
  const { recipe, made } = manifest;
  const { labels, places } = placesOf(recipe);
  const shape = { size: card.imageSize, channels: card.channels };
  const origin = { recipe, kid: manifest.signer.kid };
  const of = drawOf(origin, card, labels);
  const render = renderer(origin, shape);
  await using drawing = o.drawing ?? (await ownDrawing(folder));
  const sameMachine = drawing.engine === made.engine && drawing.processor === made.processor;
  const sameEncoder = sameMachine && (recipe.files === 'dicom' || made.encoder === PNG_ENCODER);
  const level = recipe.bits === 8 ? 1 : 257;
  const npz = sound.has('synthetic.npz') ? await samplesInNpz(join(folder, 'synthetic.npz')) : null;
  const wrong: string[] = [];
  const seen = { images: 0, identical: 0, largest: 0 };

  for (const index of chosen(Math.ceil(labels.length / recipe.batch), o.sample, o.random)) {
    const values = await drawing.batch(of, index);
    const start = index * recipe.batch;
    for (let i = start; i < Math.min(labels.length, start + recipe.batch); i++) {
      const place = places[i];
      // What was changed or is missing has been said.
      if (!sound.has(place.path)) continue;
      const expected = samplesOf(values.subarray((i - start) * of.values, (i - start + 1) * of.values), shape, recipe);
      const body = readFileSync(join(folder, place.path));
      const found = await differenceOf(body, expected, npz?.subarray(i * of.values, (i + 1) * of.values) ?? null);
      seen.images++;
      seen.largest = Math.max(seen.largest, found / level);
      if (found === 0) seen.identical++;
      if (found > (sameMachine ? 0 : level)) wrong.push(`${place.path} is not what the generator draws`);
      else if (sameEncoder && found === 0 && sha256Hex(render(expected, place)) !== sha256Hex(body))
        wrong.push(`${place.path} has the pixels that the generator draws, and other bytes around them`);
    }
  }
  return { ...seen, sameMachine, say: sentence(seen, sameMachine, made), problems: shortened(wrong) };

  async function differenceOf(body: Uint8Array, expected: Samples, inNpz: Samples | null): Promise<number> {
    try {
      const inFile = await samplesInFile(body, recipe, card.channels);
      const twice = inNpz === null ? 0 : largestDifference(inFile, inNpz);
      return twice > 0 ? Infinity : largestDifference(inFile, expected);
    } catch (error) {
      if (error instanceof FedError) return Infinity;
      throw error;
    }
  }
}

const sentence = (
  { images, identical, largest }: Pick<Redrawn, 'images' | 'identical' | 'largest'>,
  sameMachine: boolean,
  made: SignedManifest['made'],
): string =>
  sameMachine
    ? `${identical} of ${images} are identical, as they have to be on ${made.engine}, ${made.processor}`
    : `${identical} of ${images} are identical, and the largest difference is ${Number(largest.toFixed(2))} grey levels; one is allowed, since they were drawn on ${made.engine}, ${made.processor}`;

/** Which batches: all, or as many as were asked for, drawn without putting back. */
function chosen(batches: number, sample: number, random: RandomBytes): number[] {
  const all = Array.from({ length: batches }, (_, i) => i);
  if (sample >= batches) return all;
  const words = new Uint32Array(sample);
  random(new Uint8Array(words.buffer));
  return Array.from(words, (word) => all.splice(word % all.length, 1)[0]);
}

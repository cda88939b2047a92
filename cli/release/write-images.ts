/** Draws a release's images and writes them, a batch at a time: drawing of the next goes on while the last is written. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { requireFinite } from '../../shared/gate/draw.ts';
import type { GeneratorCard } from '../../shared/gan/export.ts';
import { type LabelledImages, valuesPerImage } from '../../shared/imaging/images.ts';
import { encodeNpy } from '../../shared/imaging/npy.ts';
import type { Samples } from '../../shared/imaging/quantise.ts';
import { csvCell, encodeNpz } from '../../shared/imaging/write-dataset.ts';
import type { ReleasedFile } from '../../shared/release/manifest.ts';
import type { Origin } from '../../shared/release/provenance.ts';
import type { Drawer } from './draw.ts';
import { type Place, placesOf, renderer, samplesOf } from './render.ts';

export interface WrittenImages {
  readonly places: readonly Place[];
  readonly files: readonly ReleasedFile[];
  readonly labels: Int32Array;
  /** [n, size, size, channels], as the files have them. */
  readonly samples: Samples;
}

export interface WriteImages {
  readonly folder: string;
  readonly origin: Origin;
  readonly card: GeneratorCard;
  readonly drawer: Drawer;
  readonly progress?: (share: number) => void;
}

/** What a batch is drawn from. */
export const drawOf = ({ recipe }: Pick<Origin, 'recipe'>, card: GeneratorCard, labels: Int32Array) => ({
  ...{ latent: card.latent, classes: card.classes.length, values: valuesOf(card) },
  ...{ seed: recipe.seed, batch: recipe.batch, labels },
});

const valuesOf = (card: GeneratorCard): number => valuesPerImage({ channels: card.channels, size: card.imageSize });

export async function writeImages(o: WriteImages): Promise<WrittenImages> {
  const { folder, card, drawer, origin } = o;
  const { recipe } = origin;
  const shape = { size: card.imageSize, channels: card.channels };
  const { labels, places } = placesOf(recipe);
  for (const dir of new Set(places.map(({ path }) => dirname(path))))
    await mkdir(join(folder, dir), { recursive: true });
  const of = drawOf(origin, card, labels);
  const d = of.values;
  const samples = recipe.bits === 8 ? new Uint8Array(labels.length * d) : new Uint16Array(labels.length * d);
  const render = renderer(origin, shape);
  const files: ReleasedFile[] = [];
  const batches = Math.ceil(labels.length / recipe.batch);
  let next = drawer.batch(of, 0);
  for (let index = 0; index < batches; index++) {
    const values = await next;
    requireFinite(values);
    // Not awaited here: the engine works in a thread of its own. Should it fail, the next turn says so.
    if (index + 1 < batches) (next = drawer.batch(of, index + 1)).catch(() => undefined);
    const start = index * recipe.batch;
    const writing = places.slice(start, start + recipe.batch).map((place, k) => {
      const own = samplesOf(values.subarray(k * d, (k + 1) * d), shape, recipe);
      samples.set(own, (start + k) * d);
      const body = render(own, place);
      files.push({ name: place.path, sha256: sha256Hex(body), bytes: body.length });
      return writeFile(join(folder, place.path), body, { flag: 'wx' });
    });
    await Promise.all(writing);
    o.progress?.((index + 1) / batches);
  }
  return { places, files, labels, samples };
}

/** `labels.csv`: file, class, label number, SHA-256 of the file. */
export function labelsCsv(
  { places, files }: Pick<WrittenImages, 'places' | 'files'>,
  classes: readonly string[],
): string {
  const rows = places.map(
    ({ path, label }, i) => `${csvCell(path)},${csvCell(classes[label])},${label},${files[i].sha256}\n`,
  );
  return `file,label,index,sha256\n${rows.join('')}`;
}

/**
 * The images in MedMNIST's keys. All are for training: the other parts are there, and empty, since results are shown on
 * real images.
 */
export async function medMnistNpz({ samples, labels }: WrittenImages, card: GeneratorCard): Promise<Buffer> {
  const { imageSize: size, channels, classes } = card;
  const shape = (n: number) => (channels === 3 ? [n, size, size, 3] : [n, size, size]);
  const none = samples.subarray(0, 0);
  const empty = { images: encodeNpy(none, shape(0)), labels: encodeNpy(new Uint8Array(0), [0, 1]) };
  const arrays = {
    train_images: encodeNpy(samples, shape(labels.length)),
    train_labels: encodeNpy(Uint8Array.from(labels), [labels.length, 1]),
    ...{ val_images: empty.images, val_labels: empty.labels, test_images: empty.images, test_labels: empty.labels },
    classes: encodeNpy(classes, [classes.length]),
  };
  return encodeNpz(arrays, 'stored');
}

/** The same as values in [-1, 1]: what a recipient's classifier would see. At most `most` of each class. */
export function asLabelled(w: WrittenImages, card: GeneratorCard, most = Infinity): LabelledImages {
  const { imageSize: size, channels, classes } = card;
  const seen = classes.map(() => 0);
  const chosen = [...w.labels.keys()].filter((i) => seen[w.labels[i]]++ < most);
  const top = w.samples instanceof Uint16Array ? 65_535 : 255;
  const area = size * size;
  const pixels = new Float32Array(chosen.length * channels * area);
  chosen.forEach((i, to) => {
    for (let c = 0; c < channels; c++)
      for (let k = 0; k < area; k++)
        pixels[(to * channels + c) * area + k] = (w.samples[(i * area + k) * channels + c] / top) * 2 - 1;
  });
  const labels = Int32Array.from(chosen, (i) => w.labels[i]);
  const patients = chosen.map((i) => `synthetic-${i + 1}`);
  return { n: chosen.length, channels, size, pixels, labels, classNames: classes, patients };
}

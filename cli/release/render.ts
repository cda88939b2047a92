/** From drawn values to the bytes of a file: what a release writes, and what its verification writes again. */
import { captureWriter } from '../../shared/release/secondary-capture.ts';
import { encodePng, interleave } from '../../shared/imaging/png.ts';
import { drawMark, quantise, type Samples } from '../../shared/imaging/quantise.ts';
import { folderNames } from '../../shared/imaging/write-dataset.ts';
import type { Origin } from '../../shared/release/provenance.ts';
import { pngMark } from '../../shared/release/provenance.ts';
import { labelsInTurn } from '../../shared/release/counts.ts';
import type { ReleaseRecipe } from '../../shared/release/manifest.ts';

/** Where one image of a release lies, and what it is. */
export interface Place {
  /** Relative to the release's folder. */
  readonly path: string;
  readonly label: number;
  /** From 1, within its class. */
  readonly number: number;
}

/** Places of all images, in the order they are drawn. */
export function placesOf(recipe: ReleaseRecipe): { labels: Int32Array; places: Place[] } {
  const folders = folderNames(recipe.classes.map((c) => c.name));
  const labels = labelsInTurn(recipe.classes.map((c) => c.images));
  const next = folders.map(() => 0);
  const extension = recipe.files === 'png' ? 'png' : 'dcm';
  const places = Array.from(labels, (label) => {
    const number = ++next[label];
    return { path: `images/${folders[label]}/${String(number).padStart(6, '0')}.${extension}`, label, number };
  });
  return { labels, places };
}

export interface Shape {
  readonly size: number;
  readonly channels: 1 | 3;
}

/** One image's samples as a file has them, [size, size, channels], mark included. */
export function samplesOf(values: Float32Array, { size, channels }: Shape, recipe: ReleaseRecipe): Samples {
  const planes = quantise(values, recipe.bits);
  if (recipe.mark === 'corner') drawMark(planes, size, channels);
  return interleave(planes, channels);
}

/** Writes files of one release. */
export function renderer(origin: Origin, shape: Shape): (samples: Samples, place: Place) => Buffer {
  const { recipe } = origin;
  const { size, channels } = shape;
  if (recipe.files === 'png') {
    const chunks = pngMark(origin);
    return (samples) => encodePng(samples, size, size, channels, { chunks });
  }
  const write = captureWriter(origin);
  return (samples, { label, number }) =>
    write({ ...shape, samples, label, number, className: recipe.classes[label].name });
}

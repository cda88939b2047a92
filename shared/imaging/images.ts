import { FedError } from '../errors.ts';
import { quantise } from './quantise.ts';

/** Edge lengths the generators are built for, in pixels. */
export const IMAGE_SIZES = [28, 32, 64] as const;
export type ImageSize = (typeof IMAGE_SIZES)[number];

/**
 * n square images with a class and a patient each: what every dataset reader, phantom and generator returns.
 *
 * Whether the pixels are private is not in this type: see `PrivateImages` in site-agent/imaging.
 */
export interface LabelledImages {
  readonly n: number;
  readonly channels: 1 | 3;
  /** Height and width, in pixels. */
  readonly size: number;
  /** [n, channels, size, size] row-major, in [-1, 1]: -1 is black, 1 is white. */
  readonly pixels: Float32Array;
  /** [n], an index into `classNames`. */
  readonly labels: Int32Array;
  readonly classNames: readonly string[];
  /** [n], an opaque patient id; images of one patient share it. */
  readonly patients: readonly string[];
}

/** One patient and the images that are theirs. */
export interface Patient {
  readonly id: string;
  /** Indices into the image set, ascending. */
  readonly images: readonly number[];
}

/** Values in one image: channels · size². */
export const valuesPerImage = (images: Pick<LabelledImages, 'channels' | 'size'>): number =>
  images.channels * images.size * images.size;

/** Image i as a view of [channels, size, size]; nothing is copied. */
export function imageAt(images: LabelledImages, i: number): Float32Array {
  const d = valuesPerImage(images);
  return images.pixels.subarray(i * d, (i + 1) * d);
}

/**
 * Returns its argument once lengths, labels and pixel range agree with each other.
 *
 * @throws {FedError} DATASET_INVALID, naming the first thing that does not fit.
 */
export function checkImages(images: LabelledImages): LabelledImages {
  const { n, pixels, labels, patients, classNames } = images;
  const refuse = (why: string): never => {
    throw new FedError('DATASET_INVALID', why);
  };
  if (pixels.length !== n * valuesPerImage(images)) refuse(`${pixels.length} values are not ${n} images`);
  if (labels.length !== n || patients.length !== n)
    refuse(`${labels.length} labels, ${patients.length} patients, ${n} images`);
  if (new Set(classNames).size !== classNames.length) refuse('a class name occurs twice');
  const label = labels.findIndex((c) => c < 0 || c >= classNames.length);
  if (label >= 0) refuse(`image ${label} has label ${labels[label]} of ${classNames.length} classes`);
  const value = pixels.findIndex((x) => !(x >= -1 && x <= 1));
  if (value >= 0) refuse(`image ${Math.floor(value / valuesPerImage(images))} has a pixel outside [-1, 1]`);
  return images;
}

/** The images at `indices`, in that order, copied. Class names stay, also those no image has any more. */
export function selectImages(images: LabelledImages, indices: readonly number[]): LabelledImages {
  const d = valuesPerImage(images);
  const pixels = new Float32Array(indices.length * d);
  indices.forEach((from, to) => pixels.set(imageAt(images, from), to * d));
  return {
    ...images,
    n: indices.length,
    pixels,
    labels: Int32Array.from(indices, (i) => images.labels[i]),
    patients: indices.map((i) => images.patients[i]),
  };
}

/**
 * Several sets one after the other.
 *
 * @throws {FedError} DATASET_INVALID when shapes or class names differ, or there is no set at all.
 */
export function concatImages(sets: readonly LabelledImages[]): LabelledImages {
  const first = sets[0];
  if (!first) throw new FedError('DATASET_INVALID', 'no image sets to join');
  const shape = (s: LabelledImages) => JSON.stringify([s.channels, s.size, s.classNames]);
  if (sets.some((s) => shape(s) !== shape(first)))
    throw new FedError('DATASET_INVALID', 'sets differ in shape or classes');
  const d = valuesPerImage(first);
  const n = sets.reduce((sum, s) => sum + s.n, 0);
  const pixels = new Float32Array(n * d);
  const labels = new Int32Array(n);
  let at = 0;
  for (const s of sets) {
    pixels.set(s.pixels, at * d);
    labels.set(s.labels, at);
    at += s.n;
  }
  return { ...first, n, pixels, labels, patients: sets.flatMap((s) => [...s.patients]) };
}

/** [classNames.length] images of each class. A true count: private when the images are. */
export function countByClass(images: Pick<LabelledImages, 'classNames' | 'labels'>): Int32Array {
  const counts = new Int32Array(images.classNames.length);
  for (const c of images.labels) counts[c]++;
  return counts;
}

/** The patients in the order in which they first appear. Every image is in exactly one. */
export function groupByPatient(images: Pick<LabelledImages, 'patients'>): Patient[] {
  const groups = new Map<string, number[]>();
  images.patients.forEach((id, i) => {
    const group = groups.get(id);
    if (group) group.push(i);
    else groups.set(id, [i]);
  });
  return [...groups].map(([id, indices]) => ({ id, images: indices }));
}

/** Values in [-1, 1] as bytes, 0 to 255, rounded; the exact inverse of how a byte is read. NaN becomes 0. */
export const toBytes = (values: Float32Array): Uint8Array => quantise(values, 8);

import { FedError } from '../errors.ts';
import { type LabelledImages, valuesPerImage } from './images.ts';
import { type Fit, type Picture, toUnitImage } from './picture.ts';

/** What a reader needs to know about the run, whatever the format. */
export interface ReadOptions {
  readonly size: 28 | 32 | 64;
  readonly channels: 1 | 3;
  /** Class names in the policy's order; labels index into it. Without it the dataset's own names and order. */
  readonly classes?: readonly string[];
  /** Which part of a dataset that has parts. Default `train`. */
  readonly split?: 'train' | 'val' | 'test';
  /** One unreadable image refuses the dataset, or is left out and reported. */
  readonly onBadFile: 'refuse' | 'skip';
  readonly report?: (bad: BadFile) => void;
  /** At most this many entries, taken evenly over the dataset so that sorted classes all stay. */
  readonly maxImages?: number;
  /** The stored values that become black and white. Default: all of an unsigned type, 0 to 1 for floats. */
  readonly valueRange?: readonly [low: number, high: number];
  /** For pictures that are not square. Default `crop`. */
  readonly fit?: Fit;
  /** Largest size in bytes of one array after decompression. Default 4 GiB. */
  readonly maxBytes?: number;
}

export const DEFAULT_MAX_BYTES = 4 * 2 ** 30;

/** A file, or one image of an array (`scans.npz#12`), that cannot be used. Names stay at the site. */
export interface BadFile {
  readonly file: string;
  readonly reason: string;
}

export interface ReadResult {
  readonly images: LabelledImages;
  readonly bad: BadFile[];
  /** False when the dataset names no patients: then every image counts as its own, and a claim per patient is one per image. */
  readonly patientsKnown: boolean;
}

/** One picture of an entry; formats that carry a patient id say so here. */
export interface DecodedPicture {
  readonly picture: Picture;
  readonly patient?: string;
}

/** A dataset whose labels are known and whose pictures are not decoded yet. */
export interface ImageSource {
  readonly count: number;
  /** Names for integer labels, if the dataset has them. */
  readonly classNames?: readonly string[];
  name(i: number): string;
  label(i: number): string | number;
  patient(i: number): string | undefined;
  /** One picture, or several when a file holds frames or slices. Throws FedError IMAGE_UNREADABLE. */
  decode(i: number): DecodedPicture[] | Promise<DecodedPicture[]>;
}

const DECODED_AT_ONCE = 8;

/**
 * Decodes everything up front, so that no file can fail in the middle of a round.
 *
 * @returns images in the order of the source; `bad` in the same order.
 * @throws {FedError} DATASET_INVALID: a label that `classes` lacks, no image left, or any bad image under `refuse`.
 */
export async function loadSource(source: ImageSource, options: ReadOptions): Promise<ReadResult> {
  const picked = pickEvenly(source.count, options.maxImages ?? source.count);
  const { classNames, indexOf } = classIndex(source, picked, options.classes);
  const bad: BadFile[] = [];
  const pixels: Float32Array[] = [];
  const labels: number[] = [];
  const patients: string[] = [];
  let patientsKnown = true;

  const decode = async (i: number): Promise<DecodedUnit[] | BadFile> => {
    try {
      const found = await source.decode(i);
      if (found.length === 0) throw new FedError('IMAGE_UNREADABLE', 'it holds no picture');
      return found.map(({ picture, patient }) => ({
        unit: toUnitImage(picture, options.size, options.channels, options.fit ?? 'crop'),
        patient: source.patient(i) ?? patient,
      }));
    } catch (error) {
      if (!(error instanceof FedError)) throw error;
      return { file: source.name(i), reason: error.message.replace(/^[A-Z_]+: /, '') };
    }
  };

  for (let start = 0; start < picked.length; start += DECODED_AT_ONCE) {
    const batch = picked.slice(start, start + DECODED_AT_ONCE);
    const results = await Promise.all(batch.map(decode));
    results.forEach((result, k) => {
      const i = batch[k];
      if (!Array.isArray(result)) {
        bad.push(result);
        options.report?.(result);
        if (options.onBadFile === 'refuse') throw new FedError('DATASET_INVALID', `${result.file}: ${result.reason}`);
        return;
      }
      result.forEach(({ unit, patient }) => {
        if (patient === undefined) patientsKnown = false;
        pixels.push(unit);
        labels.push(indexOf(source.label(i)));
        // Several frames of one file are of one patient, whoever that is.
        patients.push(patient ?? source.name(i));
      });
    });
  }
  if (pixels.length === 0) throw new FedError('DATASET_INVALID', `no readable image among ${picked.length}`);
  return { images: join(pixels, labels, patients, classNames, options), bad, patientsKnown };
}

interface DecodedUnit {
  unit: Float32Array;
  patient: string | undefined;
}

function join(
  parts: Float32Array[],
  labels: number[],
  patients: string[],
  classNames: readonly string[],
  { size, channels }: ReadOptions,
): LabelledImages {
  const d = valuesPerImage({ size, channels });
  const pixels = new Float32Array(parts.length * d);
  parts.forEach((part, i) => pixels.set(part, i * d));
  return { n: parts.length, channels, size, pixels, labels: Int32Array.from(labels), classNames, patients };
}

/** `max` of `count` indices, ascending and evenly spaced; all of them when there are fewer. */
export function pickEvenly(count: number, max: number): number[] {
  if (!(max >= 1)) throw new FedError('PARAMETER_INVALID', `maxImages=${max}`);
  const n = Math.min(count, Math.floor(max));
  return Array.from({ length: n }, (_, i) => Math.floor((i * count) / n));
}

/**
 * How the dataset's labels map to classes. Names are matched by name. Bare integers are an index into `classes`,
 * unless every class name is itself an integer: then `["3", "7"]` means the digits three and seven.
 */
function classIndex(source: ImageSource, picked: readonly number[], classes: readonly string[] | undefined) {
  const own = source.classNames;
  const seen = [...new Set(picked.map((i) => source.label(i)))];
  const isIndex = (label: string | number): label is number =>
    typeof label === 'number' && Number.isInteger(label) && label >= 0;
  const nameOf = (label: string | number): string =>
    typeof label === 'number' ? (own?.[label] ?? String(label)) : label;

  const byIndex = classes !== undefined && own === undefined && !classes.every((c) => /^\d+$/.test(c));
  const highest = Math.max(-1, ...seen.filter(isIndex));
  const allIntegers = seen.every(isIndex);
  if (classes === undefined && allIntegers && highest > 9999)
    throw new FedError('DATASET_INVALID', `label ${highest} is not a class index`);
  const classNames =
    classes ??
    own ??
    (allIntegers ? Array.from({ length: highest + 1 }, (_, i) => String(i)) : seen.map(nameOf).toSorted());

  const position = new Map(classNames.map((name, i) => [name, i]));
  if (position.size !== classNames.length) throw new FedError('DATASET_INVALID', 'a class name occurs twice');
  const find = (label: string | number): number | undefined =>
    byIndex && isIndex(label) ? (label < classNames.length ? label : undefined) : position.get(nameOf(label));
  const unknown = seen.find((label) => find(label) === undefined);
  if (unknown !== undefined) {
    const count = picked.filter((i) => source.label(i) === unknown).length;
    throw new FedError(
      'DATASET_INVALID',
      `label "${nameOf(unknown)}" (${count} images) is not among the classes ${classNames.join(', ')}`,
    );
  }
  return { classNames, indexOf: (label: string | number): number => find(label)! };
}

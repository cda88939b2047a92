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
  /**
   * What stands for a patient in the result, of what a CSV, a folder or an array calls the patient, and of a file's name where
   * nobody is named. By default the same. Ids of DICOM headers come hashed in any case.
   */
  readonly hidePatient?: (id: string) => string;
  /** Told after every entry of the dataset, in order. */
  readonly onProgress?: (done: number, of: number) => void;
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

/** One picture that already has the run's shape, for sources that decode in threads of their own. */
export interface FittedPicture {
  /** [channels, size, size], in [-1, 1]. */
  readonly unit: Float32Array;
  readonly patient?: string;
  /** For sources whose labels lie in the files. */
  readonly label?: string;
}

/** A dataset whose pictures are not decoded yet. */
export interface ImageSource {
  readonly count: number;
  /** Names for integer labels, if the dataset has them. */
  readonly classNames?: readonly string[];
  name(i: number): string;
  /** Undefined, and then for all, when labels come with the pictures. */
  label(i: number): string | number | undefined;
  patient(i: number): string | undefined;
  /** One picture, or several when a file holds frames or slices. Throws FedError IMAGE_UNREADABLE. */
  decode(i: number): (DecodedPicture | FittedPicture)[] | Promise<(DecodedPicture | FittedPicture)[]>;
  /** How many may be decoded beside each other. Default 8. */
  readonly atOnce?: number;
  close?(): Promise<void>;
}

const DECODED_AT_ONCE = 8;

interface DecodedUnit {
  readonly unit: Float32Array;
  readonly patient: string | undefined;
  readonly label: string | undefined;
}

/** A class name as people, policies and codes write it: `LEFT BREAST` and `left-breast` are the same. */
export const classKey = (name: string): string =>
  name
    .trim()
    .toLowerCase()
    .replaceAll(/[\s_]+/g, '-');

/**
 * Decodes everything up front, so that no file can fail in the middle of a round. Beside the result, no more than `atOnce`
 * pictures are in memory at a time. Closes the source.
 *
 * @returns images in the order of the source; `bad` in the same order.
 * @throws {FedError} DATASET_INVALID: a label that `classes` lacks, no image left, or any bad image under `refuse`.
 */
export async function loadSource(source: ImageSource, options: ReadOptions): Promise<ReadResult> {
  try {
    return await loadAll(source, options);
  } finally {
    await source.close?.();
  }
}

async function loadAll(source: ImageSource, options: ReadOptions): Promise<ReadResult> {
  const picked = pickEvenly(source.count, options.maxImages ?? source.count);
  const inPictures = picked.length > 0 && source.label(picked[0]) === undefined;
  const index = inPictures ? labelsInPictures(options.classes) : labelsInSource(source, picked, options.classes);
  const kept = new Kept(options, picked.length);
  const hide = hiding(options);
  const bad: BadFile[] = [];
  let done = 0;
  for await (const [i, found] of inOrder(picked, source.atOnce ?? DECODED_AT_ONCE, (i) =>
    decodeOne(source, i, options),
  )) {
    options.onProgress?.(++done, picked.length);
    const result = Array.isArray(found) ? withLabels(found, source, i, index) : found;
    if (!Array.isArray(result)) {
      bad.push(result);
      options.report?.(result);
      if (options.onBadFile === 'refuse') throw new FedError('DATASET_INVALID', `${result.file}: ${result.reason}`);
      continue;
    }
    for (const { unit, patient, label } of result) kept.add(unit, label, patient, hide(source.name(i)));
  }
  if (kept.count === 0) throw new FedError('DATASET_INVALID', `no readable image among ${picked.length}`);
  const names = index.classNames();
  const images = kept.images(names, inPictures && options.classes === undefined ? names.toSorted() : names);
  return { images, bad, patientsKnown: kept.patientsKnown };
}

/** Results in order, with at most `atOnce` under way. */
async function* inOrder<T>(
  picked: readonly number[],
  atOnce: number,
  work: (i: number) => Promise<T>,
): AsyncGenerator<[number, T]> {
  // prettier-ignore
  const underWay: Promise<T>[] = [];
  for (let k = 0; k < picked.length; k++) {
    for (let next = k + underWay.length; next < picked.length && underWay.length < atOnce; next++) {
      const result = work(picked[next]);
      // Should the reader stop at an earlier one, nobody waits for this.
      result.catch(() => undefined);
      underWay.push(result);
    }
    yield [picked[k], await underWay.shift()!];
  }
}

const hiding = (o: ReadOptions): ((id: string) => string) => o.hidePatient ?? ((id) => id);

async function decodeOne(source: ImageSource, i: number, o: ReadOptions): Promise<DecodedUnit[] | BadFile> {
  try {
    const found = await source.decode(i);
    const named = source.patient(i);
    if (found.length === 0) throw new FedError('IMAGE_UNREADABLE', 'it holds no picture');
    return found.map((picture) => ({
      unit: 'unit' in picture ? picture.unit : toUnitImage(picture.picture, o.size, o.channels, o.fit ?? 'crop'),
      patient: named === undefined ? picture.patient : hiding(o)(named),
      label: 'unit' in picture ? picture.label : undefined,
    }));
  } catch (error) {
    if (!(error instanceof FedError)) throw error;
    return { file: source.name(i), reason: error.message.replace(/^[A-Z_]+: /, '') };
  }
}

/** How labels become numbers; `undefined` for one that is none of the classes. */
interface LabelIndex {
  classNames(): readonly string[];
  indexOf(label: string | number | undefined): number | undefined;
}

/** The units with their class. A label of a file that is no class is not quoted: the file wrote it. */
function withLabels(units: DecodedUnit[], source: ImageSource, i: number, index: LabelIndex) {
  const label = source.label(i) ?? units[0].label;
  const found = index.indexOf(label);
  if (found === undefined) return { file: source.name(i), reason: label === undefined ? 'it does not state its label' : 'its label is none of the classes' }; // prettier-ignore
  return units.map((unit) => ({ ...unit, label: found }));
}

/** Labels that come with the pictures: among `classes` whatever the case, or collected as they come. */
function labelsInPictures(classes: readonly string[] | undefined): LabelIndex {
  const numbers = new Map((classes ?? []).map((name, k) => [classKey(name), k]));
  if (classes !== undefined && numbers.size !== classes.length)
    throw new FedError('DATASET_INVALID', 'a class name occurs twice');
  return {
    classNames: () => classes ?? [...numbers.keys()],
    indexOf: (label) => {
      if (label === undefined) return undefined;
      const key = classKey(String(label));
      if (classes === undefined && !numbers.has(key)) numbers.set(key, numbers.size);
      return numbers.get(key);
    },
  };
}

/** Images as they come in; the array grows only when files hold more than one. */
class Kept {
  readonly #options: ReadOptions;
  readonly #d: number;
  #pixels: Float32Array;
  readonly #labels: number[] = [];
  readonly #patients: string[] = [];
  patientsKnown = true;

  constructor(options: ReadOptions, expected: number) {
    this.#options = options;
    this.#d = valuesPerImage(options);
    this.#pixels = new Float32Array(expected * this.#d);
  }

  get count(): number {
    return this.#labels.length;
  }

  add(unit: Float32Array, label: number, patient: string | undefined, name: string): void {
    const at = this.count * this.#d;
    if (at + this.#d > this.#pixels.length) {
      const wider = new Float32Array(Math.ceil(1.5 * (this.count + 1)) * this.#d);
      wider.set(this.#pixels);
      this.#pixels = wider;
    }
    this.#pixels.set(unit, at);
    if (patient === undefined) this.patientsKnown = false;
    this.#labels.push(label);
    // Several frames of one file are of one patient, whoever that is.
    this.#patients.push(patient ?? name);
  }

  /** @param names - of the classes, as they were numbered; @param sorted - the same names in the order to return. */
  images(names: readonly string[], sorted: readonly string[]): LabelledImages {
    const { size, channels } = this.#options;
    const n = this.count;
    const exact = this.#pixels.length === n * this.#d;
    const pixels = exact ? this.#pixels : this.#pixels.slice(0, n * this.#d);
    const place = names.map((name) => sorted.indexOf(name));
    const labels = Int32Array.from(this.#labels, (label) => place[label]);
    return { n, channels, size, pixels, labels, classNames: sorted, patients: this.#patients };
  }
}

/** `max` of `count` indices, ascending and evenly spaced; all of them when there are fewer. */
export function pickEvenly(count: number, max: number): number[] {
  if (!(max >= 1)) throw new FedError('PARAMETER_INVALID', `maxImages=${max}`);
  const n = Math.min(count, Math.floor(max));
  return Array.from({ length: n }, (_, i) => Math.floor((i * count) / n));
}

/** Labels without a class that a refusal names beside the first. */
const NAMED = 5;

/**
 * How the dataset's labels map to classes. Names are matched by name. Bare integers are an index into `classes`,
 * unless every class name is itself an integer: then `["3", "7"]` means the digits three and seven.
 */
function labelsInSource(
  source: ImageSource,
  picked: readonly number[],
  classes: readonly string[] | undefined,
): LabelIndex {
  // prettier-ignore
  const own = source.classNames;
  const seen = [...new Set(picked.map((i) => source.label(i) ?? ''))];
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
  const [unknown, ...more] = seen.filter((label) => find(label) === undefined);
  if (unknown !== undefined) {
    const named = (label: string | number): string =>
      `"${nameOf(label)}" (${picked.filter((i) => source.label(i) === label).length} images)`;
    // All that are wrong at once, so that nobody mends them one by one; a list of accession numbers is cut short.
    const rest = more.length === 0 ? '' : `; nor ${more.slice(0, NAMED).map(named).join(', ')}${more.length > NAMED ? `, and ${more.length - NAMED} other labels` : ''}`; // prettier-ignore
    throw new FedError('DATASET_INVALID', `label ${named(unknown)} is not among the classes ${classNames.join(', ')}${rest}`); // prettier-ignore
  }
  return { classNames: () => classNames, indexOf: (label) => find(label!) };
}

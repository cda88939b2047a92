/** Image files in folders as one source: which there are, and each decoded in a thread or taken from the cache. */
import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { FedError } from '../../shared/errors.ts';
import type { BurnedIn, RecipeName } from '../../shared/imaging/recipe-names.ts';
import type { FittedPicture, ImageSource, ReadOptions } from '../../shared/imaging/source.ts';
import { DecodeCache, patientKeyOf } from './decode-cache.ts';
import { type DecodedFile, decodeFile, type DecodeSettings } from './decode-file.ts';
import { DecodePool } from './decode-pool.ts';
import { unreadable } from './dicom/refuse.ts';
import { type Entry, listEntries } from './file-list.ts';
import { hasRasterExtension } from './formats.ts';
import type { FileFacts } from './frame.ts';
import type { LabelTag, Plane } from './reading-words.ts';

/** How the files of a folder are read. All of it is the site's own affair but `recipe` and `burnedIn`, which a policy may name. */
export interface FolderOptions {
  /** CSV with columns `file`, `label` and optionally `patient`, `split`. */
  readonly labels?: string;
  /** DICOM attributes that make the label, joined by hyphens, in place of folders and CSV. */
  readonly labelTags?: readonly LabelTag[];
  /** Folders below a class are patients. */
  readonly patientFolders?: boolean;
  /** Default `by-modality`. */
  readonly recipe?: RecipeName;
  /** Default `refuse`. */
  readonly burnedIn?: BurnedIn;
  /** How volumes are cut. Default `axial`. */
  readonly plane?: Plane;
  /** Frames or slices taken of one file; all by default. */
  readonly perFile?: number;
  /** JPEG 2000 at full size. By default finer wavelets than the result can show are not decoded. */
  readonly everyPixel?: boolean;
  readonly threads?: number;
  readonly timeoutMs?: number;
  /** Where decoded tensors are kept between starts, and under which key. */
  readonly cache?: { readonly path: string; readonly key: Uint8Array };
  /** What patients are hashed with, when not by the cache's key: then a patient has the same name at every start. */
  readonly patientKey?: Uint8Array;
  /** Told of every file that was decoded: facts, and how many pictures. */
  readonly onFile?: (file: string, facts: FileFacts, pictures: number, masked: number) => void;
}

/**
 * Opens a folder of images: a folder a class, a CSV, or labels in the files.
 *
 * @throws {FedError} DATASET_INVALID: no images, or a CSV or DICOMDIR that cannot be used.
 */
export async function folderSource(folder: string, options: ReadOptions & FolderOptions): Promise<ImageSource> {
  const labelTags = options.labelTags ?? [];
  const entries = await listEntries(folder, {
    ...(options.labels === undefined ? {} : { csv: options.labels }),
    ...(options.split === undefined ? {} : { split: options.split }),
    labelsInFiles: labelTags.length > 0,
    patientFolders: options.patientFolders === true,
  });
  if (entries.length === 0)
    throw new FedError(
      'DATASET_INVALID',
      `${folder}: no images; expected a folder per class, labels.csv with file and label, or labels from DICOM attributes`,
    );
  const files = new FileDecoder(folder, decodeSettings(options), options);
  return {
    count: entries.length,
    name: (i) => entries[i].file,
    label: (i) => entries[i].label,
    patient: (i) => entries[i].patient,
    decode: (i) => files.decode(entries[i]),
    // One waiting for every one that is worked on, so that no thread is idle between two.
    atOnce: 2 * files.threads,
    close: () => files.close(),
  };
}

/** What patients are hashed with: as named, of the cache, or one that nobody keeps. */
export const patientKeyFor = (o: Pick<FolderOptions, 'patientKey' | 'cache'>): Uint8Array =>
  o.patientKey ?? (o.cache === undefined ? randomBytes(32) : patientKeyOf(o.cache.key));

function decodeSettings(o: ReadOptions & FolderOptions): DecodeSettings {
  return {
    size: o.size,
    channels: o.channels,
    fit: o.fit ?? 'crop',
    recipe: o.recipe ?? 'by-modality',
    burnedIn: o.burnedIn ?? 'refuse',
    plane: o.plane ?? 'axial',
    everyPixel: o.everyPixel === true,
    labelTags: o.labelTags ?? [],
    patientKey: patientKeyFor(o),
    ...(o.valueRange === undefined ? {} : { valueRange: o.valueRange }),
    ...(o.perFile === undefined ? {} : { perFile: o.perFile }),
  };
}

/** Decodes files: PNG, JPEG and TIFF here, since libvips has threads of its own, all else in a pool that starts when needed. */
class FileDecoder {
  readonly #pool: DecodePool;
  readonly #cache: DecodeCache | undefined;
  readonly #folder: string;
  readonly #settings: DecodeSettings;
  readonly #options: FolderOptions;

  constructor(folder: string, settings: DecodeSettings, options: FolderOptions) {
    this.#folder = folder;
    this.#settings = settings;
    this.#options = options;
    const { threads, timeoutMs, cache } = options;
    this.#pool = new DecodePool({ settings, ...(threads === undefined ? {} : { threads }), ...(timeoutMs === undefined ? {} : { timeoutMs }) }); // prettier-ignore
    this.#cache = cache && new DecodeCache(cache.path, cache.key, settings);
  }

  get threads(): number {
    return this.#pool.threads;
  }

  async decode({ file }: Entry): Promise<FittedPicture[]> {
    const full = path.resolve(this.#folder, file);
    if (!full.startsWith(path.resolve(this.#folder) + path.sep))
      return unreadable('it lies outside the dataset folder');
    const { facts, units, masked } = await this.#cached(file, full);
    this.#options.onFile?.(file, facts, units.length, masked);
    const { patient, label } = facts;
    return units.map((unit) => ({
      unit,
      ...(patient === undefined ? {} : { patient }),
      ...(label === undefined ? {} : { label }),
    }));
  }

  async #cached(file: string, full: string): Promise<DecodedFile> {
    if (this.#cache === undefined) return this.#fresh(full);
    const info = await stat(full, { bigint: true }).catch(() => undefined);
    if (info === undefined) return unreadable('there is no such file');
    const id = { file, size: info.size, mtimeNs: info.mtimeNs };
    const known = this.#cache.get(id);
    if (known !== undefined) return known;
    const decoded = await this.#fresh(full);
    this.#cache.put(id, decoded);
    return decoded;
  }

  #fresh(full: string): Promise<DecodedFile> {
    return hasRasterExtension(full) ? decodeFile(full, this.#settings) : this.#pool.decode(full);
  }

  async close(): Promise<void> {
    await this.#pool.close();
    this.#cache?.close();
  }
}

/** One file to the tensors of a run: read, opened, cooked, checked for burned-in text, fitted. */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { FedError } from '../../shared/errors.ts';
import { type Fit, type Picture, toUnitImage } from '../../shared/imaging/picture.ts';
import type { BurnedIn, RecipeName } from '../../shared/imaging/recipe-names.ts';
import { settleBurnedIn, mayHoldText } from './burned-in.ts';
import { unreadable } from './dicom/refuse.ts';
import { formatOf, HEAD_BYTES, hasImageExtension, type OpenOptions } from './formats.ts';
import type { FileFacts } from './frame.ts';
import { cook, recipeFor } from './recipes.ts';
import { centred, squarePixels } from './square-pixels.ts';

/** Larger than any single file the limits on pictures let through would sensibly be. */
const MAX_FILE_BYTES = 2 ** 29;

/** All that decoding depends on; a plain object that a worker can be given. */
export interface DecodeSettings extends Omit<OpenOptions, 'wantedEdge'> {
  readonly size: number;
  readonly channels: 1 | 3;
  readonly fit: Fit;
  readonly recipe: RecipeName;
  readonly burnedIn: BurnedIn;
  /** The stored values that become black and white, in place of the recipe. */
  readonly valueRange?: readonly [low: number, high: number];
  /** Frames or slices taken of one file, evenly over it; all where absent. */
  readonly perFile?: number;
  /** JPEG 2000 at full size, however small the result. */
  readonly everyPixel: boolean;
}

export interface DecodedFile {
  readonly facts: FileFacts;
  /** [channels, size, size] each. */
  readonly units: readonly Float32Array[];
  /** Pictures whose text was painted over. */
  readonly masked: number;
}

/** @throws {FedError} IMAGE_UNREADABLE */
export async function decodeFile(file: string, settings: DecodeSettings): Promise<DecodedFile> {
  return decodeBytes(await readWhole(file), path.basename(file), settings);
}

/** Reads a file. @throws {FedError} IMAGE_UNREADABLE: absent, not allowed, or larger than the limit. */
export async function readWhole(file: string): Promise<Buffer> {
  try {
    await using handle = await open(file);
    const info = await handle.stat();
    if (!info.isFile()) return unreadable('it is no file');
    if (info.size > MAX_FILE_BYTES) return unreadable(`${info.size} bytes are more than ${MAX_FILE_BYTES}`);
    return await handle.readFile();
  } catch (error) {
    if (error instanceof FedError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    return unreadable(code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code ?? 'unknown error'})`);
  }
}

/**
 * @param name - of the file, for formats that cannot be told by their first bytes.
 * @throws {FedError} IMAGE_UNREADABLE
 */
export async function decodeBytes(bytes: Uint8Array, name: string, settings: DecodeSettings): Promise<DecodedFile> {
  const format = formatOf(bytes.subarray(0, HEAD_BYTES), name);
  if (!format)
    return unreadable(
      `${bytes.length} bytes that are no known image format${hasImageExtension(name) ? ', whatever the name says' : ''}`,
    );
  const whole = await format.open(bytes, settings);
  const { facts } = whole;
  const suspect = mayHoldText(facts, format.kind);
  // Text must be looked for at full size; else small pictures need no fine wavelets.
  const reduced = !suspect && !settings.everyPixel && facts.packing.startsWith('JPEG 2000');
  const opened = reduced ? await format.open(bytes, { ...settings, wantedEdge: settings.size }) : whole; // prettier-ignore
  const recipe = settings.recipe === 'by-modality' ? recipeFor(facts.modality, format.kind) : settings.recipe;
  const units: Float32Array[] = [];
  let masked = 0;
  for (const k of pick(opened.count, settings.perFile)) {
    const frame = await opened.frame(k);
    const cooked: Picture = settings.valueRange
      ? { ...frame, range: settings.valueRange, outside: 'cut' }
      : cook(frame, recipe);
    const { picture, hidden } = settleBurnedIn(cooked, facts, suspect, settings.burnedIn);
    if (hidden) masked++;
    units.push(
      toUnitImage(
        squarePixels(centred(picture, frame.early ?? 0), frame.aspect ?? 1),
        settings.size,
        settings.channels,
        settings.fit,
      ),
    );
  }
  return { facts, units, masked };
}

/** `most` of `count`, at the middles of equal parts: the ends of a volume show air. */
function pick(count: number, most: number | undefined): number[] {
  const n = Math.min(count, most ?? count);
  return Array.from({ length: n }, (_, i) => Math.floor(((i + 0.5) * count) / n));
}

import type { DecodedPicture } from '../../shared/imaging/source.ts';
import { rasterFormat } from './raster.ts';

/**
 * One kind of image file. A new kind is one file beside this one that exports an `ImageFormat`, and a line in `FORMATS`.
 */
export interface ImageFormat {
  readonly name: string;
  /** Lower case with the dot. A file that has one of these and does not decode is a bad file, not a stranger. */
  readonly extensions: readonly string[];
  /** Whether a file that begins with these bytes (up to 512) is of this kind. */
  matches(head: Uint8Array): boolean;
  /**
   * Pictures in order: one, or a frame or slice each; with the patient id if the file carries one.
   * @throws {FedError} IMAGE_UNREADABLE, saying what is wrong.
   */
  decode(bytes: Uint8Array, options: DecodeOptions): Promise<DecodedPicture[]>;
}

export interface DecodeOptions {
  /** The stored values that become black and white; by default all that the file's bit depth has. */
  readonly valueRange?: readonly [low: number, high: number];
}

export const HEAD_BYTES = 512;

/** Tried in this order. */
export const FORMATS: readonly ImageFormat[] = [rasterFormat];

/** The format of a file by its first bytes: names lie, and DICOM files often have no extension. */
export const formatOf = (head: Uint8Array): ImageFormat | undefined => FORMATS.find((f) => f.matches(head));

/** True when the name promises an image. */
export function hasImageExtension(file: string): boolean {
  const lower = file.toLowerCase();
  return FORMATS.some((f) => f.extensions.some((extension) => lower.endsWith(extension)));
}

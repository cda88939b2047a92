import { looksLikeDicom } from './dicom/data-set.ts';
import { openDicom } from './dicom/dicom-image.ts';
import type { OpenedFile } from './frame.ts';
import { looksLikeNifti, openNifti } from './nifti.ts';
import { rasterFormat } from './raster.ts';
import type { LabelTag, Plane } from './reading-words.ts';

/**
 * One kind of image file. A new kind is one file beside this one that exports an `ImageFormat`, and a line in `FORMATS`.
 */
export interface ImageFormat {
  readonly kind: 'raster' | 'dicom' | 'nifti';
  readonly name: string;
  /** Lower case with the dot. A file that has one of these and does not decode is a bad file, not a stranger. */
  readonly extensions: readonly string[];
  /** Whether a file that begins with these bytes (up to 512) is of this kind. */
  matches(head: Uint8Array, file: string): boolean;
  /**
   * Reads the head; pictures are decoded when they are asked for.
   * @throws {FedError} IMAGE_UNREADABLE, saying what is wrong.
   */
  open(bytes: Uint8Array, options: OpenOptions): OpenedFile | Promise<OpenedFile>;
}

export interface OpenOptions {
  /** Of the keyed hash that stands for a patient. */
  readonly patientKey: Uint8Array;
  /** DICOM attributes that make the label; none, and files have no label of their own. */
  readonly labelTags: readonly LabelTag[];
  /** How volumes are cut. */
  readonly plane: Plane;
  /** See `DicomOptions`. */
  readonly wantedEdge?: number;
}

export const HEAD_BYTES = 512;

const dicomFormat: ImageFormat = {
  kind: 'dicom',
  name: 'DICOM',
  extensions: ['.dcm', '.dicom', '.dic', '.ima'],
  matches: looksLikeDicom,
  open: openDicom,
};

const niftiFormat: ImageFormat = {
  kind: 'nifti',
  name: 'NIfTI',
  extensions: ['.nii', '.nii.gz'],
  // A gzip file shows nothing of what is in it; the name is believed, and the content checked later.
  matches: (head, file) => looksLikeNifti(head) || (head[0] === 0x1f && head[1] === 0x8b && /\.nii\.gz$/i.test(file)),
  open: (bytes, { plane }) => openNifti(bytes, plane),
};

/** Tried in this order: a DICOM file may begin like a TIFF, for the sake of viewers that know no better (PS3.10, 7.1). */
export const FORMATS: readonly ImageFormat[] = [dicomFormat, rasterFormat, niftiFormat];

/** The format of a file by its first bytes: names lie, and DICOM files often have no extension. */
export const formatOf = (head: Uint8Array, file: string): ImageFormat | undefined =>
  FORMATS.find((f) => f.matches(head, file));

const promises = (file: string, format: ImageFormat): boolean =>
  format.extensions.some((extension) => file.toLowerCase().endsWith(extension));

/** True when the name promises an image. */
export const hasImageExtension = (file: string): boolean => FORMATS.some((f) => promises(file, f));

/** True when the name promises what libvips reads, in threads of its own. */
export const hasRasterExtension = (file: string): boolean => promises(file, rasterFormat);

/** What stands beside the images in an archive's export: viewers, lists, notes. */
const STRANGER = /(^|\/)(dicomdir|lockfile|version|readme|thumbs\.db|desktop\.ini)$|\.(txt|html?|xml|json|csv|tsv|pdf|md|exe|dll|inf|ini|js|css|ico|zip|bat|sh|jar|log|db|sqlite|bval|bvec)$/i; // prettier-ignore

/** True when nobody would take the file for an image by its name. */
export const isStranger = (file: string): boolean => STRANGER.test(file);

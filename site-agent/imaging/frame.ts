import type { PixelArray } from '../../shared/imaging/picture.ts';

/** A display window of PS3.3 C.11.2.1.2 and C.11.2.1.3. */
export interface DisplayWindow {
  readonly center: number;
  readonly width: number;
  readonly shape: 'linear' | 'linear-exact' | 'sigmoid';
}

/** A display curve: a value is looked up, below `first` and beyond the end the nearest entry holds. */
export interface DisplayTable {
  readonly first: number;
  readonly entries: Uint16Array;
  /** The largest entry there may be. */
  readonly max: number;
}

/**
 * One decoded picture with what its file says of intensities, before a recipe makes black and white of it.
 * Grey values are in the file's own unit (Hounsfield units for CT) where it states one.
 */
export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  /** [height, width, channels] */
  readonly data: PixelArray;
  /** All that the values could be; undefined for floats and deep integers without a meaning of their own. */
  readonly fullRange?: readonly [low: number, high: number];
  /** Low values are bright: MONOCHROME1. */
  readonly inverted: boolean;
  /** [height · width], 1 where the file marks a pixel as no part of the picture. */
  readonly padding?: Uint8Array;
  readonly windows: readonly DisplayWindow[];
  readonly table?: DisplayTable;
  /** How far the values lie before the middles of their pixels, across and down: wavelets keep every second sample. */
  readonly early?: number;
  /** Height of a pixel over its width, where it is not 1. */
  readonly aspect?: number;
}

/** What a file says of itself that the pipeline may use. Nothing here names a person. */
export interface FileFacts {
  /** Of the format, for people: `JPEG 2000 lossless`. */
  readonly packing: string;
  /** DICOM's code, `CT`; undefined where a format has none. */
  readonly modality?: string;
  /** A keyed hash; files of one patient share it. */
  readonly patient?: string;
  /** From the tags that were chosen for it. */
  readonly label?: string;
  /** A screen that was captured, not an image of an apparatus. */
  readonly captured?: boolean;
  /** What the file itself says of text burned into its pixels. */
  readonly burnedIn?: boolean;
}

/** A file whose head was read and whose pictures are not decoded yet. */
export interface OpenedFile {
  readonly facts: FileFacts;
  /** Frames or slices. */
  readonly count: number;
  /** Throws FedError IMAGE_UNREADABLE. */
  frame(k: number): Frame | Promise<Frame>;
}

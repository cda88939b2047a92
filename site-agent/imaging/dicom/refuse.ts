import { FedError } from '../../../shared/errors.ts';

/**
 * Refuses one file.
 * @param why - a sentence of ours with numbers of ours. Never text out of the file: it may hold a name.
 * @throws {FedError} IMAGE_UNREADABLE
 */
export function unreadable(why: string): never {
  throw new FedError('IMAGE_UNREADABLE', why);
}

/** Sizes that are refused before anything of that size is allocated. */
export const LIMITS = {
  /** Samples of one frame; 32 Mi is 5,792 × 5,792, above any radiograph. */
  frameSamples: 2 ** 25,
  /** Bytes of a data set after inflating. */
  dataSetBytes: 2 ** 28,
  frames: 2 ** 16,
  /** Fragments of encapsulated pixel data. */
  fragments: 2 ** 18,
} as const;

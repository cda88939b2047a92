import { open } from 'node:fs/promises';
import path from 'node:path';
import { idxSource, isIdxName } from './idx-source.ts';
import { npzSource } from './npz-source.ts';
import { loadSource, type ReadOptions, type ReadResult } from './source.ts';
import { fileSource } from './zip-read.ts';

/** True when `readArrayDataset` reads files of this name. */
export const isArrayDataset = (file: string): boolean => /\.npz$/i.test(file) || isIdxName(file);

/**
 * Reads an image set from an .npz file, or from idx files (a folder, or the images file).
 *
 * Coordinators use it for sets the policy declares public, sites through `readDataset`.
 *
 * @throws {FedError} DATASET_INVALID, with the file name and what is wrong.
 */
export async function readArrayDataset(target: string, options: ReadOptions): Promise<ReadResult> {
  if (!/\.npz$/i.test(target)) return loadSource(await idxSource(target, options), options);
  await using handle = await open(target);
  const { size } = await handle.stat();
  // Awaited here: the file is closed on the way out, and a rejection must already have its handler by then.
  return await loadSource(await npzSource(fileSource(handle, size), path.basename(target), options), options);
}

import { readdir, stat } from 'node:fs/promises';
import { FedError } from '../../shared/errors.ts';
import { isArrayDataset, readArrayDataset } from '../../shared/imaging/array-dataset.ts';
import { isIdxName } from '../../shared/imaging/idx-source.ts';
import { loadSource, type ReadOptions, type ReadResult } from '../../shared/imaging/source.ts';
import { patientIdHash } from './dicom/identity.ts';
import { type FolderOptions, folderSource, patientKeyFor } from './folder-source.ts';
import { asPrivateImages, type PrivateImages } from './private-images.ts';

export interface DatasetOptions extends ReadOptions, FolderOptions {}

/**
 * Reads an image set of any supported format, all of it, before a round begins: an .npz file, idx files (folder or
 * images file), or a folder of images (DICOM, NIfTI, PNG, JPEG, TIFF) by class, with a CSV, or with labels in the files.
 *
 * @throws {FedError} DATASET_INVALID, with the file name and what is wrong.
 */
export async function readDataset(target: string, options: DatasetOptions): Promise<ReadResult> {
  const info = await stat(target).catch(() => undefined);
  if (!info) throw new FedError('DATASET_INVALID', `${target}: there is no such file or folder`);
  if (info.isDirectory()) {
    const hasIdx = !options.labels && (await readdir(target)).some(isIdxName);
    if (hasIdx) return readArrayDataset(target, options);
    return loadSource(await folderSource(target, options), options);
  }
  if (isArrayDataset(target)) return readArrayDataset(target, options);
  throw new FedError('DATASET_INVALID', `${target}: expected .npz, idx (images-idx3-ubyte), or a folder of images`);
}

/**
 * Step 1 of 9: reads a site's dataset as private images, grouped by patient. Throws as `readDataset` does.
 *
 * Guarantee: of what a dataset calls its patients, only which images are one patient's is kept. Ids, and file names that
 * stood for a patient, are replaced by hashes under `patientKey`, or a key that is forgotten where there is none: with the
 * key, and only with it, a patient who is named can be found again.
 */
export async function readPrivateImages(
  target: string,
  options: DatasetOptions,
): Promise<{ images: PrivateImages; bad: ReadResult['bad'] }> {
  const patientKey = patientKeyFor(options);
  const hidePatient = (id: string): string => patientIdHash(id, new Uint8Array(), patientKey);
  const { images, bad, patientsKnown } = await readDataset(target, { ...options, patientKey, hidePatient });
  return { images: asPrivateImages(images, patientsKnown), bad };
}

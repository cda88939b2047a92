/**
 * The real images that a run's worth is measured on. What is measured on real images here is in no ledger, so they are
 * images that the run's policy calls public, and no others: without its word nothing is read.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { FedError } from '../shared/errors.ts';
import { readArrayDataset } from '../shared/imaging/array-dataset.ts';
import type { LabelledImages } from '../shared/imaging/images.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';

export interface PublicSet {
  readonly images: LabelledImages;
  /** What the policy says that it is. */
  readonly source: string;
}

/**
 * Reads the set, in the shape and classes of the policy's model.
 *
 * @param file - .npz or idx; where the policy gives a digest, the file with this digest.
 * @throws {FedError} PARAMETER_INVALID where the policy calls no images public, there is no such file, or it is another one;
 *   DATASET_INVALID where it cannot be read.
 */
export async function readPublicSet(
  file: string,
  { evaluation: { publicTestSet }, model }: CheckedPolicy,
  split?: 'train' | 'val' | 'test',
): Promise<PublicSet> {
  if (publicTestSet === null)
    throw new FedError('PARAMETER_INVALID', `${file} is not measured on: the run's policy calls no real images public (evaluation.publicTestSet is null)`); // prettier-ignore
  const { source, sha256 } = publicTestSet;
  if (sha256 !== undefined && !/\.npz$/i.test(file))
    throw new FedError(
      'PARAMETER_INVALID',
      `${file}: the policy's digest is of one file with its labels; name an .npz`,
    );
  const found = await digestOf(file, sha256 !== undefined);
  if (found !== sha256)
    throw new FedError('PARAMETER_INVALID', `${file} is not the set that the policy calls public: its SHA-256 is ${found}, not ${sha256}`); // prettier-ignore
  const { imageSize: size, channels, classes } = model;
  const read = { size, channels, classes, onBadFile: 'refuse', ...(split && { split }) } as const;
  return { images: (await readArrayDataset(file, read)).images, source };
}

/** Undefined where nobody asks for it: then the file is only looked for. */
async function digestOf(file: string, wanted: boolean): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    await access(file, constants.R_OK);
    // A folder is one of idx files, and never an .npz.
    if (/\.npz$/i.test(file) && !(await stat(file)).isFile())
      throw Object.assign(new Error('no file'), { code: 'EISDIR' });
    if (!wanted) return undefined;
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  } catch (error) {
    throw new FedError('PARAMETER_INVALID', `public set ${file}: it cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error }); // prettier-ignore
  }
  return hash.digest('hex');
}

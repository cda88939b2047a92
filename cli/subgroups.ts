/** Subgroups of test images, as the caller has them: a column of a CSV, or an array of an .npz. */
import { open, readFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import { FedError } from '../shared/errors.ts';
import { parseNpy } from '../shared/imaging/npy.ts';
import { DEFAULT_MAX_BYTES } from '../shared/imaging/source.ts';
import { fileSource, listZip, readMember } from '../shared/imaging/zip-read.ts';

/** More of them are an id, not a subgroup. */
const MOST_GROUPS = 100;

/**
 * One name a test image, in the order of the images. An empty one is "unknown".
 *
 * @param column - of the CSV, whose first line names its columns, or the key of the array.
 * @throws {FedError} PARAMETER_INVALID, DATASET_INVALID: no such file, column or key, not one a test image, or more than
 *   100 different ones.
 */
export async function readSubgroups(file: string, column: string, images: number): Promise<string[]> {
  const names = await (/\.npz$/i.test(file) ? fromNpz(file, column) : fromCsv(file, column)).catch((error: Error) => {
    if (error instanceof FedError) throw error;
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : error.message;
    throw new FedError('PARAMETER_INVALID', `subgroups ${file}: ${why}`, { cause: error });
  });
  if (names.length !== images)
    throw new FedError('PARAMETER_INVALID', `${file} has ${names.length} subgroups, the test set ${images} images`);
  const different = new Set(names).size;
  if (different > MOST_GROUPS)
    throw new FedError('PARAMETER_INVALID', `${column} of ${file} has ${different} values: no subgroups but an id`);
  return names.map((name) => (name.trim() === '' ? 'unknown' : name.trim()));
}

async function fromCsv(file: string, column: string): Promise<string[]> {
  const rows = parse<Record<string, string>>(await readFile(file, 'utf8'), {
    columns: true,
    bom: true,
    skip_empty_lines: true,
  });
  const first = rows.length > 0 ? rows[0] : {};
  if (!Object.hasOwn(first, column))
    throw new FedError('PARAMETER_INVALID', `${file} has no column ${column} (${Object.keys(first).join(', ')})`);
  return rows.map((row) => row[column]);
}

async function fromNpz(file: string, key: string): Promise<string[]> {
  await using handle = await open(file);
  const bytes = fileSource(handle, (await handle.stat()).size);
  const members = await listZip(bytes);
  const member = members.find(({ name }) => name === `${key}.npy` || name === key);
  if (!member) {
    const keys = members.map(({ name }) => name.replace(/\.npy$/, '')).join(', ');
    throw new FedError('PARAMETER_INVALID', `${file} has no array ${key} (${keys})`);
  }
  const { data, shape } = parseNpy(await readMember(bytes, member, DEFAULT_MAX_BYTES));
  if (data.length !== shape[0]) throw new FedError('DATASET_INVALID', `${key} of ${file} is not one value an image`);
  return Array.from(data as ArrayLike<string | number | bigint>, String);
}

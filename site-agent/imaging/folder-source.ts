/**
 * Image files in folders. Either one folder per class (`hand/001.png`), or any layout with a CSV whose header has
 * `file` and `label`, and optionally `patient` and `split`. With `split` set, a folder of that name is used if there is one.
 */
import { open, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'csv-parse/sync';
import { z } from 'zod';
import { FedError } from '../../shared/errors.ts';
import type { DecodedPicture, ImageSource, ReadOptions } from '../../shared/imaging/source.ts';
import { formatOf, HEAD_BYTES, hasImageExtension } from './formats.ts';

interface Entry {
  /** Relative to the dataset's folder, with forward slashes. */
  readonly file: string;
  readonly label: string;
  readonly patient: string | undefined;
}

const CSV_NAME = 'labels.csv';
/** Larger than any single picture that `MAX_PIXELS` lets through would sensibly be. */
const MAX_FILE_BYTES = 2 ** 29;

/** One line of the CSV; other columns are ignored. */
const CsvRow = z.object({
  file: z.string().min(1),
  label: z.string().min(1),
  patient: z.string().optional(),
  split: z.string().optional(),
});

/**
 * Opens a folder of images.
 *
 * @param csv - path of a CSV; by default `labels.csv` in the folder, if it is there.
 * @throws {FedError} DATASET_INVALID: no images, or a CSV that cannot be used.
 */
export async function folderSource(
  folder: string,
  csv: string | undefined,
  options: ReadOptions,
): Promise<ImageSource> {
  const names = await readdir(folder);
  const table = csv ?? (names.includes(CSV_NAME) ? path.join(folder, CSV_NAME) : undefined);
  const inSplit = !table && options.split && names.includes(options.split) ? options.split : '';
  const entries = table ? await csvEntries(table, options.split) : await classEntries(folder, inSplit);
  if (entries.length === 0)
    throw new FedError(
      'DATASET_INVALID',
      `${folder}: no images; expected a folder per class, or ${CSV_NAME} with file, label`,
    );
  return {
    count: entries.length,
    name: (i) => entries[i].file,
    label: (i) => entries[i].label,
    patient: (i) => entries[i].patient,
    decode: (i) => decodeFile(folder, entries[i].file, options),
  };
}

/** Every file below every class folder, sorted, so that the order does not depend on the disk. Hidden ones are left out. */
async function classEntries(root: string, below: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  const walk = async (relative: string, label: string): Promise<void> => {
    const items = (await readdir(path.join(root, relative), { withFileTypes: true })).filter(
      (item) => !item.name.startsWith('.'),
    );
    for (const item of items.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const file = path.posix.join(relative, item.name);
      if (item.isDirectory()) await walk(file, label || item.name);
      else if (label) entries.push({ file, label, patient: undefined });
    }
  };
  await walk(below, '');
  return entries;
}

async function csvEntries(table: string, split: ReadOptions['split']): Promise<Entry[]> {
  const refuse = (why: string): never => {
    throw new FedError('DATASET_INVALID', `${path.basename(table)}: ${why}`);
  };
  let rows: unknown[];
  try {
    rows = parse(await readFile(table), { bom: true, trim: true, columns: true, skip_empty_lines: true });
  } catch (error) {
    return refuse((error as Error).message);
  }
  const columns = Object.keys(rows[0] ?? {});
  const missing = ['file', 'label'].filter((name) => !columns.includes(name));
  if (missing.length > 0) refuse(`no column ${missing.join(' and ')}; its header is ${columns.join(', ') || 'empty'}`);
  const all = rows.map((row, i) => {
    const { data, error } = CsvRow.safeParse(row);
    return data ?? refuse(`line ${i + 2}: ${z.prettifyError(error).replaceAll('\n', ' ')}`);
  });
  const wanted = split && columns.includes('split') ? all.filter((row) => row.split === split) : all;
  // An empty patient cell is an unknown patient, not one patient shared by all empty cells.
  return wanted.map(({ file, label, patient }) => ({
    file: file.replaceAll('\\', '/'),
    label,
    patient: patient || undefined,
  }));
}

async function decodeFile(folder: string, file: string, options: ReadOptions): Promise<DecodedPicture[]> {
  const full = path.resolve(folder, file);
  if (!full.startsWith(path.resolve(folder) + path.sep))
    throw new FedError('IMAGE_UNREADABLE', 'it lies outside the dataset folder');
  let bytes: Buffer;
  try {
    await using handle = await open(full);
    const { size } = await handle.stat();
    if (size > MAX_FILE_BYTES) throw new FedError('IMAGE_UNREADABLE', `${size} bytes are more than ${MAX_FILE_BYTES}`);
    bytes = await handle.readFile();
  } catch (error) {
    if (error instanceof FedError) throw error;
    throw new FedError(
      'IMAGE_UNREADABLE',
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message,
    );
  }
  const format = formatOf(bytes.subarray(0, HEAD_BYTES));
  if (!format)
    throw new FedError(
      'IMAGE_UNREADABLE',
      `${bytes.length} bytes that are no known image format${hasImageExtension(file) ? ', whatever the name says' : ''}`,
    );
  return format.decode(bytes, options.valueRange ? { valueRange: options.valueRange } : {});
}

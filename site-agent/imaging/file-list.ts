/** Which files of a folder are images of which class: by a CSV, by a DICOMDIR, or by the folders they lie in. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'csv-parse/sync';
import { z } from 'zod';
import { FedError } from '../../shared/errors.ts';
import type { ReadOptions } from '../../shared/imaging/source.ts';
import { readWhole } from './decode-file.ts';
import { listedFiles } from './dicom/directory.ts';
import { isStranger } from './formats.ts';

export interface Entry {
  /** Relative to the dataset's folder, with forward slashes. */
  readonly file: string;
  /** Undefined when the file itself says. */
  readonly label: string | undefined;
  readonly patient: string | undefined;
}

export interface ListOptions {
  /** Path of a CSV; by default `labels.csv` in the folder, if it is there. */
  readonly csv?: string;
  readonly split?: ReadOptions['split'];
  /** Labels come from the files, so that folders mean nothing. */
  readonly labelsInFiles: boolean;
  /** In a folder a class, the next folders are patients. */
  readonly patientFolders: boolean;
}

const CSV_NAME = 'labels.csv';

/** One line of the CSV; other columns are ignored. */
const CsvRow = z.object({
  file: z.string().min(1),
  label: z.string().optional(),
  patient: z.string().optional(),
  split: z.string().optional(),
});

/** @throws {FedError} DATASET_INVALID: a CSV or a DICOMDIR that cannot be used. */
export async function listEntries(folder: string, o: ListOptions): Promise<Entry[]> {
  const names = await readdir(folder);
  const table = o.csv ?? (names.includes(CSV_NAME) ? path.join(folder, CSV_NAME) : undefined);
  if (table !== undefined) return csvEntries(table, o);
  const inSplit = o.split !== undefined && names.includes(o.split) ? o.split : '';
  const directory = names.find((name) => name.toUpperCase() === 'DICOMDIR');
  if (o.labelsInFiles && directory !== undefined && inSplit === '') return directoryEntries(folder, directory);
  return walk(folder, inSplit, o);
}

/** Every file below a folder, sorted, so that the order does not depend on the disk. Hidden ones and strangers are left out. */
async function walk(root: string, below: string, o: ListOptions): Promise<Entry[]> {
  const entries: Entry[] = [];
  const into = async (relative: string, above: readonly string[]): Promise<void> => {
    const items = (await readdir(path.join(root, relative), { withFileTypes: true })).filter(
      (item) => !item.name.startsWith('.'),
    );
    for (const item of items.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const file = path.posix.join(relative, item.name);
      if (item.isDirectory()) await into(file, [...above, item.name]);
      else if (!isStranger(file) && (o.labelsInFiles || above.length > 0))
        entries.push({
          file,
          label: o.labelsInFiles ? undefined : above[0],
          // Under one class, a patient's folder is the second; without classes it is the first.
          patient: o.patientFolders ? above[o.labelsInFiles ? 0 : 1] : undefined,
        });
    }
  };
  await into(below, []);
  return entries;
}

async function directoryEntries(folder: string, name: string): Promise<Entry[]> {
  try {
    const files = listedFiles(await readWhole(path.join(folder, name)));
    return files.map((file) => ({ file, label: undefined, patient: undefined }));
  } catch (error) {
    if (error instanceof FedError) throw new FedError('DATASET_INVALID', `${name}: ${error.message}`);
    throw error;
  }
}

async function csvEntries(table: string, { split, labelsInFiles }: ListOptions): Promise<Entry[]> {
  const refuse = (why: string): never => {
    throw new FedError('DATASET_INVALID', `${path.basename(table)}: ${why}`);
  };
  let rows: unknown[];
  try {
    rows = parse(await readFile(table), { bom: true, trim: true, columns: true, skip_empty_lines: true });
  } catch (error) {
    return refuse((error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message); // prettier-ignore
  }
  const columns = Object.keys(rows[0] ?? {});
  const missing = (labelsInFiles ? ['file'] : ['file', 'label']).filter((name) => !columns.includes(name));
  if (missing.length > 0) refuse(`no column ${missing.join(' and ')}; its header is ${columns.join(', ') || 'empty'}`);
  const all = rows.map((row, i) => {
    const { data, error } = CsvRow.safeParse(row);
    if (data === undefined) return refuse(`line ${i + 2}: ${z.prettifyError(error).replaceAll('\n', ' ')}`);
    if (!labelsInFiles && !data.label) return refuse(`line ${i + 2}: no label`);
    return data;
  });
  const wanted = split && columns.includes('split') ? all.filter((row) => row.split === split) : all;
  // An empty patient cell is an unknown patient, not one patient shared by all empty cells.
  return wanted.map(({ file, label, patient }) => ({
    file: file.replaceAll('\\', '/'),
    label: labelsInFiles ? undefined : label,
    patient: patient || undefined,
  }));
}

/** Real DICOM and NIfTI files beside the repository; their README names sources and licences. They are no part of it. */
import { createHash } from 'node:crypto';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

const DATA = path.resolve(import.meta.dirname, '../../../shared/data');
export const DICOM_FOLDER = path.join(DATA, 'dicom');
export const NIFTI_FOLDER = path.join(DATA, 'nifti');
export const medicalDataAbsent = !existsSync(DICOM_FOLDER);
if (medicalDataAbsent) console.warn(`skipped: ${DICOM_FOLDER} with real DICOM files is not here`);

export const dicomNames = (): string[] => (medicalDataAbsent ? [] : readdirSync(DICOM_FOLDER).toSorted());
export const dicomBytes = (name: string): Buffer => readFileSync(path.join(DICOM_FOLDER, name));

/** SHA-256 of values as doubles, little endian: the first 16 digits. */
export function valuesDigest(parts: readonly ArrayLike<number>[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(new Uint8Array(Float64Array.from(part).buffer));
  return hash.digest('hex').slice(0, 16);
}

const run = promisify(execFile);
/** Debian's interpreter sees Debian's packages, whatever else comes first on the path. */
const PYTHONS = ['/usr/bin/python3', 'python3'];

/** A Python that has a module, or undefined. */
export async function pythonWith(module: string): Promise<string | undefined> {
  for (const python of PYTHONS)
    if (await run(python, ['-c', `import ${module}`]).then(() => true, () => false)) return python; // prettier-ignore
  console.warn(`skipped: no Python with ${module}`);
  return undefined;
}

/** What the reference script says of files, by name; without those that the reference decoder cannot read. */
export async function referencesOf(
  python: string,
  files: readonly string[],
): Promise<Map<string, Record<string, unknown>>> {
  const script = path.join(import.meta.dirname, 'medical-reference.py');
  const { stdout } = await run(python, [script, ...files], { maxBuffer: 2 ** 26, timeout: 240_000 });
  const found = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown> | null);
  return new Map(files.flatMap((file, i) => (found[i] ? [[path.basename(file), found[i]]] : [])));
}

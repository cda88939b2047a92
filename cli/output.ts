/** Where results go: standard output for what was asked for, standard error for everything said on the way. */
import { renameSync, writeFileSync } from 'node:fs';

export const print = (text: string): void => void process.stdout.write(`${text}\n`);
export const note = (text: string): void => void process.stderr.write(`${text}\n`);

/** Writes one event a line on standard output, for machines, stamped with this one's clock. */
export const eventLines =
  () =>
  (event: { readonly kind: string }): void =>
    print(JSON.stringify({ timeMs: Date.now(), ...event }));

/** Puts a file in another's place: after a crash there is the old one or the new one. */
export function replaceWhole(path: string, text: string, mode = 0o644): void {
  writeWhole(`${path}.new`, text, mode);
  renameSync(`${path}.new`, path);
}

/** Writes a file of its own folder, whole. @param mode - 0600 for what others must not read. */
export const writeWhole = (path: string, text: string, mode = 0o644): void =>
  writeFileSync(path, text, { mode, flush: true });

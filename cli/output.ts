/** Where results go: standard output for what was asked for, standard error for everything said on the way. */
import { renameSync, writeFileSync } from 'node:fs';

export const print = (text: string): void => void process.stdout.write(`${text}\n`);
export const note = (text: string): void => void process.stderr.write(`${text}\n`);

/** Writes one event a line on standard output, for machines, stamped with this one's clock. */
export const eventLines =
  () =>
  (event: { readonly kind: string }): void =>
    print(JSON.stringify({ timeMs: Date.now(), ...event }));

/** Rounding of the binary fraction itself is no reason to write one more: 6.84 stays 6.84. */
const GRAIN = 1e-9;

/** An epsilon as people write it, rounded upwards: what was spent is never said to be less. */
export const showEpsilon = (epsilon: number | null, digits = 2): string =>
  epsilon === null || !Number.isFinite(epsilon)
    ? 'infinite'
    : (Math.ceil(epsilon * 10 ** digits - GRAIN) / 10 ** digits).toFixed(digits);

/** What is left of an epsilon, rounded downwards. */
export const showRemaining = (epsilon: number | null): string =>
  epsilon === null || !Number.isFinite(epsilon) ? 'infinite' : (Math.floor(epsilon * 100 + GRAIN) / 100).toFixed(2);

/** Puts a file in another's place: after a crash there is the old one or the new one. */
export function replaceWhole(path: string, text: string, mode = 0o644): void {
  writeWhole(`${path}.new`, text, mode);
  renameSync(`${path}.new`, path);
}

/** Writes a file of its own folder, whole. @param mode - 0600 for what others must not read. */
export const writeWhole = (path: string, text: string, mode = 0o644): void =>
  writeFileSync(path, text, { mode, flush: true });

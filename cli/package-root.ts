import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds package.json, whether we run from a checkout or from dist/. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

/** This program, as something `spawn` can start again: the executable and its first arguments. */
export function selfCommand(): { command: string; args: string[] } {
  const main = fileURLToPath(import.meta.url).replace(/package-root\.(ts|js)$/, 'main.$1');
  return { command: process.execPath, args: [main] };
}

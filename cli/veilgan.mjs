#!/usr/bin/env node
// The way in. Node 24 comes with this package (the npm package `node`), so an older Node hands over to it.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
// An installed package holds JavaScript in dist/; a checkout runs its TypeScript by type stripping.
const built = join(here, '..', 'dist', 'cli', 'main.js');
const main = existsSync(built) && here.includes('node_modules') ? built : join(here, 'main.ts');
const [major] = process.versions.node.split('.').map(Number);

if (major >= 24) {
  await import(pathToFileURL(main).href);
} else {
  const node = join(dirname(createRequire(import.meta.url).resolve('node/package.json')), 'bin', 'node');
  const { status, signal } = spawnSync(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
  if (signal) process.kill(process.pid, signal);
  process.exitCode = status ?? 1;
}

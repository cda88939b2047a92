import { globSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
/** Which top-level folders a folder may import from. `cli` alone sees both sides. */
const MAY: Record<string, readonly string[]> = {
  shared: ['shared'],
  'site-agent': ['shared', 'site-agent'],
  coordinator: ['shared', 'coordinator'],
  cli: ['shared', 'site-agent', 'coordinator', 'cli'],
};

function offences(folder: string, file: string, text: string): string[] {
  const allowed = MAY[folder];
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)]
    .map(([, specifier]) => relative(root, resolve(file, '..', specifier)))
    .filter((target) => target.includes('/') && !allowed.includes(target.split('/')[0]))
    .map((target) => `${relative(root, file)} imports ${target}`);
}

test.each(Object.keys(MAY))('%s imports only what it may', (folder) => {
  const files = globSync('**/*.ts', { cwd: join(root, folder) });
  expect(files.length).toBeGreaterThan(0);
  expect(
    files.flatMap((f) => offences(folder, join(root, folder, f), readFileSync(join(root, folder, f), 'utf8'))),
  ).toEqual([]);
});

test('positive control: an import across the border is found', () => {
  const file = join(root, 'shared/dp/example.ts');
  expect(offences('shared', file, "import { x } from '../../site-agent/agent.ts';")).toHaveLength(1);
  expect(offences('shared', file, "const x = await import('../../coordinator/round.ts');")).toHaveLength(1);
});

/** V8 says nothing of a setting that it does not know, and goes on without. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const SHARED = join(import.meta.dirname, '../../shared');
const known = execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' });
const isKnown = (flag: string): boolean => known.includes(`--${flag.replace(/^--(no-)?/, '').replace(/=.*/, '')} `);

test('this Node knows every setting that is made', () => {
  const text = ['collector.ts', 'compiler.ts'].map((file) => readFileSync(join(SHARED, file), 'utf8')).join('\n');
  const flags = [...text.matchAll(/setFlagsFromString\('([^']+)'\)/g)].map(([, flag]) => flag);
  expect(flags).toHaveLength(3);
  expect(flags.filter((flag) => !isKnown(flag))).toEqual([]);
  // Positive control.
  expect(isKnown('--no-maglev-inlinings')).toBe(false);
});

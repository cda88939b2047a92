/** Rules a reader may rely on without reading everything: where chance, the environment and machines may be named. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
interface Source {
  readonly path: string;
  readonly text: string;
}
/** What is in the repository, as it lies in the working tree. */
const tracked: readonly Source[] = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  .split('\0')
  .filter((path) => path !== '' && existsSync(join(root, path)))
  .map((path) => ({ path, text: readFileSync(join(root, path), 'latin1') }));
const own = tracked.filter(({ path }) => /^(shared|site-agent|coordinator|cli)\/.*\.(ts|mjs|js)$/.test(path));

type Rule = (file: Source) => boolean;
const offenders = (files: readonly Source[], rule: Rule): string[] => files.filter(rule).map(({ path }) => path);
const file = (path: string, text: string): Source => ({ path, text });

/** Replaces the function while a graph is recorded, so that whoever calls it there is refused. */
const GUARDS_CHANCE = 'shared/engine/recording-backend.ts';
const takesChance: Rule = ({ path, text }) => /Math\s*(\.|\[')random/.test(text) && path !== GUARDS_CHANCE;
const readsEnvironment: Rule = ({ path, text }) => /process\s*(\.|\[')env/.test(text) && path !== 'cli/config.ts';
/** Spelled in parts, so that this file does not name one itself. */
const MACHINE_FOLDERS = ['work', 'root', 'home', 'Users'].map((name) => `/${name}/`);
const namesMachine: Rule = ({ text }) =>
  MACHINE_FOLDERS.some((folder) => new RegExp(`(^|[^\\w.*-])${folder}[\\w.-]`, 'm').test(text));
const namesRegistry: Rule = ({ text }) =>
  /https?:\/\/[^\s"'/]*(registry|artifactory|nexus|pypi)|^\s*(@[\w-]+:)?registry\s*=|_auth[T]oken/im.test(text);
const isLong: Rule = ({ text }) => text.split('\n').length > 401;
const isUnexplained: Rule = (f) => isLong(f) && !/\b(long|lines)\b/i.test(f.text.split('\n').slice(0, 15).join('\n'));

test('there is something to look at', () => {
  expect(own.length).toBeGreaterThan(100);
  expect(tracked.map(({ path }) => path)).toContain('package.json');
});

test('nothing draws from the generator of the language', () => {
  expect(offenders(own, takesChance)).toEqual([]);
  // The one exception puts a guard in its place and draws nothing.
  expect(own.find(({ path }) => path === GUARDS_CHANCE)!.text).not.toMatch(/Math\.random\(/);
});

test('the environment is read in one file', () => {
  expect(offenders(own, readsEnvironment)).toEqual([]);
});

test('no file names a place on somebody’s machine, or where its packages were fetched', () => {
  expect(offenders(tracked, namesMachine)).toEqual([]);
  expect(offenders(tracked, namesRegistry)).toEqual([]);
});

test('a file of more than 400 lines says why at its head', () => {
  const code = tracked.filter(({ path }) => /\.(ts|mjs|js|py)$/.test(path));
  expect(offenders(code, isUnexplained)).toEqual([]);
});

test('positive controls: each rule finds what it is for', () => {
  const [draw, env] = [`Math.${'random'}()`, `process.${'env'}.HOME`];
  expect(offenders([file('shared/a.ts', `const x = ${draw};`)], takesChance)).toHaveLength(1);
  expect(offenders([file('cli/other.ts', `run(${env})`), file('cli/config.ts', env)], readsEnvironment)).toHaveLength(
    1,
  );
  const paths = MACHINE_FOLDERS.map((folder) => file('README.md', `see ${folder}somebody/veilgan`));
  expect(offenders(paths, namesMachine)).toHaveLength(MACHINE_FOLDERS.length);
  const innocent = MACHINE_FOLDERS.flatMap((name) => [`from '.${name}x.ts'`, `e2e${name}test`]).map((text) =>
    file('a', text),
  );
  expect(offenders(innocent, namesMachine)).toEqual([]);
  const host = `"resolved": "https:${'//'}${'registry'}.example.org/zod.tgz"`;
  expect(offenders([file('package-lock.json', host), file('.npmrc', `${'registry'}=x`)], namesRegistry)).toHaveLength(
    2,
  );
  const lines = '\n'.repeat(401);
  expect(
    offenders([file('a.ts', lines), file('b.ts', `/** Long, because tables are. */${lines}`)], isUnexplained),
  ).toEqual(['a.ts']);
});

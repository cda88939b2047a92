/**
 * The tarball, as it would be installed: Node strips no types under node_modules, so what runs there is the JavaScript
 * of `dist/`. Dependencies are those of the checkout, by a link: what is looked at is our own package.
 */
import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../cli/package-root.ts';
import { type Ended, startProcess, temporaryFolder, writePhantoms } from '../support/cli-rig.ts';

const root = temporaryFolder();
const installed = root.at('elsewhere', 'node_modules', 'veilgan');

beforeAll(() => {
  const checkout = packageRoot();
  const packed = execFileSync('npm', ['pack', '--json', '--silent', '--pack-destination', root.path], {
    cwd: checkout,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ filename }] = JSON.parse(packed.slice(packed.indexOf('['))) as [{ filename: string }];
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', root.at(filename), '-C', installed, '--strip-components=1']);
  symlinkSync(join(checkout, 'node_modules'), join(installed, 'node_modules'));
}, 120_000);
afterAll(() => root[Symbol.dispose]());

const veilgan = (...args: string[]): Promise<Ended> =>
  startProcess(process.execPath, [join(installed, 'cli', 'veilgan.mjs'), ...args]).ended;

test('the package holds JavaScript, policies and what people must read, and no TypeScript', () => {
  const files = globSync('**/*', { cwd: installed, exclude: (name) => name === 'node_modules' });
  expect(files).toEqual(expect.arrayContaining(['dist/cli/main.js', 'policies/demo-insecure.json', 'SECURITY.md']));
  expect(files.filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))).toEqual([]);
  const { bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { bin: { veilgan: string } };
  expect(statSync(join(installed, bin.veilgan)).mode & 0o100).not.toBe(0);
});

test('installed elsewhere, veilgan helps, checks a policy and computes', async () => {
  await writePhantoms(root.at('a.npz'), 'a');
  const [help, check, evaluate] = await Promise.all([
    veilgan('--help'),
    veilgan('policy', 'check', join(installed, 'policies', 'demo-insecure.json')),
    veilgan('evaluate', '--train', root.at('a.npz'), '--test', root.at('a.npz'), '--epochs', '1', '--json'),
  ]);
  expect([help.code, help.out]).toEqual([0, expect.stringContaining('coordinator')]);
  expect([check.code, check.out]).toEqual([0, expect.stringContaining('ok: demo-insecure')]);
  expect([evaluate.code, evaluate.out]).toEqual([0, expect.stringContaining('"accuracy":')]);
});

test('positive control: TypeScript under node_modules does not run', async () => {
  const text = 'const x: number = 1; export { x };';
  writeFileSync(join(installed, 'x.ts'), text);
  const { code, err } = await startProcess(process.execPath, [join(installed, 'x.ts')]).ended;
  expect([code, err]).toEqual([1, expect.stringContaining('ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING')]);
});

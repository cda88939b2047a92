/**
 * The tarball, as it would be installed: Node strips no types under node_modules, so what runs there is the JavaScript
 * of `dist/`. Dependencies are those of the checkout, by a link: what is looked at is our own package.
 */
import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../cli/package-root.ts';
import { writeDicomPhantoms } from '../support/dicom-folder.ts';
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
}, 400_000);
afterAll(() => root[Symbol.dispose]());

const veilgan = (...args: string[]): Promise<Ended> =>
  startProcess(process.execPath, [join(installed, 'cli', 'veilgan.mjs'), ...args]).ended;

test('the package holds JavaScript, policies and what people must read, and no TypeScript', () => {
  const files = globSync('**/*', { cwd: installed, exclude: (name) => name === 'node_modules' });
  expect(files).toEqual(
    expect.arrayContaining([
      'dist/cli/main.js',
      'policies/demo-insecure.json',
      'SECURITY.md',
      'site-agent/study/page/study.js',
    ]),
  );
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

test('installed elsewhere, SEAL computes in a thread of the package', async () => {
  const bfv = (file: string) => JSON.stringify(join(installed, 'dist', 'shared', 'aggregation', 'bfv', file));
  const program = `
    const { SealWorker } = await import(${bfv('seal-worker.js')});
    const { bfvParameters } = await import(${bfv('parameters.js')});
    const worker = new SealWorker(bfvParameters({ bits: 16, maxSites: 8 }));
    console.log((await worker.call('createSecretKey')).length > 10_000);`;
  // No dispose: a thread that has nothing to do keeps no process alive.
  const { code, out, err } = await startProcess(process.execPath, ['--input-type=module', '-e', program]).ended;
  expect([code, out.trim()], err).toEqual([0, 'true']);
});

test('installed elsewhere, DICOM files are decoded in threads of the package', async () => {
  writeDicomPhantoms(root.at('archive'), { patients: 4, site: 'a', classes: ['chest', 'hand'] });
  const { code, out, err } = await veilgan(
    'site',
    'check',
    root.at('archive'),
    '--label-tag',
    'BodyPartExamined',
    '--json',
  );
  expect([code, JSON.parse(out || '{}')], err).toEqual([
    0,
    expect.objectContaining({ images: 4, patients: 4, bad: [] }),
  ]);
});

test('installed elsewhere, a reader study serves its page', async () => {
  await writePhantoms(root.at('made.npz'), 'made');
  const args = ['study', '--synthetic', root.at('made.npz'), '--out', root.at('study'), '--port', '0', '--json'];
  const running = startProcess(process.execPath, [join(installed, 'cli', 'veilgan.mjs'), ...args]);
  const { port } = await running.until((event) => event['kind'] === 'serving');
  const page = await fetch(`http://127.0.0.1:${String(port)}/`);
  expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('Reader study')]);
  running.child.kill('SIGTERM');
  expect((await running.ended).code).toBe(0);
});

test('positive control: TypeScript under node_modules does not run', async () => {
  const text = 'const x: number = 1; export { x };';
  writeFileSync(join(installed, 'x.ts'), text);
  const { code, err } = await startProcess(process.execPath, [join(installed, 'x.ts')]).ended;
  expect([code, err]).toEqual([1, expect.stringContaining('ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING')]);
});

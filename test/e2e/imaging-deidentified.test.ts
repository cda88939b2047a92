/**
 * De-identification by construction: files in which every text that may name somebody carries a mark. Nothing that is passed on,
 * kept or said holds one.
 */
import { globSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serialize } from 'node:v8';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DecodePool } from '../../site-agent/imaging/decode-pool.ts';
import type { DecodeSettings } from '../../site-agent/imaging/decode-file.ts';
import { openDicom } from '../../site-agent/imaging/dicom/dicom-image.ts';
import { type DatasetOptions, readPrivateImages } from '../../site-agent/imaging/read-dataset.ts';
import { initCoordinator, inviteSite } from '../../cli/coordinator-folder.ts';
import { selfCommand } from '../../cli/package-root.ts';
import { joinSite } from '../../cli/site-folder.ts';
import { type Ended, cli, startProcess, temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';
import { bodyPart, writeDicomPhantoms } from '../support/dicom-folder.ts';
import { holdsMark as holds, MARK, marked } from '../support/marked.ts';
import { tapTo } from '../support/wire-tap.ts';
import { niftiFile } from '../support/nifti-write.ts';

const CLASSES = ['chest', 'hand'] as const;
const root = temporaryFolder();

const options: DatasetOptions = { size: 28, channels: 1, onBadFile: 'skip', classes: CLASSES, labelTags: ['BodyPartExamined'], threads: 2 }; // prettier-ignore

beforeAll(() => {
  const files = writeDicomPhantoms(root.at('archive'), { patients: 8, site: 's', classes: CLASSES, more: (patient, label) => ({ ...marked(patient), '00180015': ['CS', bodyPart(label)] }) }); // prettier-ignore
  // Files that are refused in different ways, with their marks in them.
  const whole = readFileSync(files[0]);
  writeFileSync(root.at('archive', 'cut-off'), whole.subarray(0, whole.length - 300));
  writeFileSync(root.at('archive', 'no-structure'), Buffer.concat([whole.subarray(0, 200), Buffer.from(MARK.repeat(30))])); // prettier-ignore
  writeFileSync(root.at('archive', 'not-an-image'), MARK.repeat(100));
  const label = whole.indexOf(bodyPart('chest'));
  const relabelled = Buffer.from(whole);
  relabelled.write('QXM', label, 'latin1');
  writeFileSync(root.at('archive', 'unknown-label'), relabelled);
  const syntax = Buffer.from(whole);
  syntax.write(MARK, syntax.indexOf('1.2.840.10008.1.2'), 'latin1');
  writeFileSync(root.at('archive', 'unknown-syntax'), syntax);
  mkdirSync(root.at('volumes', 'brain'), { recursive: true });
  const affine = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]; // prettier-ignore
  const volume = niftiFile(
    Array.from({ length: 216 }, (_, i) => i),
    { dims: [6, 6, 6], affine, text: MARK },
  );
  writeFileSync(root.at('volumes', 'brain', 'a.nii'), volume);
  const lying = Buffer.from(volume);
  lying.writeInt16LE(30_000, 42);
  writeFileSync(root.at('volumes', 'brain', 'b.nii.gz'), gzipSync(lying));
});
afterAll(() => root[Symbol.dispose]());

test('positive control: the files are full of marks, and a leak would be found', () => {
  const file = readFileSync(root.at('archive', 'STUDY0', 'IM0'));
  expect(file.toString('latin1').split(MARK).length).toBeGreaterThan(30);
  const { dataSet } = { dataSet: openDicom(file, { patientKey: Buffer.from('k'), labelTags: [] }) };
  expect(holds(serialize({ ...dataSet.facts, leak: `x${MARK}y` }))).toBe(true);
  expect(holds(readFileSync(root.at('volumes', 'brain', 'a.nii')))).toBe(true);
});

test('what a thread passes on, byte for byte, holds no mark', async () => {
  const settings: DecodeSettings = { size: 28, channels: 1, fit: 'crop', recipe: 'by-modality', burnedIn: 'accept', plane: 'axial', everyPixel: false, labelTags: ['BodyPartExamined'], patientKey: Buffer.from('key') }; // prettier-ignore
  const pool = new DecodePool({ settings, threads: 1 });
  const files = ['STUDY0/IM0', 'STUDY1/IM1', 'STUDY2/IM2', 'cut-off', 'no-structure', 'not-an-image', 'unknown-syntax'].map((f) => root.at('archive', f)); // prettier-ignore
  for (const file of [...files, root.at('volumes', 'brain', 'a.nii'), root.at('volumes', 'brain', 'b.nii.gz')]) {
    // The very bytes that cross to the main thread: V8's serialisation of the answer, refusals with message and stack.
    const answer = await pool.decode(file).catch((error: Error) => ({ message: error.message, stack: error.stack }));
    expect([file, holds(serialize(answer))]).toEqual([file, false]);
  }
  await pool.close();
}, 60_000);

test('what is kept in memory and in the cache, and what is said of bad files, holds no mark', async () => {
  const cache = { path: root.at('cache.sqlite'), key: new Uint8Array(32).fill(3) };
  const said: unknown[] = [];
  const { images, bad } = await readPrivateImages(root.at('archive'), { ...options, cache, report: (b) => said.push(b), onFile: (...all) => said.push(all) }); // prettier-ignore
  expect([images.n, bad.length]).toEqual([8, 5]);
  const { pixels, labels, patients, classNames, patientGroups } = images;
  expect(holds(serialize({ pixels, labels, patients, classNames, patientGroups, bad, said }))).toBe(false);
  for (const file of readdirSync(root.path).filter((name) => name.startsWith('cache.')))
    expect([file, holds(readFileSync(root.at(file)))]).toEqual([file, false]);
}, 60_000);

test('the heap of a process that has read an archive holds no mark, and one that kept a file’s text does', async () => {
  const child = join(import.meta.dirname, '../support/heap-child.ts');
  const dump = async (name: string, ...leak: string[]) => {
    const file = root.at(name);
    const { code, out, err } = await startProcess(process.execPath, [child, root.at('archive'), file, ...leak]).ended;
    expect([code, out, err]).toEqual([0, `8 images, ${leak.length > 0 ? 'careless' : 'careful'}\n`, '']);
    return holds(readFileSync(file));
  };
  expect(await dump('careful.heapsnapshot')).toBe(false);
  expect(await dump('careless.heapsnapshot', 'STUDY0/IM0')).toBe(true);
}, 240_000);

test('a run over real connections: no mark in traffic, files or output of any party', async () => {
  const policyText = tinyPolicy((p) => {
    Object.assign(p, { imaging: { recipe: 'ct-soft-tissue', burnedIn: 'accept' } });
    Object.assign(p['training'], { rounds: 2 });
  });
  const folder = await initCoordinator({ dir: root.at('run', 'hub'), policyText, host: '127.0.0.1', port: 0 });
  const { command, args } = selfCommand();
  const start = (name: string, ...rest: string[]) => startProcess(command, [...tapTo(root.at(`${name}.tap`)), ...args, ...rest, '--json', '--threads', '1']); // prettier-ignore
  const hub = start('hub', 'coordinator', 'run', '--dir', folder.dir);
  await hub.until((e) => e['kind'] === 'listening');
  const sites = ['p', 'q', 'r'].map(async (site) => {
    writeDicomPhantoms(root.at(site), { patients: 8, site, classes: CLASSES, more: (patient, label) => ({ ...marked(patient), '00180015': ['CS', bodyPart(label)] }) }); // prettier-ignore
    const dir = root.at('run', site);
    await joinSite(dir, await inviteSite(folder, site));
    return start(site, 'site', 'run', '--dir', dir, '--data', root.at(site), '--label-tag', 'BodyPartExamined').ended;
  });
  for (const { code, out, err } of [...(await Promise.all(sites)), await hub.ended])
    expect([code, err, holds(out)]).toEqual([0, '', false]);

  const files = globSync('**/*', { cwd: root.at('run') }).filter((file) => statSync(root.at('run', file)).isFile());
  expect(files.length).toBeGreaterThan(20);
  for (const file of files) expect([file, holds(readFileSync(root.at('run', file)))]).toEqual([file, false]);
  for (const name of ['hub', 'p', 'q', 'r'])
    expect([name, holds(readFileSync(root.at(`${name}.tap`)))]).toEqual([name, false]);
  // Controls: what crossed is there to be read, and the same look finds the marks of what went in.
  const heard = readFileSync(root.at('hub.tap'));
  for (const known of ['GET /', 'answer', 'tensorSha256', 'signature']) expect([known, heard.includes(known)]).toEqual([known, true]); // prettier-ignore
  expect(holds(readFileSync(root.at('p', 'STUDY0', 'IM0')))).toBe(true);
}, 240_000);

test('positive control: a message with a patient’s name in it is found in the traffic', async () => {
  const child = join(import.meta.dirname, '../support/careless-sender.ts');
  const { code, out } = await startProcess(process.execPath, [...tapTo(root.at('careless.tap')), child, MARK]).ended;
  expect([code, out]).toEqual([0, 'sent\n']);
  expect(holds(readFileSync(root.at('careless.tap')))).toBe(true);
}, 60_000);

test('what the command line prints holds no mark', async () => {
  const clean = (ended: Ended) => [ended.code, holds(ended.out + ended.err)];
  const folder = ['--label-tag', 'BodyPartExamined'];
  const text = await cli('site', 'check', root.at('archive'), ...folder);
  const json = await cli('site', 'check', root.at('archive'), ...folder, '--json');
  const volumes = await cli('site', 'check', root.at('volumes'));
  expect([clean(text), clean(json), clean(volumes)]).toEqual([[0, false], [0, false], [0, false]]); // prettier-ignore
  const report = JSON.parse(json.out) as { images: number; bad: { file: string; reason: string }[] };
  // Without a policy, a code that looks like one is a class of its own.
  expect([report.images, report.bad.length]).toEqual([9, 4]);
  expect(join(...report.bad.map((b) => b.reason))).not.toContain('QX');
}, 120_000);

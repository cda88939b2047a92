/** From an archive's files to synthetic images: three sites, each with a folder of DICOM files and nothing else. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, CLASSES, sentence, temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';
import { writeDicomPhantoms } from '../support/dicom-folder.ts';

const root = temporaryFolder();
const SITES = ['north', 'south', 'west'];
const tags = ['--label-tag', 'BodyPartExamined'];

beforeAll(() => {
  for (const site of SITES) writeDicomPhantoms(root.at(site), { patients: 24, site, classes: CLASSES });
  const policy = (imaging: object | undefined) => tinyPolicy((p) => imaging && Object.assign(p, { imaging }));
  writeFileSync(root.at('policy.json'), policy({ recipe: 'ct-soft-tissue', burnedIn: 'refuse' }));
});
afterAll(() => root[Symbol.dispose]());

test('three folders of DICOM files end in synthetic images and a log', async () => {
  const data = SITES.map((site) => root.at(site));
  const run = ['--policy', root.at('policy.json'), '--out', root.at('run'), '--images', '8'];
  const { code, err } = await cli('simulate', '--data', ...data, ...tags, ...run);
  expect([code, err.includes('Error')]).toEqual([0, false]);
  for (const name of ['synthetic.png', 'generator.onnx', 'log.jsonl', 'summary.json'])
    expect([name, existsSync(root.at('run', name))]).toEqual([name, true]);
  const summary = JSON.parse(readFileSync(root.at('run', 'summary.json'), 'utf8')) as { sites: unknown };
  expect(JSON.stringify(summary)).toContain('site-3');
}, 120_000);

test('site check holds a folder against a policy, in words', async () => {
  const check = (...args: string[]) => cli('site', 'check', root.at('north'), ...tags, ...args);
  const [plain, held, json, other] = await Promise.all([
    check(),
    check('--policy', root.at('policy.json')),
    check('--policy', root.at('policy.json'), '--json'),
    cli('site', 'check'),
  ]);
  expect([plain.code, plain.out]).toEqual([0, expect.stringMatching(/24 images, 24 patients\n {2}modality CT: 24 files, 24 images\n/)]); // prettier-ignore
  expect(plain.out).toContain('class head-ct: 6 images, 6 patients');
  expect(held.out).toMatch(/In one step about 4\.8 patients join, and the noise is \d/);
  expect(held.out).toMatch(/This site is (large enough|small|too small)/);
  expect(JSON.parse(json.out)).toMatchObject({ images: 24, bad: [], size: { patients: 24, verdict: expect.any(String) } }); // prettier-ignore
  expect([other.code, sentence(other)]).toEqual([2, expect.stringContaining('site check FOLDER')]);
}, 120_000);

import { mkdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { checkData, type DataReport, dataText } from '../../cli/site-check.ts';
import { drawText, newSheet } from '../../shared/imaging/font.ts';
import { loadOptions } from '../../cli/options.ts';
import { encodePng } from '../../shared/imaging/png.ts';
import { loadPolicyText } from '../../shared/policy/load.ts';
import { temporaryFolder, tinyPolicy } from '../support/cli-rig.ts';
import { dicomFile, greyImage } from '../support/dicom-write.ts';

const report: DataReport = { images: 5, patients: 5, patientsKnown: true, modalities: [], packings: [], classes: [], bad: [], refused: [], masked: 0, findings: [], size: null }; // prettier-ignore

test('patients are said to be known, known in part, or not named at all', () => {
  expect(dataText(report)).toMatch(/^5 images, 5 patients\n/);
  expect(dataText({ ...report, patients: 3, patientsKnown: false })).toMatch(
    /at most 3 patients: some images name none/,
  );
  expect(dataText({ ...report, patientsKnown: false })).toMatch(/no patient is named/);
});

test('folders inside class folders may be patients: an operator is asked, unless they are taken as such', async () => {
  using root = temporaryFolder();
  const picture = encodePng(new Uint8Array(28 * 28).fill(90), 28, 28, 1);
  for (const patient of ['p1', 'p2'])
    for (const name of ['hand', 'knee']) {
      mkdirSync(root.at(name, patient), { recursive: true });
      for (const file of ['a.png', 'b.png']) writeFileSync(root.at(name, patient, file), picture);
    }
  const check = (patientFolders: boolean) => checkData({ data: root.path, onBadFile: 'skip', patientFolders }, {});
  expect((await check(false)).findings.join()).toContain('say --patient-folders');
  const known = await check(true);
  expect([known.patientsKnown, known.findings]).toEqual([true, []]);
});

test('labels that no class has are named together; of many, some', async () => {
  using root = temporaryFolder();
  const picture = encodePng(new Uint8Array(28 * 28).fill(90), 28, 28, 1);
  const named = (names: string[]) => names.forEach((name) => {
    mkdirSync(root.at(name), { recursive: true });
    writeFileSync(root.at(name, 'a.png'), picture);
  }); // prettier-ignore
  const policy = loadPolicyText(tinyPolicy(), loadOptions);
  const check = () => checkData({ data: root.path, onBadFile: 'skip' }, { policy });
  named(['chest', 'foot', 'nose']);
  await expect(check()).rejects.toThrow(
    /label "foot" \(1 images\) is not among the classes .*; nor "nose" \(1 images\)$/,
  );
  named([...'abcdefg']);
  await expect(check()).rejects.toThrow(/; nor "b" .*, and 3 other labels$/);
  await expect(checkData({ data: root.path, labels: root.at('none.csv'), onBadFile: 'skip' }, {})).rejects.toThrow(
    /DATASET_INVALID: none\.csv: there is no such file/,
  );
});

test('of files that are refused for text, an operator hears what can be done', async () => {
  using root = temporaryFolder();
  const file = (name: string, text: string) => {
    const sheet = newSheet(160, 80, [40, 40, 40]);
    drawText(sheet, text, 8, 20, 2, [255, 255, 255]);
    sheet.rgb[0] = 0;
    const grey = greyImage(Array.from(sheet.rgb.filter((_, i) => i % 3 === 0)), 160, { bits: 8 });
    writeFileSync(root.at(name), dicomFile({ ...grey, '00080060': ['CS', 'US'] }));
  };
  file('a', 'DOE JANE');
  file('b', '');
  const { images, findings } = await checkData({ data: root.path, labelTag: ['Modality'], onBadFile: 'skip' }, {});
  expect(images).toBe(1);
  expect(findings.join('\n')).toMatch(
    /^1 file cannot be used;.*\n1 file of these for text in the picture: --burned-in mask/,
  );
}, 120_000);

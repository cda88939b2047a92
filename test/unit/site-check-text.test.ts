import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { checkData, type DataReport, dataText } from '../../cli/site-check.ts';
import { drawText, newSheet } from '../../shared/imaging/font.ts';
import { temporaryFolder } from '../support/cli-rig.ts';
import { dicomFile, greyImage } from '../support/dicom-write.ts';

const report: DataReport = { images: 5, patients: 5, patientsKnown: true, modalities: [], packings: [], classes: [], bad: [], refused: [], masked: 0, findings: [], size: null }; // prettier-ignore

test('patients are said to be known, known in part, or not named at all', () => {
  expect(dataText(report)).toMatch(/^5 images, 5 patients\n/);
  expect(dataText({ ...report, patients: 3, patientsKnown: false })).toMatch(
    /at most 3 patients: some images name none/,
  );
  expect(dataText({ ...report, patientsKnown: false })).toMatch(/no patient is named/);
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

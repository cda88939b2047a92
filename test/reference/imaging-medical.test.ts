import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openDicom } from '../../site-agent/imaging/dicom/dicom-image.ts';
import { openNifti } from '../../site-agent/imaging/nifti.ts';
import { cook } from '../../site-agent/imaging/recipes.ts';
import {
  DICOM_FOLDER,
  dicomBytes,
  dicomNames,
  medicalDataAbsent,
  NIFTI_FOLDER,
  pythonWith,
  referencesOf,
  valuesDigest,
} from '../support/medical-data.ts';

// Debian's python3-pydicom, python3-gdcm and python3-nibabel, where they are installed.
const dicomPython = medicalDataAbsent ? undefined : await pythonWith('pydicom, gdcm');
const niftiPython = medicalDataAbsent ? undefined : await pythonWith('nibabel');

const open = (name: string) => openDicom(dicomBytes(name), { patientKey: Buffer.from('key'), labelTags: [] });

/** What pydicom 2.3 does not decode, or decodes otherwise than the standard says, and why. */
const WITHOUT_REFERENCE: Record<string, string> = {
  'OBXXXX1A_expb.dcm': 'bytes in big-endian words are not turned around by it',
  'OBXXXX1A_expb_2frame.dcm': 'the same',
  'liver_j2k.dcm': 'gdcm crashes',
  'liver_nonbyte_aligned_j2k.dcm': 'gdcm crashes',
};

describe.skipIf(dicomPython === undefined)('DICOM against pydicom and gdcm', () => {
  let references: Map<string, Record<string, unknown>>;
  beforeAll(async () => {
    const names = dicomNames().filter((name) => !(name in WITHOUT_REFERENCE));
    references = await referencesOf(dicomPython!, names.map((name) => path.join(DICOM_FOLDER, name))); // prettier-ignore
  }, 300_000);

  test('most files have a reference', () => expect(references.size).toBeGreaterThan(65));

  test('lossless files agree value by value; colour and modality values too', async () => {
    const differing: string[] = [];
    let compared = 0;
    for (const [name, reference] of references) {
      const file = open(name);
      const parts = [];
      for (let k = 0; k < file.count; k++) parts.push((await file.stored(k)).data);
      // Codecs may round lossy pictures differently; those have digests of their own.
      if (/^(JPEG 2000|JPEG-LS near lossless)$/.test(file.facts.packing)) continue;
      compared++;
      if (valuesDigest(parts) !== reference['stored']) differing.push(`${name}: stored`);
      const frame = file.count === 1 ? await file.frame(0) : undefined;
      if (frame && reference['colour'] !== undefined && valuesDigest([frame.data]) !== reference['colour'])
        differing.push(`${name}: colour`);
      const exact = frame && !(frame.data instanceof Float32Array);
      if (exact && reference['modality'] !== undefined && valuesDigest([frame.data]) !== reference['modality'])
        differing.push(`${name}: modality`);
    }
    expect(differing).toEqual([]);
    expect(compared).toBeGreaterThan(60);
  }, 120_000);

  test('windows and display tables agree with apply_voi_lut', async () => {
    let compared = 0;
    for (const [name, { shown }] of references) {
      if (!Array.isArray(shown)) continue;
      const file = open(name);
      const frame = await file.frame(0).catch(() => undefined);
      if (frame === undefined || frame.data.every((x) => x === frame.data[0])) continue;
      const { data, range } = cook(
        { ...frame, inverted: false, padding: new Uint8Array(frame.data.length) },
        'as-displayed',
      );
      const unit = Float64Array.from(data, (x) => Math.min(1, Math.max(0, (x - range[0]) / (range[1] - range[0]))));
      // pydicom scales its output to the values that occur; so does this comparison.
      const [low, high] = unit.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [1, 0]);
      const worst = (shown as number[]).reduce((most, x, i) => Math.max(most, Math.abs(x - (unit[i * 997] - low) / (high - low))), 0); // prettier-ignore
      expect([name, worst < 2e-3]).toEqual([name, true]);
      compared++;
    }
    expect(compared).toBeGreaterThan(10);
  }, 120_000);
});

describe.skipIf(niftiPython === undefined)('NIfTI against nibabel', () => {
  test.each(['anatomical.nii', 'example4d.nii.gz'])(
    '%s: slices of every plane',
    async (name) => {
      const reference = (await referencesOf(niftiPython!, [path.join(NIFTI_FOLDER, name)])).get(name);
      expect(reference).toBeDefined();
      for (const plane of ['axial', 'coronal', 'sagittal'] as const) {
        const file = openNifti(readFileSync(path.join(NIFTI_FOLDER, name)), plane);
        // The first volume of a series.
        const slices = name.includes('4d') ? file.count / 2 : file.count;
        const parts = await Promise.all(Array.from({ length: slices }, async (_, k) => (await file.frame(k)).data));
        expect([plane, valuesDigest(parts)]).toEqual([plane, reference![plane]]);
      }
    },
    60_000,
  );
});

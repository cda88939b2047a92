import { describe, expect, test } from 'vitest';
import { drawText, newSheet, type Sheet } from '../../shared/imaging/font.ts';
import { phantomImages } from '../../shared/imaging/phantom.ts';
import { imageAt, toBytes } from '../../shared/imaging/images.ts';
import { mayHoldText, settleBurnedIn } from '../../site-agent/imaging/burned-in.ts';
import { openDicom } from '../../site-agent/imaging/dicom/dicom-image.ts';
import { cook, recipeFor } from '../../site-agent/imaging/recipes.ts';
import { findText } from '../../site-agent/imaging/text-detector.ts';
import { dicomBytes, medicalDataAbsent } from '../support/medical-data.ts';
import { uniform } from '../support/rng.ts';

const [WIDTH, HEIGHT] = [320, 200];
const grey = (sheet: Sheet): Uint8Array => sheet.rgb.filter((_, i) => i % 3 === 0);
const tone = (x: number) => [x, x, x] as const;

/** A fan of speckle, as ultrasound has it: the hardest ground to find text on. */
function speckled(seed: number): Sheet {
  const sheet = newSheet(WIDTH, HEIGHT, tone(0));
  const noise = uniform(seed, WIDTH * HEIGHT, 0, 1);
  for (let y = 30; y < HEIGHT; y++)
    for (let x = 60; x < 260; x++) {
      const value = Math.min(255, Math.round(-45 * Math.log(1 - noise[y * WIDTH + x])));
      sheet.rgb.fill(value, (y * WIDTH + x) * 3, (y * WIDTH + x) * 3 + 3);
    }
  return sheet;
}

describe('the detector', () => {
  test.each([1, 2, 3])('finds a name at scale %i, in a corner, light on dark and dark on light', (scale) => {
    for (const [paper, ink] of [
      [0, 255],
      [30, 160],
      [220, 40],
    ] as const) {
      // prettier-ignore
      const sheet = newSheet(WIDTH, HEIGHT, tone(paper));
      drawText(sheet, 'DOE JANE', 12, 150, scale, tone(ink));
      const boxes = findText(grey(sheet), WIDTH, HEIGHT);
      expect(boxes.length).toBeGreaterThanOrEqual(1);
      const [left, right] = [Math.min(...boxes.map((b) => b.left)), Math.max(...boxes.map((b) => b.right))];
      expect([Math.abs(left - 12) <= 2, Math.abs(right - (12 + 47 * scale)) <= 2 * scale]).toEqual([true, true]);
      for (const box of boxes) expect([box.top >= 148, box.bottom <= 152 + 8 * scale]).toEqual([true, true]);
    }
  });

  test('finds it beside speckle, and nothing in speckle alone', () => {
    let [found, alarms] = [0, 0];
    for (let seed = 0; seed < 12; seed++) {
      const sheet = speckled(seed);
      if (findText(grey(sheet), WIDTH, HEIGHT).length > 0) alarms++;
      drawText(sheet, '630P630 JD', 4, 6, 2, tone(255));
      if (findText(grey(sheet), WIDTH, HEIGHT).some((b) => b.top < 25)) found++;
    }
    expect([found, alarms <= 3]).toEqual([12, true]);
  });

  test('nothing in phantoms, a marker letter, a ruler or a frame', () => {
    const images = phantomImages({ size: 64, channels: 1, patients: 24, seed: 'no text' });
    for (let i = 0; i < images.n; i++) expect(findText(toBytes(imageAt(images, i)), 64, 64)).toEqual([]);
    const sheet = newSheet(WIDTH, HEIGHT, tone(20));
    drawText(sheet, 'L', 10, 10, 4, tone(250));
    for (let x = 20; x < 300; x++) sheet.rgb.fill(255, (190 * WIDTH + x) * 3, (190 * WIDTH + x) * 3 + 3);
    expect(findText(grey(sheet), WIDTH, HEIGHT)).toEqual([]);
  });
});

describe('what is then done', () => {
  const sheet = newSheet(WIDTH, HEIGHT, tone(60));
  drawText(sheet, 'DOE JANE', 12, 20, 2, tone(255));
  const written = { width: WIDTH, height: HEIGHT, channels: 1, data: grey(sheet), range: [0, 255], outside: 'cut' } as const; // prettier-ignore
  const blank = { ...written, data: new Uint8Array(WIDTH * HEIGHT).fill(60) };
  const us = { packing: 'x', modality: 'US' };

  test('refuse, mask, accept', () => {
    expect(() => settleBurnedIn(written, us, true, 'refuse')).toThrow(/looks like text/);
    expect(settleBurnedIn(written, us, true, 'accept')).toEqual({ picture: written, hidden: false });
    const { picture, hidden } = settleBurnedIn(written, us, true, 'mask');
    expect([hidden, Math.max(...picture.data)]).toEqual([true, 60]);
    // What is painted over is the text and its margin, not the picture.
    expect(Array.from(picture.data).filter((x) => x === 60).length).toBeGreaterThan(0.9 * WIDTH * HEIGHT);
    expect(settleBurnedIn(blank, us, true, 'refuse')).toEqual({ picture: blank, hidden: false });
  });

  test('a file that says YES is not believed to be clean', () => {
    const yes = { ...us, burnedIn: true };
    expect(() => settleBurnedIn(blank, yes, true, 'refuse')).toThrow(/says that text is burned/);
    expect(() => settleBurnedIn(blank, yes, true, 'mask')).toThrow(/none was found to paint over/);
    expect(settleBurnedIn(written, yes, true, 'mask').hidden).toBe(true);
    // A NO is not believed either where text is usual.
    expect(() => settleBurnedIn(written, { ...us, burnedIn: false }, true, 'refuse')).toThrow(/looks like text/);
  });

  test('which files are looked at', () => {
    const of = (modality: string | undefined, more = {}) => mayHoldText({ packing: 'x', ...(modality ? { modality } : {}), ...more }, 'dicom'); // prettier-ignore
    expect(['US', 'XA', 'SC', undefined, 'CT', 'MR', 'DX'].map((m) => of(m))).toEqual([true, true, true, true, false, false, false]); // prettier-ignore
    expect([of('CT', { captured: true }), of('MR', { burnedIn: true })]).toEqual([true, true]);
    expect(mayHoldText({ packing: 'PNG' }, 'raster')).toBe(false);
  });
});

describe.skipIf(medicalDataAbsent)('real files', () => {
  const look = async (name: string) => {
    const file = openDicom(dicomBytes(name), { patientKey: Buffer.from('key'), labelTags: [] });
    return { picture: cook(await file.frame(0), recipeFor(file.facts.modality, 'dicom')), facts: file.facts };
  };

  test.each(['US1_UNCR.dcm', 'OBXXXX1A.dcm', 'gdcm-US-ALOKA-16.dcm', 'JPGLosslessP14SV1_1s_1f_8b.dcm'])(
    '%s: ultrasound with text in it is refused, and masked once and for all',
    async (name) => {
      const { picture, facts } = await look(name);
      expect(() => settleBurnedIn(picture, facts, true, 'refuse')).toThrow(/looks like text/);
      const masked = settleBurnedIn(picture, facts, true, 'mask');
      expect(masked.hidden).toBe(true);
      expect(settleBurnedIn(masked.picture, facts, true, 'refuse').hidden).toBe(false);
    },
    60_000,
  );

  test('CT, MR and radiographs without text raise no alarm', async () => {
    for (const name of ['693_UNCR.dcm', '0.dcm', 'explicit_VR-UN.dcm', 'color-px.dcm', 'emri_small.dcm']) {
      const { picture, facts } = await look(name);
      expect([name, settleBurnedIn(picture, facts, true, 'refuse').hidden]).toEqual([name, false]);
    }
  }, 60_000);
});

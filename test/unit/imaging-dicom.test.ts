import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { openDicom } from '../../site-agent/imaging/dicom/dicom-image.ts';
import { listedFiles } from '../../site-agent/imaging/dicom/directory.ts';
import { looksLikeDicom } from '../../site-agent/imaging/dicom/data-set.ts';
import { withColourCoding } from '../../site-agent/imaging/dicom/jpeg-8-bit.ts';
import { formatOf } from '../../site-agent/imaging/formats.ts';
import type { LabelTag } from '../../site-agent/imaging/reading-words.ts';
import { dicomFile, type Elements, encapsulated, greyImage, SYNTAX } from '../support/dicom-write.ts';

const KEY = Buffer.from('test key');
const open = (bytes: Uint8Array, labelTags: readonly LabelTag[] = []) =>
  openDicom(bytes, { patientKey: KEY, labelTags });
const stored = async (bytes: Uint8Array, k = 0): Promise<number[]> => [...(await open(bytes).stored(k)).data];
const shown = async (bytes: Uint8Array, k = 0): Promise<number[]> => [...(await open(bytes).frame(k)).data];
const refusal = (why: RegExp): unknown =>
  expect.objectContaining({ code: 'IMAGE_UNREADABLE', message: expect.stringMatching(why) });

const values = [0, 1, 300, 40_000, 65_535, 7];

describe('native pixels', () => {
  test.each(['explicit', 'implicit', 'bigEndian', 'deflated'] as const)('%s', async (name) => {
    expect(await stored(dicomFile(greyImage(values, 3), SYNTAX[name]))).toEqual(values);
  });

  test('without preamble and prefix, with or without meta information', async () => {
    const whole = dicomFile({ ...greyImage(values, 3), '00080060': ['CS', 'CT'] });
    const dataSet = whole.subarray(whole.indexOf(Buffer.from([0x08, 0x00, 0x60, 0x00])));
    for (const bytes of [whole.subarray(132), dataSet]) {
      expect(looksLikeDicom(bytes)).toBe(true);
      expect(await stored(bytes)).toEqual(values);
    }
    expect(looksLikeDicom(Buffer.from('PNG or anything else that is long enough'))).toBe(false);
  });

  test('a preamble that begins like a TIFF does not make a TIFF of it', () => {
    const preamble = Buffer.alloc(128);
    preamble.write('II*\0', 'latin1');
    expect(formatOf(dicomFile(greyImage(values, 3), SYNTAX.explicit, preamble), 'x')?.kind).toBe('dicom');
  });

  test('signed values of 12 bits take the sign of bit 11, and what lies above the high bit is no part of them', async () => {
    const twelve = greyImage([0x0fff, 0x0800, 0x07ff, 0xf001], 2, { stored: 12, signed: true });
    expect(await stored(dicomFile(twelve))).toEqual([-1, -2048, 2047, 1]);
    const shifted: Elements = { ...greyImage([0x0ff0, 0x8010], 2, { stored: 8 }), '00280102': ['US', [11]] };
    expect(await stored(dicomFile(shifted))).toEqual([0xff, 0x01]);
    expect(await stored(dicomFile(greyImage([-5, 2 ** 31 - 1], 2, { bits: 32, signed: true })))).toEqual([
      -5,
      2 ** 31 - 1,
    ]);
  });

  test('8-bit values in big-endian words, single bits across frames, floats', async () => {
    const bytes = greyImage([1, 2, 3, 4], 2, { bits: 8 });
    const inWords: Elements = { ...bytes, '7fe00010': ['OW', [0x0201, 0x0403]] };
    expect(await stored(dicomFile(inWords, SYNTAX.bigEndian))).toEqual([1, 2, 3, 4]);
    const bits: Elements = { ...greyImage([0, 0, 0], 3, { bits: 8 }), '00280100': ['US', [1]], '00280101': ['US', [1]], '00280102': ['US', [0]], '00280008': ['IS', '3'], '7fe00010': ['OB', Uint8Array.of(0b10_001_101, 0b1)] }; // prettier-ignore
    expect(await Promise.all([0, 1, 2].map((k) => stored(dicomFile(bits), k)))).toEqual([[1, 0, 1], [1, 0, 0], [0, 1, 1]]); // prettier-ignore
    const { '7fe00010': _, ...rest } = greyImage([0, 0], 2);
    expect(await stored(dicomFile({ ...rest, '7fe00008': ['OF', [0.5, -2]] }))).toEqual([0.5, -2]);
    expect(await stored(dicomFile({ ...rest, '7fe00009': ['OD', [0.1, 3e300]] }))).toEqual([0.1, 3e300]);
  });
});

describe('colour', () => {
  const rgb = (photometric: string, bytes: number[], width: number, planar = 0): Elements => ({
    ...greyImage(Array<number>(width).fill(0), width, { bits: 8 }),
    '00280002': ['US', [3]],
    '00280004': ['CS', photometric],
    '00280006': ['US', [planar]],
    '7fe00010': ['OB', Uint8Array.from(bytes)],
  });

  test('by pixel and by plane', async () => {
    expect(await shown(dicomFile(rgb('RGB', [1, 2, 3, 4, 5, 6], 2)))).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await shown(dicomFile(rgb('RGB', [1, 4, 2, 5, 3, 6], 2, 1)))).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('YBR_FULL and YBR_FULL_422 by the equations of the standard', async () => {
    // Red, by C.7.6.3.1.2: Y = 76.245, Cb = 84.97, Cr = 255.5, stored as bytes.
    const red = await shown(dicomFile(rgb('YBR_FULL', [76, 85, 255], 1)));
    expect([red[0] > 250, red[1] < 4, red[2] < 4]).toEqual([true, true, true]);
    expect(await shown(dicomFile(rgb('YBR_FULL_422', [10, 200, 128, 128], 2)))).toEqual([10, 10, 10, 200, 200, 200]);
  });

  test('palettes of 8 and 16 bits, and in segments', async () => {
    const palette = (entries: number[], bits: number, first: number, tag: string): Elements =>
      Object.fromEntries([1, 2, 3].flatMap((c) => [[`0028110${c}`, ['US', [entries.length, first, bits]]], [`002812${tag}${c}`, ['OW', entries.map((x) => x * c)]]])); // prettier-ignore
    const indices: Elements = { ...greyImage([0, 10, 11, 99], 2, { bits: 8 }), '00280004': ['CS', 'PALETTE COLOR'] };
    // Values before the first entry take the first, values after the last the last.
    const expected = [5, 10, 15, 5, 10, 15, 7, 14, 21, 7, 14, 21];
    expect(await shown(dicomFile({ ...indices, ...palette([5, 7], 8, 10, '0') }))).toEqual(expected);
    expect(await shown(dicomFile({ ...indices, ...palette([500, 700], 16, 10, '0') }))).toEqual(expected.map((x) => 100 * x)); // prettier-ignore
    // A discrete segment of one, a line of three to 40, and the same two segments again.
    const words = [0, 1, 10, 1, 3, 40, 2, 2, 0, 0];
    const segmented = Object.fromEntries([1, 2, 3].flatMap((c) => [[`0028110${c}`, ['US', [8, 0, 16]]], [`0028122${c}`, ['OW', words]]])) as Elements; // prettier-ignore
    const all = {
      ...greyImage([0, 1, 2, 3, 4, 5, 6, 7], 8, { bits: 8 }),
      '00280004': ['CS', 'PALETTE COLOR'],
    } as Elements;
    const reds = (await shown(dicomFile({ ...all, ...segmented }))).filter((_, i) => i % 3 === 0);
    expect(reds).toEqual([10, 20, 30, 40, 10, 20, 30, 40]);
  });

  test('JPEG: colour is read as the file states it, whatever the picture’s own segments say', async () => {
    const pixels = Buffer.from(Array.from({ length: 64 }, () => [200, 40, 90]).flat());
    const raw = sharp(pixels, { raw: { width: 8, height: 8, channels: 3 } });
    const ycbcr = await raw.jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer();
    const described = { ...rgb('YBR_FULL_422', [], 8), '00280010': ['US', [8]] } as Elements;
    const file = (bytes: Uint8Array, photometric: string) =>
      encapsulated({ ...described, '00280004': ['CS', photometric] }, SYNTAX.jpegBaseline, [bytes]);
    const near = (got: number[], want: number[]) => got.slice(0, 3).every((x, i) => Math.abs(x - want[i]) <= 2);
    const asRgb = await shown(file(ycbcr, 'YBR_FULL_422'));
    expect(near(asRgb, [200, 40, 90])).toBe(true);
    // The same bytes called RGB are YCbCr values shown as they are; a JFIF segment may not overrule the file.
    const asIs = await shown(file(ycbcr, 'RGB'));
    expect(near(asIs, [93, 126, 204])).toBe(true);
    expect(Buffer.from(withColourCoding(ycbcr, 'as-is')).includes('JFIF')).toBe(false);
  });
});

describe('intensities', () => {
  test('rescale; a lookup table in its place; per-frame values of enhanced files', async () => {
    const grey = greyImage([0, 10, 20, 30], 2);
    expect(await shown(dicomFile({ ...grey, '00281053': ['DS', '2.5'], '00281052': ['DS', '-1024'] }))).toEqual([-1024, -999, -974, -949]); // prettier-ignore
    const table: Elements = {
      '00283002': ['US', [2, 10, 16]],
      '00283004': ['LO', 'US'],
      '00283006': ['US', [111, 222]],
    };
    expect(await shown(dicomFile({ ...grey, '00283000': ['SQ', [table]] }))).toEqual([111, 111, 222, 222]);
    const groups = (slope: string): Elements => ({ '00289145': ['SQ', [{ '00281052': ['DS', '0'], '00281053': ['DS', slope] }]] }); // prettier-ignore
    const two: Elements = { ...greyImage([1, 2, 3, 4], 2), '00280010': ['US', [1]], '00280008': ['IS', '2'], '52009229': ['SQ', [groups('10')]], '52009230': ['SQ', [{}, groups('100')]] }; // prettier-ignore
    expect([await shown(dicomFile(two), 0), await shown(dicomFile(two), 1)]).toEqual([[10, 20], [300, 400]]); // prettier-ignore
  });

  test('windows, padding and MONOCHROME1 are passed on', async () => {
    const frame = await open(
      dicomFile({
        ...greyImage([-2000, 5, -1999, 7], 2, { signed: true }),
        '00280004': ['CS', 'MONOCHROME1'],
        '00280120': ['SS', [-2000]],
        '00280121': ['SS', [-1999]],
        '00281050': ['DS', '40\\400'],
        '00281051': ['DS', '100\\0'],
      }),
    ).frame(0);
    expect(frame).toMatchObject({ inverted: true, windows: [{ center: 40, width: 100, shape: 'linear' }] });
    expect([...frame.padding!]).toEqual([1, 0, 1, 0]);
  });
});

describe('refusals name what is wrong', () => {
  const grey = greyImage(values, 3);
  test.each<[string, Elements, RegExp]>([
    ['no pixels', { '00080060': ['CS', 'SR'] }, /holds no pixels/],
    ['a frame too many', { ...grey, '00280008': ['IS', '2'] }, /have 12 bytes where frame 2 of 2 ends at 24/],
    ['absurd size', { ...grey, '00280010': ['US', [65_535]], '00280011': ['US', [65_535]] }, /more than 33554432/],
    ['no rows', { ...grey, '00280010': ['US', [0]] }, /no picture/],
    ['two samples', { ...grey, '00280002': ['US', [2]] }, /2 samples/],
    ['bits that do not fit', { ...grey, '00280101': ['US', [17]], '00280102': ['US', [16]] }, /do not fit into 16/],
    ['retired colour', { ...grey, '00280004': ['CS', 'HSV'] }, /photometric interpretation is not read/],
    ['contradiction', { ...grey, '00280004': ['CS', 'RGB'] }, /contradicts itself/],
  ])('%s', async (_name, elements, why) => {
    await expect((async () => open(dicomFile(elements)).stored((open(dicomFile(elements)).count) - 1))()).rejects.toEqual(refusal(why)); // prettier-ignore
  });

  test.each([
    ['1.2.840.10008.1.2.4.102', /video/],
    ['1.2.840.10008.1.2.4.92', /part 2/],
    ['1.2.840.10008.1.2.4.110', /JPEG XL/],
    ['1.2.3', /not known/],
  ])('transfer syntax %s', (uid, why) => {
    expect(() => open(dicomFile(grey, uid))).toThrow(expect.objectContaining({ message: expect.stringMatching(why) }) as Error); // prettier-ignore
  });

  test('a deflated file that inflates beyond the limit, and frames that cannot be told apart', async () => {
    const bomb = dicomFile({ ...grey, '00091001': ['UN', Buffer.alloc(2 ** 28 + 2 ** 20)] }, SYNTAX.deflated);
    expect(bomb.length).toBeLessThan(2 ** 20);
    expect(() => open(bomb)).toThrow(expect.objectContaining({ message: expect.stringMatching(/inflates to more than/) }) as Error); // prettier-ignore
    const three = encapsulated({ ...grey, '00280008': ['IS', '2'] }, SYNTAX.rle, [Buffer.alloc(2), Buffer.alloc(2), Buffer.alloc(2)]); // prettier-ignore
    await expect(open(three).stored(0)).rejects.toEqual(refusal(/cannot be told apart/));
  }, 60_000);
});

describe('of the header', () => {
  const named: Elements = { ...greyImage(values, 3), '00100010': ['PN', 'DOE^JANE'], '00100020': ['LO', 'HOSP-123'], '00180015': ['CS', 'LEFT BREAST'], '00080060': ['CS', 'MG'] }; // prettier-ignore

  test('a patient is a keyed hash: one a person and issuer, another under another key', () => {
    const hash = (e: Elements, key = KEY) => openDicom(dicomFile(e), { patientKey: key, labelTags: [] }).facts.patient!;
    const same = hash({ ...named, '00100010': ['PN', 'OTHER'], '00080060': ['CS', 'CT'] });
    expect(hash(named)).toBe(same);
    expect(hash(named)).toMatch(/^[0-9a-f]{32}$/);
    expect(hash({ ...named, '00100020': ['LO', 'HOSP-124'] })).not.toBe(same);
    expect(hash({ ...named, '00100021': ['LO', 'ELSEWHERE'] })).not.toBe(same);
    expect(hash(named, Buffer.from('another'))).not.toBe(same);
    expect(hash({ ...named, '00100020': ['LO', '  '] })).toBeUndefined();
  });

  test('labels come from coded attributes alone', () => {
    expect(open(dicomFile(named), ['BodyPartExamined', 'Modality']).facts.label).toBe('left-breast-mg');
    expect(open(dicomFile(named), ['ViewPosition']).facts.label).toBeUndefined();
    // Free text in a coded field is nobody's class.
    expect(open(dicomFile({ ...named, '00180015': ['CS', 'breast of Mrs Doe'] }), ['BodyPartExamined']).facts.label).toBeUndefined(); // prettier-ignore
    expect(open(dicomFile({ ...named, '00180015': ['CS', 'MRS.DOE'] }), ['BodyPartExamined']).facts.label).toBeUndefined(); // prettier-ignore
  });

  test('facts hold nothing else', () => {
    const { facts } = open(dicomFile(named), ['Modality']);
    expect(Object.keys(facts).toSorted()).toEqual(['label', 'modality', 'packing', 'patient']);
  });
});

test('a DICOMDIR lists its images', () => {
  const record = (type: string, path: string): Elements => ({ '00041430': ['CS', type], '00041500': ['CS', path] });
  const records = [record('PATIENT', 'NO'), record('IMAGE', 'IMAGES\\CT1 '), record('IMAGE', 'IMAGES\\SUB\\CT2')];
  const directory = dicomFile({ '00041220': ['SQ', records] });
  expect(listedFiles(directory)).toEqual(['IMAGES/CT1', 'IMAGES/SUB/CT2']);
  expect(() => listedFiles(dicomFile(greyImage(values, 3)))).toThrow(/no directory/);
});

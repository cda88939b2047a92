import { describe, expect, test } from 'vitest';
import { decodeBytes } from '../../site-agent/imaging/decode-file.ts';
import { openDicom } from '../../site-agent/imaging/dicom/dicom-image.ts';
import { dicomBytes, dicomNames, medicalDataAbsent, valuesDigest } from '../support/medical-data.ts';

// Snapshots of stored values, all frames, signed and cut to their bits. Lossless ones equal pydicom 2.3.1 with gdcm 3.0.21
// where those read the file (test/reference/imaging-medical.test.ts); single-bit, deflated and HTJ2K ones, which they do not
// read, equal their uncompressed twin here or what OpenJPEG 2.5 makes of the code stream.
// prettier-ignore
const READ: readonly (readonly [name: string, packing: string, columns: number, rows: number, samples: number, frames: number, digest: string])[] = [
  ['0.dcm', 'implicit little endian', 256, 256, 1, 1, '1d2ef97f25519ace'],
  ['1.dcm', 'implicit little endian', 256, 256, 1, 1, '1d2ef97f25519ace'],
  ['693_J2KR.dcm', 'JPEG 2000 lossless', 512, 512, 1, 1, '146079e74cc2706e'],
  ['693_UNCI.dcm', 'explicit little endian', 512, 512, 1, 1, 'a860d1016c6f4c8b'],
  ['693_UNCR.dcm', 'explicit little endian', 512, 512, 1, 1, '146079e74cc2706e'],
  ['HTJ2KLossless_08_RGB.dcm', 'HTJ2K lossless', 640, 480, 3, 1, '9580c6ea228c756b'],
  ['HTJ2K_08_RGB.dcm', 'HTJ2K', 640, 480, 3, 1, '00567da0caeee164'],
  ['JLSL_08_07_0_1F.dcm', 'JPEG-LS lossless', 128, 128, 1, 1, 'db1a54eea858fffa'],
  ['JLSL_16_15_1_1F.dcm', 'JPEG-LS lossless', 128, 128, 1, 1, '1ac40d4ae00ec85a'],
  ['JLSL_RGB_ILV0.dcm', 'JPEG-LS lossless', 256, 256, 3, 1, '8e3a17d117c129b6'],
  ['JLSL_RGB_ILV1.dcm', 'JPEG-LS lossless', 256, 256, 3, 1, '8e3a17d117c129b6'],
  ['JLSL_RGB_ILV2.dcm', 'JPEG-LS lossless', 256, 256, 3, 1, '8e3a17d117c129b6'],
  ['JLSN_RGB_ILV0.dcm', 'JPEG-LS near lossless', 256, 256, 3, 1, 'ed2494a2f7162be4'],
  ['JPEG-LL.dcm', 'JPEG lossless, first order', 256, 1024, 1, 1, '1d1a79b8e30b6856'],
  ['JPEG2000_UNC.dcm', 'explicit little endian', 256, 1024, 1, 1, '03ec422de9eec290'],
  ['JPGLosslessP14SV1_1s_1f_8b.dcm', 'JPEG lossless, first order', 1024, 768, 1, 1, '11f0fa23d49bebbc'],
  ['MR-SIEMENS-DICOM-WithOverlays.dcm', 'explicit little endian', 484, 484, 1, 1, '03bafd55fc4417fd'],
  ['MR2_J2KI.dcm', 'JPEG 2000', 1024, 1024, 1, 1, 'b1d4b21380fd9641'],
  ['MR2_J2KR.dcm', 'JPEG 2000 lossless', 1024, 1024, 1, 1, 'ec08730457b41249'],
  ['MR2_UNCI.dcm', 'explicit little endian', 1024, 1024, 1, 1, 'b1d4b21380fd9641'],
  ['MR2_UNCR.dcm', 'explicit little endian', 1024, 1024, 1, 1, 'ec08730457b41249'],
  ['OBXXXX1A.dcm', 'explicit little endian', 800, 600, 1, 1, 'b31f9b612395edbd'],
  ['OBXXXX1A_2frame.dcm', 'explicit little endian', 800, 600, 1, 2, 'ff0977ad712d659e'],
  ['OBXXXX1A_expb.dcm', 'explicit big endian', 800, 600, 1, 1, 'b31f9b612395edbd'],
  ['OBXXXX1A_expb_2frame.dcm', 'explicit big endian', 800, 600, 1, 2, 'ff0977ad712d659e'],
  ['OBXXXX1A_rle.dcm', 'RLE', 800, 600, 1, 1, 'b31f9b612395edbd'],
  ['OBXXXX1A_rle_2frame.dcm', 'RLE', 800, 600, 1, 2, 'ff0977ad712d659e'],
  ['OT-PAL-8-face.dcm', 'implicit little endian', 640, 480, 1, 1, '98aa3119c89755a6'],
  ['RG1_J2KI.dcm', 'JPEG 2000', 1841, 1955, 1, 1, '3abd453712cc9df0'],
  ['RG3_J2KI.dcm', 'JPEG 2000', 1760, 1760, 1, 1, '98ca6245b60c85e6'],
  ['RG3_J2KR.dcm', 'JPEG 2000 lossless', 1760, 1760, 1, 1, '420e54289b8c2e2b'],
  ['SC_rgb.dcm', 'explicit little endian', 100, 100, 3, 1, '39ea89be1b946d21'],
  ['SC_rgb_16bit.dcm', 'explicit little endian', 100, 100, 3, 1, '318552296abac15c'],
  ['SC_rgb_16bit_2frame.dcm', 'explicit little endian', 100, 100, 3, 2, 'd1f85f9fc7723144'],
  ['SC_rgb_2frame.dcm', 'explicit little endian', 100, 100, 3, 2, 'b44e3a2379d8d60e'],
  ['SC_rgb_32bit.dcm', 'explicit little endian', 100, 100, 3, 1, '195824f8c553bd64'],
  ['SC_rgb_32bit_2frame.dcm', 'explicit little endian', 100, 100, 3, 2, '4e2d04bb2de8720a'],
  ['SC_rgb_dcmtk_ebcr_dcmd.dcm', 'explicit little endian', 100, 100, 3, 1, 'bd12e40c8cafe7fe'],
  ['SC_rgb_dcmtk_ebcyn1_dcmd.dcm', 'explicit little endian', 100, 100, 3, 1, 'a3c8c5f5c523e916'],
  ['SC_rgb_dcmtk_ebcyn2_dcmd.dcm', 'explicit little endian', 100, 100, 3, 1, '68318a4ca520c9ac'],
  ['SC_rgb_dcmtk_ebcynp_dcmd.dcm', 'explicit little endian', 100, 100, 3, 1, 'a3c8c5f5c523e916'],
  ['SC_rgb_dcmtk_ebcys2_dcmd.dcm', 'explicit little endian', 100, 100, 3, 1, '68318a4ca520c9ac'],
  ['SC_rgb_dcmtk_ebcys4_dcmd.dcm', 'explicit little endian', 100, 100, 3, 1, '68318a4ca520c9ac'],
  ['SC_rgb_expb.dcm', 'explicit big endian', 100, 100, 3, 1, '39ea89be1b946d21'],
  ['SC_rgb_expb_16bit.dcm', 'explicit big endian', 100, 100, 3, 1, '318552296abac15c'],
  ['SC_rgb_expb_16bit_2frame.dcm', 'explicit big endian', 100, 100, 3, 2, 'd1f85f9fc7723144'],
  ['SC_rgb_expb_2frame.dcm', 'explicit big endian', 100, 100, 3, 2, 'b44e3a2379d8d60e'],
  ['SC_rgb_expb_32bit.dcm', 'explicit big endian', 100, 100, 3, 1, '195824f8c553bd64'],
  ['SC_rgb_expb_32bit_2frame.dcm', 'explicit big endian', 100, 100, 3, 2, '4e2d04bb2de8720a'],
  ['SC_rgb_gdcm2k_uncompressed.dcm', 'explicit little endian', 100, 100, 3, 1, '39ea89be1b946d21'],
  ['SC_ybr_full_uncompressed.dcm', 'explicit little endian', 100, 100, 3, 1, '071156aed448de90'],
  ['US1_J2KI.dcm', 'JPEG 2000', 640, 480, 3, 1, '7f424396a6ca42c1'],
  ['US1_J2KR.dcm', 'JPEG 2000 lossless', 640, 480, 3, 1, 'f9f05833467022fb'],
  ['US1_UNCI.dcm', 'explicit little endian', 640, 480, 3, 1, '7f424396a6ca42c1'],
  ['US1_UNCR.dcm', 'explicit little endian', 640, 480, 3, 1, 'f9f05833467022fb'],
  ['bad_sequence.dcm', 'JPEG lossless, first order', 512, 512, 1, 1, '3b2910459bd703f9'],
  ['color-pl.dcm', 'explicit little endian', 256, 120, 3, 1, '77fa42f467292a66'],
  ['color-px.dcm', 'explicit little endian', 256, 120, 3, 1, '77fa42f467292a66'],
  ['decimal_rescale.dcm', 'explicit little endian', 128, 96, 1, 1, '3a3ed164e42500a1'],
  ['eCT_Supplemental.dcm', 'explicit little endian', 512, 512, 1, 2, 'ea854c07a28544cd'],
  ['emri_small.dcm', 'explicit little endian', 64, 64, 1, 10, 'abe3500fe9a168a5'],
  ['emri_small_RLE.dcm', 'RLE', 64, 64, 1, 10, 'abe3500fe9a168a5'],
  ['emri_small_big_endian.dcm', 'explicit big endian', 64, 64, 1, 10, 'abe3500fe9a168a5'],
  ['emri_small_jpeg_2k_lossless.dcm', 'JPEG 2000 lossless', 64, 64, 1, 10, 'abe3500fe9a168a5'],
  ['emri_small_jpeg_2k_lossless_too_short.dcm', 'JPEG 2000 lossless', 64, 64, 1, 10, 'abe3500fe9a168a5'],
  ['emri_small_jpeg_ls_lossless.dcm', 'JPEG-LS lossless', 64, 64, 1, 10, 'abe3500fe9a168a5'],
  ['explicit_VR-UN.dcm', 'JPEG 2000 lossless', 512, 512, 1, 1, 'db8e961ba9985a30'],
  ['gdcm-US-ALOKA-16.dcm', 'implicit little endian', 640, 480, 1, 1, '009e164b838449f5'],
  ['gdcm-US-ALOKA-16_big.dcm', 'explicit big endian', 640, 480, 1, 1, '009e164b838449f5'],
  ['liver.dcm', 'explicit little endian', 512, 512, 1, 3, '652d8e401cc8b877'],
  ['liver_deflate.dcm', 'deflated frames', 512, 512, 1, 3, '652d8e401cc8b877'],
  ['liver_expb.dcm', 'explicit big endian', 512, 512, 1, 3, '652d8e401cc8b877'],
  ['liver_j2k.dcm', 'JPEG 2000 lossless', 512, 512, 1, 3, '652d8e401cc8b877'],
  ['liver_nonbyte_aligned.dcm', 'explicit little endian', 510, 510, 1, 3, 'fd0d56300898209c'],
  ['liver_nonbyte_aligned_deflate.dcm', 'deflated frames', 510, 510, 1, 3, 'fd0d56300898209c'],
  ['liver_nonbyte_aligned_j2k.dcm', 'JPEG 2000 lossless', 510, 510, 1, 3, 'fd0d56300898209c'],
  ['liver_nonbyte_aligned_rle.dcm', 'RLE', 510, 510, 1, 3, 'fd0d56300898209c'],
  ['liver_rle.dcm', 'RLE', 512, 512, 1, 3, '652d8e401cc8b877'],
  ['mlut_18.dcm', 'explicit little endian', 512, 512, 1, 1, '676368c2316e142b'],
  ['parametric_map_double_float.dcm', 'explicit little endian', 128, 128, 1, 1, '10ba9bdb66165a13'],
  ['parametric_map_float.dcm', 'explicit little endian', 128, 128, 1, 1, 'e776c51ab3b2714a'],
  ['slicethickness_empty_string.dcm', 'JPEG 2000 lossless', 384, 384, 1, 1, 'e96f14ab6ae21f96'],
  ['vlut_04.dcm', 'explicit little endian', 512, 512, 1, 1, '5141cfce6cf71a10'],
];

/** Refused, and rightly: this one is a header without pixels. */
const REFUSED = [['csa_slice_norm.dcm', /it holds no pixels/]] as const;

const open = (name: string) => openDicom(dicomBytes(name), { patientKey: Buffer.from('key'), labelTags: [] });

describe.skipIf(medicalDataAbsent)('real DICOM files', () => {
  test('every file is in one of the two lists', () => {
    expect([...READ, ...REFUSED].map(([name]) => name).toSorted()).toEqual(dicomNames());
  });

  test.each(READ)('%s: %s', async (name, packing, columns, rows, samples, frames, digest) => {
    const file = open(name);
    expect(file).toMatchObject({ count: frames, description: { columns, rows, samples }, facts: { packing } });
    const parts = [];
    for (let k = 0; k < frames; k++) parts.push((await file.stored(k)).data);
    expect(valuesDigest(parts)).toBe(digest);
  });

  test.each(REFUSED)('%s is refused', (name, why) => {
    expect(() => open(name)).toThrow(why);
  });

  // Finest wavelets left out: what docs/imaging.md says of the difference, in grey levels of 255, mean and most.
  test.each([
    ['693_J2KR.dcm', 0.6, 54],
    ['explicit_VR-UN.dcm', 1, 30],
    ['MR2_J2KR.dcm', 0.3, 4],
    ['RG3_J2KR.dcm', 0.1, 1],
  ])('%s: half the size and every pixel differ by %d on average', async (name, mean, most) => {
    const settings = { size: 64, channels: 1, fit: 'crop', recipe: 'by-modality', burnedIn: 'refuse', plane: 'axial', labelTags: [], patientKey: Buffer.from('key') } as const; // prettier-ignore
    const unit = async (everyPixel: boolean) => (await decodeBytes(dicomBytes(name), name, { ...settings, everyPixel })).units[0]; // prettier-ignore
    const [half, whole] = [await unit(false), await unit(true)];
    const differences = Array.from(half, (x, i) => Math.abs(x - whole[i]) * 127.5);
    const average = differences.reduce((a, b) => a + b, 0) / differences.length;
    expect([average <= mean, Math.max(...differences) <= most, average > 0]).toEqual([true, true, true]);
  });

  // The same picture in several packings: what one codec gets wrong shows beside the others.
  test.each([
    ['liver.dcm', 'liver_expb.dcm', 'liver_deflate.dcm', 'liver_j2k.dcm', 'liver_rle.dcm'],
    ['liver_nonbyte_aligned.dcm', 'liver_nonbyte_aligned_deflate.dcm', 'liver_nonbyte_aligned_j2k.dcm', 'liver_nonbyte_aligned_rle.dcm'],
    ['OBXXXX1A.dcm', 'OBXXXX1A_expb.dcm', 'OBXXXX1A_rle.dcm'],
    ['OBXXXX1A_2frame.dcm', 'OBXXXX1A_expb_2frame.dcm', 'OBXXXX1A_rle_2frame.dcm'],
    ['emri_small.dcm', 'emri_small_RLE.dcm', 'emri_small_big_endian.dcm', 'emri_small_jpeg_2k_lossless.dcm', 'emri_small_jpeg_2k_lossless_too_short.dcm', 'emri_small_jpeg_ls_lossless.dcm'],
    ['693_UNCR.dcm', '693_J2KR.dcm'],
    ['MR2_UNCR.dcm', 'MR2_J2KR.dcm'],
    ['US1_UNCR.dcm', 'US1_J2KR.dcm'],
    ['JLSL_RGB_ILV0.dcm', 'JLSL_RGB_ILV1.dcm', 'JLSL_RGB_ILV2.dcm'],
    ['gdcm-US-ALOKA-16.dcm', 'gdcm-US-ALOKA-16_big.dcm'],
    ['color-pl.dcm', 'color-px.dcm'],
    ['SC_rgb_32bit_2frame.dcm', 'SC_rgb_expb_32bit_2frame.dcm'],
  ])('%s and its twins are alike', (...names) => {
    const digests = names.map((name) => READ.find(([own]) => own === name)![6]);
    expect(new Set(digests).size).toBe(1);
  }); // prettier-ignore
});

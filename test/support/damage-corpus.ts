/** Small files of every kind that is decoded in threads, to be damaged: ours everywhere, real ones where they are. */
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { dicomFile, type Elements, encapsulated, greyImage, SYNTAX } from './dicom-write.ts';
import { dicomBytes, medicalDataAbsent } from './medical-data.ts';
import { niftiFile } from './nifti-write.ts';

export interface Sample {
  readonly name: string;
  readonly bytes: Buffer;
}

/** Real files below 60 kB, one or two for each codec. */
const REAL = ['JLSL_08_07_0_1F.dcm', 'JLSL_16_15_1_1F.dcm', 'emri_small_jpeg_2k_lossless.dcm', 'emri_small_jpeg_ls_lossless.dcm', 'emri_small_RLE.dcm', 'liver_j2k.dcm', 'liver_rle.dcm', 'liver_deflate.dcm', 'slicethickness_empty_string.dcm', 'SC_rgb_expb.dcm', 'SC_ybr_full_uncompressed.dcm']; // prettier-ignore

export async function damageCorpus(): Promise<Sample[]> {
  const values = Array.from({ length: 32 * 32 }, (_, i) => (i * 31) % 4096);
  const grey = greyImage(values, 32, { stored: 12 });
  const nested: Elements = { ...grey, '00081140': ['SQ', [{ '00081155': ['UI', '1.2.3'], '00081199': ['SQ', [{ '00080060': ['CS', 'CT'] }]] }]], '00281050': ['DS', '40\\50'], '00281051': ['DS', '400\\500'] }; // prettier-ignore
  const rle = Buffer.concat([Buffer.from(new Uint32Array([2, 64, 64 + 24, ...Array<number>(13).fill(0)]).buffer), ...Array<Buffer>(3).fill(Buffer.from(Array.from({ length: 8 }, () => [129, 7, 255]).flat()))]); // prettier-ignore
  const colour = Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => (i * 7) & 255);
  const jpeg = await sharp(colour, { raw: { width: 32, height: 32, channels: 3 } })
    .jpeg()
    .toBuffer();
  const rgb: Elements = { ...greyImage(Array<number>(1024).fill(0), 32, { bits: 8 }), '00280002': ['US', [3]], '00280004': ['CS', 'YBR_FULL_422'] }; // prettier-ignore
  const affine = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]; // prettier-ignore
  const volume = niftiFile(values, { dims: [16, 16, 4], affine });
  const ours: Sample[] = [
    ...(['explicit', 'implicit', 'bigEndian', 'deflated'] as const).map((name) => ({ name: `${name}.dcm`, bytes: dicomFile(nested, SYNTAX[name]) })), // prettier-ignore
    { name: 'rle.dcm', bytes: encapsulated(grey, SYNTAX.rle, [rle]) },
    { name: 'jpeg.dcm', bytes: encapsulated(rgb, SYNTAX.jpegBaseline, [jpeg]) },
    { name: 'volume.nii', bytes: volume },
    { name: 'volume.nii.gz', bytes: gzipSync(volume) },
  ];
  return medicalDataAbsent ? ours : [...ours, ...REAL.map((name) => ({ name, bytes: dicomBytes(name) }))];
}

/** Pixels out of released files, by other code than wrote them: libvips for PNG, dicom-parser for DICOM. */
import { open } from 'node:fs/promises';
import dicomParser from 'dicom-parser';
import sharp from 'sharp';
import { FedError } from '../../shared/errors.ts';
import { parseNpy } from '../../shared/imaging/npy.ts';
import type { Samples } from '../../shared/imaging/quantise.ts';
import { fileSource, listZip, readMember } from '../../shared/imaging/zip-read.ts';
import type { ReleaseRecipe } from '../../shared/release/manifest.ts';

const asSamples = (bytes: Uint8Array, bits: 8 | 16): Samples => {
  if (bits === 8) return bytes;
  const own = Uint8Array.from(bytes);
  return new Uint16Array(own.buffer, 0, own.length >> 1);
};

/** [size, size, channels] of one image file. @throws {FedError} IMAGE_UNREADABLE */
export async function samplesInFile(
  bytes: Uint8Array,
  { files, bits }: Pick<ReleaseRecipe, 'files' | 'bits'>,
  channels: 1 | 3,
): Promise<Samples> {
  try {
    if (files === 'dicom') {
      const pixels = dicomParser.parseDicom(bytes).elements['x7fe00010'];
      return asSamples(bytes.subarray(pixels.dataOffset, pixels.dataOffset + pixels.length), bits);
    }
    const space = { 8: { 1: 'b-w', 3: 'srgb' }, 16: { 1: 'grey16', 3: 'rgb16' } } as const;
    const image = sharp(bytes).toColourspace(space[bits][channels]);
    return asSamples(await image.raw({ depth: bits === 8 ? 'uchar' : 'ushort' }).toBuffer(), bits);
  } catch (error) {
    throw new FedError('IMAGE_UNREADABLE', error instanceof Error ? error.message : 'unreadable', { cause: error });
  }
}

/** `train_images` of a released npz, flat. @throws {FedError} DATASET_INVALID */
export async function samplesInNpz(path: string): Promise<Samples> {
  await using file = await open(path);
  const { size } = await file.stat();
  const source = fileSource(file, size);
  const member = (await listZip(source)).find((m) => m.name === 'train_images.npy');
  if (member === undefined) throw new FedError('DATASET_INVALID', 'no train_images');
  const { data } = parseNpy(await readMember(source, member, size + 1024));
  if (data instanceof Uint8Array || data instanceof Uint16Array) return data;
  throw new FedError('DATASET_INVALID', 'train_images are not whole numbers');
}

/** Most that two images differ in any sample. */
export function largestDifference(a: Samples, b: Samples): number {
  if (a.length !== b.length) return Infinity;
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
  return most;
}

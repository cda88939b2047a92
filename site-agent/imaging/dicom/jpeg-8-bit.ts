/** Baseline, extended and progressive JPEG of 8 bits, by libjpeg-turbo through sharp. */
import sharp from 'sharp';
import { jpegHead, requireSize } from './code-stream-head.ts';
import type { ImageDescription } from './description.ts';
import { LIMITS, unreadable } from './refuse.ts';
import type { Unpacked } from './stored-values.ts';

const SECONDS = 20;
/** Adobe's APP14 segment up to its last byte, which says how colour is coded: 0 as it is, 1 YCbCr. */
const ADOBE = [0xff, 0xee, 0, 14, 0x41, 0x64, 0x6f, 0x62, 0x65, 0, 100, 0, 0, 0, 0] as const;

/**
 * The same picture with its colour coding stated as the file's photometric interpretation has it. Application segments,
 * where a decoder would otherwise look, go; so does everything else that is no picture.
 */
export function withColourCoding(bytes: Uint8Array, coded: 'as-is' | 'ycbcr'): Uint8Array {
  const kept: Uint8Array[] = [Uint8Array.of(0xff, 0xd8, ...ADOBE, coded === 'ycbcr' ? 1 : 0)];
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda) {
    const marker = bytes[at + 1];
    const end = marker === 0xff ? at + 1 : at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
    const isApplication = (marker >= 0xe0 && marker <= 0xef) || marker === 0xfe;
    if (!isApplication) kept.push(bytes.subarray(at, end));
    at = end;
  }
  return Buffer.concat([...kept, bytes.subarray(at)]);
}

/** @throws {FedError} IMAGE_UNREADABLE: another process or size, damaged, or cut off. */
export async function decodeJpeg8Bit(bytes: Uint8Array, d: ImageDescription): Promise<Unpacked> {
  const head = jpegHead(bytes);
  requireSize(head, d);
  if (head.precision !== 8) return unreadable(`${head.precision} bits are no depth of the baseline process`);
  const coded = d.samples === 3 && d.photometric !== 'RGB' ? 'ycbcr' : 'as-is';
  const picture = d.samples === 3 ? withColourCoding(bytes, coded) : bytes;
  try {
    const { data, info } = await sharp(picture, { limitInputPixels: LIMITS.frameSamples, failOn: 'warning' })
      .timeout({ seconds: SECONDS })
      .toColourspace(d.samples === 3 ? 'srgb' : 'b-w')
      .raw()
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== d.samples) return unreadable('its compressed pixels have other components than it states');
    return { bytes: data, width: info.width, height: info.height, bits: 8, planar: false };
  } catch (error) {
    if (error instanceof Error && error.name === 'FedError') throw error;
    return unreadable('its JPEG picture is damaged or cut off');
  }
}

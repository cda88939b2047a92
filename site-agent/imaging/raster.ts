import sharp, { type Sharp } from 'sharp';
import { FedError } from '../../shared/errors.ts';
import { LIMITS, unreadable } from './dicom/refuse.ts';
import type { ImageFormat } from './formats.ts';
import type { Frame, OpenedFile } from './frame.ts';

const SECONDS = 20;

const MAGIC: readonly (readonly number[])[] = [
  [0x89, 0x50, 0x4e, 0x47], // PNG
  [0xff, 0xd8, 0xff], // JPEG
  [0x49, 0x49, 0x2a, 0x00], // TIFF, little endian
  [0x4d, 0x4d, 0x00, 0x2a], // TIFF, big endian
];

/** PNG, JPEG and TIFF of one or many pages, 8 and 16 bits, grey or colour, through libvips. Transparency is dropped. */
export const rasterFormat: ImageFormat = {
  kind: 'raster',
  name: 'PNG, JPEG or TIFF',
  extensions: ['.png', '.jpg', '.jpeg', '.tif', '.tiff'],
  matches: (head) => MAGIC.some((magic) => magic.every((byte, i) => head[i] === byte)),
  open: openRaster,
};

// 'error' refuses a picture that is cut off; by default libvips would fill the rest with grey.
const pageOf = (bytes: Uint8Array, page: number): Sharp =>
  sharp(bytes, { limitInputPixels: LIMITS.frameSamples, failOn: 'error', autoOrient: true, page }).timeout({
    seconds: SECONDS,
  });

async function openRaster(bytes: Uint8Array): Promise<OpenedFile> {
  const { depth, channels, space, pages = 1, format } = await orRefused(pageOf(bytes, 0).metadata());
  if (depth !== 'uchar' && depth !== 'ushort')
    throw new FedError('IMAGE_UNREADABLE', `samples of type ${depth} are not read`);
  const grey = channels <= 2 && space !== 'cmyk';
  return {
    facts: { packing: format === 'tiff' ? 'TIFF' : format.toUpperCase() },
    count: pages,
    frame: (k) => orRefused(framePixels(bytes, k, depth, grey)),
  };
}

async function framePixels(bytes: Uint8Array, page: number, depth: 'uchar' | 'ushort', grey: boolean): Promise<Frame> {
  const deep = depth === 'ushort';
  const { data, info } = await pageOf(bytes, page)
    .removeAlpha()
    .toColourspace(grey ? (deep ? 'grey16' : 'b-w') : deep ? 'rgb16' : 'srgb')
    .raw({ depth })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 1 && info.channels !== 3)
    throw new FedError('IMAGE_UNREADABLE', `${info.channels as number} channels`);
  return {
    width: info.width,
    height: info.height,
    channels: info.channels,
    data: deep ? new Uint16Array(Uint8Array.from(data).buffer) : data,
    fullRange: [0, deep ? 65_535 : 255],
    inverted: false,
    windows: [],
  };
}

/** What libvips says of a file is not passed on: only that, and which limit was met. */
async function orRefused<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof FedError) throw error;
    const said = (error as Error).message;
    if (/pixel limit/.test(said)) return unreadable(`it has more than ${LIMITS.frameSamples} pixels`);
    if (/timeout/i.test(said)) return unreadable(`it took longer than ${SECONDS} s`);
    return unreadable('the picture is damaged or cut off');
  }
}

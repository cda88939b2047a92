import sharp from 'sharp';
import { FedError } from '../../shared/errors.ts';
import type { DecodedPicture } from '../../shared/imaging/source.ts';
import type { DecodeOptions, ImageFormat } from './formats.ts';

/** Larger pictures are refused before they are unpacked: 64 million pixels is 8,000 × 8,000. */
const MAX_PIXELS = 64 * 2 ** 20;

const MAGIC: readonly (readonly number[])[] = [
  [0x89, 0x50, 0x4e, 0x47], // PNG
  [0xff, 0xd8, 0xff], // JPEG
  [0x49, 0x49, 0x2a, 0x00], // TIFF, little endian
  [0x4d, 0x4d, 0x00, 0x2a], // TIFF, big endian
];

/** PNG, JPEG and TIFF, 8 and 16 bits, grey or colour, through libvips. Transparency is dropped. */
export const rasterFormat: ImageFormat = {
  name: 'PNG, JPEG or TIFF',
  extensions: ['.png', '.jpg', '.jpeg', '.tif', '.tiff'],
  matches: (head) => MAGIC.some((magic) => magic.every((byte, i) => head[i] === byte)),
  decode: decodeRaster,
};

async function decodeRaster(bytes: Uint8Array, options: DecodeOptions): Promise<DecodedPicture[]> {
  try {
    // 'error' refuses a picture that is cut off; by default libvips would fill the rest with grey.
    const image = sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'error', autoOrient: true });
    const { depth, channels: stored, space } = await image.metadata();
    if (depth !== 'uchar' && depth !== 'ushort')
      throw new FedError('IMAGE_UNREADABLE', `samples of type ${depth} are not read`);
    const deep = depth === 'ushort';
    const grey = stored <= 2 && space !== 'cmyk';
    const { data, info } = await image
      .removeAlpha()
      .toColourspace(grey ? (deep ? 'grey16' : 'b-w') : deep ? 'rgb16' : 'srgb')
      .raw({ depth })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 1 && info.channels !== 3)
      throw new FedError('IMAGE_UNREADABLE', `${info.channels as number} channels`);
    const values = deep ? new Uint16Array(Uint8Array.from(data).buffer) : data;
    const range = options.valueRange ?? [0, deep ? 65_535 : 255];
    return [
      {
        picture: {
          width: info.width,
          height: info.height,
          channels: info.channels,
          data: values,
          range,
          outside: 'cut',
        },
      },
    ];
  } catch (error) {
    if (error instanceof FedError) throw error;
    throw new FedError('IMAGE_UNREADABLE', (error as Error).message.replaceAll(/\s+/g, ' ').trim());
  }
}

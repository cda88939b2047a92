import { crc32 } from 'node:zlib';
import { zlibSync } from 'fflate';
import { FedError } from '../errors.ts';

/** What packs the pixels. The bytes follow from it and the pixels alone, on every processor: node's own zlib differs by them. */
export const PNG_ENCODER = 'veilgan-png/1 fflate/0.8.3';

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

function chunk(type: string, body: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + body.length);
  out.writeUInt32BE(body.length, 0);
  out.write(type, 4, 'latin1');
  out.set(body, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)), 8 + body.length);
  return out;
}

/** An iTXt chunk: text that goes with the picture, in UTF-8, not packed. @param keyword - 1 to 79 characters of Latin-1. */
export const textChunk = (keyword: string, text: string): Uint8Array =>
  chunk('iTXt', Buffer.concat([Buffer.from(`${keyword}\0\0\0\0\0`, 'latin1'), Buffer.from(text)]));

/**
 * Writes a PNG without any image library, so that the coordinator needs none; no metadata but `chunks`, not even a date.
 *
 * @param data - [height, width, channels] interleaved; a Uint16Array gives a 16-bit file.
 * @param o.packed - false: nothing is compressed, and pictures of one shape are files of one size.
 * @param o.chunks - whole chunks to put before the pixels, as `textChunk` makes them.
 * @throws {FedError} PARAMETER_INVALID when the data is not of that size.
 * @see https://www.w3.org/TR/png-3/
 */
export function encodePng(
  data: Uint8Array | Uint16Array,
  width: number,
  height: number,
  channels: 1 | 3,
  o: { readonly packed?: boolean; readonly chunks?: readonly Uint8Array[] } = {},
): Buffer {
  if (!(width >= 1 && height >= 1) || data.length !== width * height * channels)
    throw new FedError('PARAMETER_INVALID', `${data.length} values are not ${width} × ${height} × ${channels}`);
  const deep = data instanceof Uint16Array;
  const samples = deep ? Buffer.from(data.slice().buffer).swap16() : data;
  const row = width * channels * (deep ? 2 : 1);
  // Each line begins with its filter; 0 keeps the bytes as they are.
  const lines = Buffer.alloc((row + 1) * height);
  for (let y = 0; y < height; y++) lines.set(samples.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([deep ? 16 : 8, channels === 1 ? 0 : 2, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from(SIGNATURE),
    chunk('IHDR', header),
    ...(o.chunks ?? []),
    chunk('IDAT', zlibSync(lines, o.packed === false ? { level: 0 } : { level: 6, mem: 4 })),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

/** [channels, h, w] planes as [h, w, channels]. */
export function interleave<T extends Uint8Array | Uint16Array>(planes: T, channels: 1 | 3): T {
  if (channels === 1) return planes;
  const area = planes.length / 3;
  const out = planes.slice() as T;
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) out[i * 3 + c] = planes[c * area + i]!;
  return out;
}

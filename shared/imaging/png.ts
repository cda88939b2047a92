import { crc32, deflateSync } from 'node:zlib';
import { FedError } from '../errors.ts';

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

function chunk(type: string, body: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + body.length);
  out.writeUInt32BE(body.length, 0);
  out.write(type, 4, 'latin1');
  out.set(body, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)), 8 + body.length);
  return out;
}

/**
 * Writes a PNG without any image library, so that the coordinator needs none; no metadata, not even a date.
 *
 * @param data - [height, width, channels] interleaved; a Uint16Array gives a 16-bit file.
 * @param packed - false: nothing is compressed, and pictures of one shape are files of one size.
 * @throws {FedError} PARAMETER_INVALID when the data is not of that size.
 * @see https://www.w3.org/TR/png-3/
 */
export function encodePng(
  data: Uint8Array | Uint16Array,
  width: number,
  height: number,
  channels: 1 | 3,
  packed = true,
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
    chunk('IDAT', deflateSync(lines, packed ? {} : { level: 0 })),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

/** [channels, h, w] planes as [h, w, channels]. */
export function interleave(planes: Uint8Array, channels: 1 | 3): Uint8Array {
  if (channels === 1) return planes;
  const area = planes.length / 3;
  const out = new Uint8Array(planes.length);
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) out[i * 3 + c] = planes[c * area + i]!;
  return out;
}

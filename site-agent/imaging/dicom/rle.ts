/** RLE of PS3.5, annex G: up to 15 segments of PackBits, one a byte plane, the most significant byte first. */
import type { ImageDescription } from './description.ts';
import { unreadable } from './refuse.ts';
import type { Unpacked } from './stored-values.ts';

const HEADER_BYTES = 64;

/**
 * @returns by plane; single bits stay packed, eight a byte, as one row of bytes.
 * @throws {FedError} IMAGE_UNREADABLE: segments that are missing, out of order, or do not fill the frame.
 */
export function decodeRle(bytes: Uint8Array, d: ImageDescription): Unpacked {
  if (bytes.length < HEADER_BYTES) return unreadable('its RLE header is cut off');
  const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const size = Math.max(1, d.bitsAllocated / 8);
  const area = d.bitsAllocated === 1 ? Math.ceil((d.rows * d.columns) / 8) : d.rows * d.columns;
  const segments = header.getUint32(0, true);
  if (segments !== size * d.samples) return unreadable(`${segments} RLE segments where ${size * d.samples} are needed`);
  const out = new Uint8Array(area * size * d.samples);
  for (let s = 0; s < segments; s++) {
    const from = header.getUint32(4 + 4 * s, true);
    const to = s + 1 < segments ? header.getUint32(8 + 4 * s, true) : bytes.length;
    if (from < HEADER_BYTES || to < from || to > bytes.length)
      return unreadable('an RLE segment lies outside its frame');
    const [plane, byte] = [Math.floor(s / size), s % size];
    // Segments run from the highest byte; values are little endian here.
    unpackSegment(bytes.subarray(from, to), out, plane * area * size + (size - 1 - byte), size, area);
  }
  const bits = (size * 8) as Unpacked['bits'];
  return { bytes: out, width: d.columns, height: d.rows, bits, planar: d.samples > 1 };
}

/** Writes `count` bytes at `start`, `start + step`, ... What a segment has beyond is padding. */
function unpackSegment(segment: Uint8Array, out: Uint8Array, start: number, step: number, count: number): void {
  let [at, filled] = [0, 0];
  while (filled < count) {
    if (at + 1 >= segment.length) return unreadable('an RLE segment ends before its plane is full');
    const n = segment[at++];
    if (n === 128) continue;
    if (n < 128) {
      const run = Math.min(n + 1, count - filled);
      if (at + run > segment.length) return unreadable('an RLE segment ends before its plane is full');
      for (let k = 0; k < run; k++) out[start + filled++ * step] = segment[at + k];
      at += n + 1;
    } else {
      const run = Math.min(257 - n, count - filled);
      const value = segment[at++];
      for (let k = 0; k < run; k++) out[start + filled++ * step] = value;
    }
  }
}

/** Bytes of a frame to stored values: byte order, single bits, planes, the high bit and the sign (PS3.5, clause 8). */
import type { PixelArray } from '../../../shared/imaging/picture.ts';
import type { ImageDescription } from './description.ts';
import { unreadable } from './refuse.ts';

/** A frame as a codec returns it: values of whole bytes, little endian. */
export interface Unpacked {
  readonly bytes: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly bits: 8 | 16 | 32 | 64;
  /** Colour by plane, not by pixel. */
  readonly planar: boolean;
  /** What the code stream says of its own values, where it says anything. */
  readonly signed?: boolean;
}

/** [height, width, samples] of stored values. */
export interface StoredFrame {
  readonly width: number;
  readonly height: number;
  readonly samples: 1 | 3;
  readonly data: PixelArray;
}

/** Single bits, lowest first, to one byte each. */
export function unpackBits(bytes: Uint8Array, bitOffset: number, count: number): Uint8Array {
  if (Math.ceil((bitOffset + count) / 8) > bytes.length) return unreadable('its pixels are cut off');
  return Uint8Array.from({ length: count }, (_, i) => (bytes[(bitOffset + i) >> 3] >> ((bitOffset + i) & 7)) & 1);
}

/** Turns the byte order of values of `size` bytes around; a copy. */
export function swapBytes(bytes: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const whole = bytes.length - (bytes.length % size);
  for (let i = 0; i < whole; i++) out[i] = bytes[i - (i % size) + size - 1 - (i % size)];
  return out;
}

/**
 * Values as the image description means them.
 *
 * Guarantee: bits above the high bit (old overlays live there) and below the stored ones are gone; a signed value of n bits
 * has the sign of its highest stored bit.
 *
 * @throws {FedError} IMAGE_UNREADABLE when there are fewer bytes than the size says.
 */
export function storedValues(frame: Unpacked, d: ImageDescription): StoredFrame {
  const { width, height, bits } = frame;
  const count = width * height * d.samples;
  if (frame.bytes.length < count * (bits / 8))
    return unreadable(`its pixels have ${frame.bytes.length} bytes and need ${count * (bits / 8)}`);
  const values = typed(frame.bytes, count, bits, d.float, frame.signed ?? d.signed);
  if (!d.float) settleSign(values, d, frame);
  return { width, height, samples: d.samples, data: frame.planar ? interleave(values, d.samples) : values };
}

function typed(bytes: Uint8Array, count: number, bits: Unpacked['bits'], float: boolean, signed: boolean): PixelArray {
  // A copy: typed arrays need aligned bytes, and the file's own must not be written to.
  const { buffer } = new Uint8Array(bytes.subarray(0, count * (bits / 8)));
  if (float) return bits === 32 ? new Float32Array(buffer) : new Float64Array(buffer);
  if (bits === 8) return signed ? new Int8Array(buffer) : new Uint8Array(buffer);
  if (bits === 16) return signed ? new Int16Array(buffer) : new Uint16Array(buffer);
  if (bits === 32) return signed ? new Int32Array(buffer) : new Uint32Array(buffer);
  return unreadable(`${bits} bits a value are not read`);
}

/** Cuts unused bits off and extends the sign, in place. A code stream that states a sign has settled it. */
function settleSign(values: PixelArray, d: ImageDescription, frame: Unpacked): void {
  if (frame.signed === true || d.bitsStored >= frame.bits) return;
  const shift = frame.signed === undefined ? d.highBit + 1 - d.bitsStored : 0;
  const left = 32 - d.bitsStored;
  const signed = frame.signed ?? d.signed;
  for (let i = 0; i < values.length; i++) {
    const x = (values[i] >>> shift) << left;
    values[i] = signed ? x >> left : x >>> left;
  }
}

function interleave<T extends PixelArray>(planes: T, samples: number): T {
  const area = planes.length / samples;
  const out = planes.slice() as T;
  for (let c = 0; c < samples; c++) for (let i = 0; i < area; i++) out[i * samples + c] = planes[c * area + i];
  return out;
}

/** Palettes and YBR to RGB (PS3.3 C.7.6.3.1.2 and C.7.9). */
import type { PixelArray } from '../../../shared/imaging/picture.ts';
import { type DataSet, shorts, valueBytes } from './data-set.ts';
import type { ImageDescription } from './description.ts';
import { unreadable } from './refuse.ts';

/** [pixels, 3] and the largest value a channel may have. */
export interface Rgb {
  readonly data: Uint8Array | Uint16Array | Uint32Array;
  readonly max: number;
}

const CHANNELS = [
  { descriptor: 'x00281101', data: 'x00281201', segmented: 'x00281221' },
  { descriptor: 'x00281102', data: 'x00281202', segmented: 'x00281222' },
  { descriptor: 'x00281103', data: 'x00281203', segmented: 'x00281223' },
] as const;

/** A lookup table: stored values below `first` take the first entry, values beyond the last take the last. */
export interface LookUpTable {
  readonly first: number;
  readonly entries: Uint16Array;
  readonly bits: number;
}

export const lookUp = (table: LookUpTable, value: number): number => {
  const i = value - table.first;
  return table.entries[i < 0 ? 0 : i >= table.entries.length ? table.entries.length - 1 : i];
};

/** [entries, first value, bits] of a table's descriptor. @param signed - whether the first value may be negative. */
export function tableDescriptor(
  dataSet: DataSet,
  tag: string,
  signed: boolean,
): [entries: number, first: number, bits: number] {
  // prettier-ignore
  const [count, first, bits] = shorts(dataSet, tag);
  if (bits === undefined || bits < 1 || bits > 16) return unreadable('a lookup table has no usable descriptor');
  const start = signed ? (first << 16) >> 16 : first;
  return [count === 0 ? 65_536 : count, start, bits];
}

/** A table's entries: 16-bit words in the file's byte order, or bytes where there are just as many as entries. */
export function tableEntries(dataSet: DataSet, tag: string, count: number): Uint16Array {
  const bytes = valueBytes(dataSet, tag) ?? unreadable('a lookup table is absent');
  if (bytes.length >= 2 * count)
    return Uint16Array.from({ length: count }, (_, i) => dataSet.byteArrayParser.readUint16(bytes, 2 * i));
  if (bytes.length < count) return unreadable('a lookup table is shorter than its descriptor says');
  return Uint16Array.from(bytes.subarray(0, count));
}

/** Segmented tables (C.7.9.2): discrete runs, lines, and repetitions of what was before. */
function expandSegments(words: Uint16Array, count: number): Uint16Array {
  const out = new Uint16Array(count);
  let filled = 0;
  const put = (value: number): void => {
    if (filled < count) out[filled++] = value;
  };
  const read = (from: number, segments: number, depth: number): number => {
    let at = from;
    for (let n = 0; n < segments && at + 1 < words.length && filled < count; n++) {
      const [opcode, length] = [words[at], words[at + 1]];
      at += 2;
      if (opcode === 0) {
        if (at + length > words.length) return unreadable('a segmented palette is cut off');
        for (let k = 0; k < length; k++) put(words[at + k]);
        at += length;
      } else if (opcode === 1) {
        if (at >= words.length || filled === 0) return unreadable('a segmented palette is cut off');
        const [begin, end] = [out[filled - 1], words[at++]];
        for (let k = 1; k <= length; k++) put(begin + Math.round(((end - begin) * k) / length));
      } else if (opcode === 2) {
        if (depth > 0 || at + 1 >= words.length) return unreadable('a segmented palette repeats wrongly');
        // The offset counts bytes from the beginning of the table.
        const offset = (words[at] | (words[at + 1] << 16)) >>> 0;
        at += 2;
        read(offset >> 1, length, depth + 1);
      } else return unreadable('a segmented palette has an unknown segment');
    }
    return at;
  };
  read(0, Infinity, 0);
  return filled === count ? out : unreadable('a segmented palette does not fill its table');
}

function palette(dataSet: DataSet, channel: (typeof CHANNELS)[number], signed: boolean): LookUpTable {
  const [count, first, bits] = tableDescriptor(dataSet, channel.descriptor, signed);
  if (dataSet.elements[channel.data] !== undefined)
    return { first, bits, entries: tableEntries(dataSet, channel.data, count) };
  const bytes = valueBytes(dataSet, channel.segmented) ?? unreadable('its palette is absent');
  const words = Uint16Array.from({ length: bytes.length >> 1 }, (_, i) => dataSet.byteArrayParser.readUint16(bytes, 2 * i)); // prettier-ignore
  return { first, bits, entries: expandSegments(words, count) };
}

/** Palette indices to RGB. @throws {FedError} IMAGE_UNREADABLE */
export function paletteToRgb(dataSet: DataSet, d: ImageDescription, indices: PixelArray): Rgb {
  const tables = CHANNELS.map((channel) => palette(dataSet, channel, d.signed));
  const wide = tables.some(({ bits }) => bits > 8);
  const data = wide ? new Uint16Array(indices.length * 3) : new Uint8Array(indices.length * 3);
  tables.forEach((table, c) => {
    for (let i = 0; i < indices.length; i++) data[i * 3 + c] = lookUp(table, indices[i]);
  });
  return { data, max: wide ? 65_535 : 255 };
}

/** YBR_FULL of 8 bits to RGB (C.7.6.3.1.2, ITU-R BT.601), rounded. */
export function ybrToRgb(ybr: PixelArray): Uint8Array {
  const rgb = new Uint8ClampedArray(ybr.length);
  for (let i = 0; i + 2 < ybr.length; i += 3) {
    const [y, b, r] = [ybr[i], ybr[i + 1] - 128, ybr[i + 2] - 128];
    rgb[i] = Math.floor(y + 1.402 * r + 0.5);
    rgb[i + 1] = Math.floor(y - ((0.114 * 1.772) / 0.587) * b - ((0.299 * 1.402) / 0.587) * r + 0.5);
    rgb[i + 2] = Math.floor(y + 1.772 * b + 0.5);
  }
  return new Uint8Array(rgb.buffer);
}

/** Uncompressed YBR_FULL_422: two luma values and one pair of colours, for two neighbouring pixels, to YBR_FULL. */
export function widen422(bytes: Uint8Array, width: number, height: number): Uint8Array {
  if (width % 2 !== 0) return unreadable('YBR_FULL_422 of an odd width is not read');
  const out = new Uint8Array(width * height * 3);
  for (let i = 0, o = 0; o < out.length; i += 4, o += 6) {
    const [y1, y2, b, r] = [bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]];
    out.set([y1, b, r, y2, b, r], o);
  }
  return out;
}

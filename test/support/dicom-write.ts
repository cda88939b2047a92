/** Writes small DICOM files for tests: any elements, in any of the four native encodings, or with encapsulated frames. */
import { deflateRawSync } from 'node:zlib';

type Value = string | number[] | Uint8Array | Elements[];
/** Tag as `00280010`, to VR and value: text, numbers, bytes, or the items of a sequence. */
export type Elements = Record<string, readonly [vr: string, value: Value]>;

export const SYNTAX = {
  implicit: '1.2.840.10008.1.2',
  explicit: '1.2.840.10008.1.2.1',
  deflated: '1.2.840.10008.1.2.1.99',
  bigEndian: '1.2.840.10008.1.2.2',
  rle: '1.2.840.10008.1.2.5',
  jpegBaseline: '1.2.840.10008.1.2.4.50',
  jpegExtended: '1.2.840.10008.1.2.4.51',
  jpegLossless: '1.2.840.10008.1.2.4.57',
  jpeg2000: '1.2.840.10008.1.2.4.90',
} as const;

const LONG = new Set(['OB', 'OD', 'OF', 'OL', 'OW', 'SQ', 'UC', 'UN', 'UR', 'UT']);

const numberBytes: Record<string, number> = { US: 2, SS: 2, OW: 2, UL: 4, SL: 4, FL: 4, OF: 4, FD: 8, OD: 8, AT: 4 };

function valueOf(vr: string, value: Value, big: boolean, implicit: boolean): Buffer {
  if (typeof value === 'string') {
    const text = Buffer.from(value, 'latin1');
    return text.length % 2 === 0 ? text : Buffer.concat([text, Buffer.from(vr === 'UI' ? '\0' : ' ')]);
  }
  if (value instanceof Uint8Array)
    return value.length % 2 === 0 ? Buffer.from(value) : Buffer.concat([value, Buffer.alloc(1)]);
  if (vr === 'SQ')
    return Buffer.concat(
      (value as Elements[]).map((item) => {
        const body = elementBytes(item, big, implicit);
        const head = Buffer.alloc(8);
        const view = new DataView(head.buffer, head.byteOffset, 8);
        view.setUint16(0, 0xfffe, !big);
        view.setUint16(2, 0xe000, !big);
        view.setUint32(4, body.length, !big);
        return Buffer.concat([head, body]);
      }),
    );
  const width = numberBytes[vr];
  const out = Buffer.alloc(width * value.length);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  (value as number[]).forEach((x, i) => {
    const at = i * width;
    if (vr === 'FL' || vr === 'OF') view.setFloat32(at, x, !big);
    else if (width === 8) view.setFloat64(at, x, !big);
    else if (width === 2) view.setUint16(at, x & 0xffff, !big);
    else view.setUint32(at, x >>> 0, !big);
  });
  return out;
}

function elementBytes(elements: Elements, big: boolean, implicit: boolean): Buffer {
  const parts = Object.entries(elements)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([tag, [vr, value]]) => {
      const body = valueOf(vr, value, big, implicit);
      const isLong = !implicit && LONG.has(vr);
      const head = Buffer.alloc(implicit ? 8 : isLong ? 12 : 8);
      const [group, element] = [parseInt(tag.slice(0, 4), 16), parseInt(tag.slice(4), 16)];
      const u16 = (x: number, at: number) => (big ? head.writeUInt16BE(x, at) : head.writeUInt16LE(x, at));
      const u32 = (x: number, at: number) => (big ? head.writeUInt32BE(x, at) : head.writeUInt32LE(x, at));
      u16(group, 0);
      u16(element, 2);
      if (implicit) u32(body.length, 4);
      else {
        head.write(vr, 4, 'latin1');
        if (isLong) u32(body.length, 8);
        else u16(body.length, 6);
      }
      return Buffer.concat([head, body]);
    });
  return Buffer.concat(parts);
}

/** A whole file with preamble and meta information. */
export function dicomFile(
  elements: Elements,
  syntax: string = SYNTAX.explicit,
  preamble: Uint8Array = Buffer.alloc(128),
): Buffer {
  const big = syntax === SYNTAX.bigEndian;
  const body = elementBytes(elements, big, syntax === SYNTAX.implicit);
  const meta = elementBytes(
    { '00020010': ['UI', syntax], ...(elements['00080016'] ? { '00020002': ['UI', elements['00080016'][1]] } : {}) },
    false,
    false,
  );
  const length = elementBytes({ '00020000': ['UL', [meta.length]] }, false, false);
  const packed = syntax === SYNTAX.deflated ? deflateRawSync(body) : body;
  return Buffer.concat([preamble, Buffer.from('DICM'), length, meta, packed]);
}

/** The elements of a grey image of `bits`, of [height, width] values. */
export function greyImage(
  values: readonly number[],
  width: number,
  o: { bits?: 8 | 16 | 32; stored?: number; signed?: boolean } = {},
): Elements {
  const { bits = 16, stored = bits, signed = false } = o;
  const bytes = Buffer.alloc(values.length * (bits / 8));
  values.forEach((x, i) =>
    bits === 8
      ? bytes.writeUInt8(x & 255, i)
      : bits === 16
        ? bytes.writeUInt16LE(x & 0xffff, 2 * i)
        : bytes.writeUInt32LE(x >>> 0, 4 * i),
  );
  return {
    '00280002': ['US', [1]],
    '00280004': ['CS', 'MONOCHROME2'],
    '00280010': ['US', [values.length / width]],
    '00280011': ['US', [width]],
    '00280100': ['US', [bits]],
    '00280101': ['US', [stored]],
    '00280102': ['US', [stored - 1]],
    '00280103': ['US', [signed ? 1 : 0]],
    '7fe00010':
      bits === 16
        ? ['OW', [...new Uint16Array(bytes.buffer, bytes.byteOffset, values.length)]]
        : [bits === 8 ? 'OB' : 'OB', bytes],
  };
}

/** Pixel data of encapsulated frames, one fragment a frame, as an element to append: its length is undefined. */
export function encapsulated(elements: Elements, syntax: string, frames: readonly Uint8Array[]): Buffer {
  const rest = { ...elements };
  delete rest['7fe00010'];
  const item = (bytes: Uint8Array): Buffer => {
    const padded = bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]);
    const head = Buffer.from([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0]);
    head.writeUInt32LE(padded.length, 4);
    return Buffer.concat([head, padded]);
  };
  const pixels = Buffer.from([0xe0, 0x7f, 0x10, 0x00, 0x4f, 0x42, 0, 0, 0xff, 0xff, 0xff, 0xff]);
  const end = Buffer.from([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
  return Buffer.concat([dicomFile(rest, syntax), pixels, item(Buffer.alloc(0)), ...frames.map(item), end]);
}

/**
 * Data elements as DICOM files hold them in Explicit VR Little Endian, for files that we write. Not a toolkit: no other
 * transfer syntax, no compressed pixels, no network. @see DICOM PS3.5, section 7.1; PS3.10, section 7.1
 */
import { FedError } from '../errors.ts';

/** A value: text, whole numbers, bytes as they are, or the items of a sequence. */
export type Value = string | readonly number[] | Uint8Array | readonly Element[][];
/** Tag as `00280010`, value representation, value. */
export type Element = readonly [tag: string, vr: Vr, value: Value];
export type Vr = 'CS' | 'DA' | 'DS' | 'IS' | 'LO' | 'LT' | 'OB' | 'OW' | 'PN' | 'SH' | 'SQ' | 'ST' | 'TM' | 'UI' | 'UL' | 'US'; // prettier-ignore

/** Most characters of a text, where it is bounded. */
const LONGEST: Partial<Record<Vr, number>> = { CS: 16, DS: 16, IS: 12, LO: 64, LT: 10_240, PN: 64, SH: 16, ST: 1024, UI: 64 }; // prettier-ignore
const LONG_HEADER = new Set<Vr>(['OB', 'OW', 'SQ']);

/** A text no longer than its value representation takes, without what would end it or begin another value. */
export const fitText = (vr: Vr, text: string): string =>
  [...text.replaceAll('\\', '/').replaceAll(/[\u0000-\u001f\u007f]/g, ' ')].slice(0, LONGEST[vr] ?? Infinity).join('');

/** @throws {FedError} PARAMETER_INVALID for a text that is too long. */
function valueBytes([tag, vr, value]: Element): Buffer {
  if (typeof value === 'string') {
    const longest = LONGEST[vr] ?? Infinity;
    const parts = vr === 'LT' || vr === 'ST' ? [value] : value.split('\\');
    if (parts.some((part) => [...part].length > longest))
      throw new FedError('PARAMETER_INVALID', `${tag}: more than ${longest} characters`);
    const text = Buffer.from(value);
    return text.length % 2 === 0 ? text : Buffer.concat([text, Buffer.from(vr === 'UI' ? '\0' : ' ')]);
  }
  if (value instanceof Uint8Array)
    return value.length % 2 === 0 ? Buffer.from(value) : Buffer.concat([value, Buffer.alloc(1)]);
  if (vr === 'SQ') return Buffer.concat((value as Element[][]).map(itemBytes));
  const numbers = value as readonly number[];
  const width = vr === 'UL' ? 4 : 2;
  const out = Buffer.alloc(numbers.length * width);
  numbers.forEach((x, i) => out.writeUIntLE(x, i * width, width));
  return out;
}

function itemBytes(elements: readonly Element[]): Buffer {
  const body = elementBytes(elements);
  const head = Buffer.from([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0]);
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body]);
}

/** Elements in the order of their tags, as a file has to have them. */
export function elementBytes(elements: readonly Element[]): Buffer {
  const parts = elements
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap((element) => {
      const [tag, vr] = element;
      const body = valueBytes(element);
      const head = Buffer.alloc(LONG_HEADER.has(vr) ? 12 : 8);
      head.writeUInt16LE(parseInt(tag.slice(0, 4), 16), 0);
      head.writeUInt16LE(parseInt(tag.slice(4), 16), 2);
      head.write(vr, 4, 'latin1');
      if (LONG_HEADER.has(vr)) head.writeUInt32LE(body.length, 8);
      else head.writeUInt16LE(body.length, 6);
      return [head, body];
    });
  return Buffer.concat(parts);
}

export const EXPLICIT_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';

/**
 * A whole file: an empty preamble, meta information, the data set.
 * @param o.implementation - identifies the program that wrote it, as a UID and a name of up to 16 characters.
 */
export function dicomBytes(
  elements: readonly Element[],
  o: { sopClass: string; sopInstance: string; implementation: { uid: string; name: string } },
): Buffer {
  const meta = elementBytes([
    ['00020001', 'OB', Uint8Array.of(0, 1)],
    ['00020002', 'UI', o.sopClass],
    ['00020003', 'UI', o.sopInstance],
    ['00020010', 'UI', EXPLICIT_LITTLE_ENDIAN],
    ['00020012', 'UI', o.implementation.uid],
    ['00020013', 'SH', o.implementation.name],
  ]);
  const length = elementBytes([['00020000', 'UL', [meta.length]]]);
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), length, meta, elementBytes(elements)]);
}

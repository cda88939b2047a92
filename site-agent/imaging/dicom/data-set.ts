/**
 * The elements of a DICOM file, through `dicom-parser`, which notes where each lies and reads none. What is read is
 * named in these files, tag by tag; identifying text is never turned into a string, but for the patient id, which
 * leaves `identity.ts` as a keyed hash.
 */
import { inflateRawSync } from 'node:zlib';
import dicomParser, { type DataSet, type Element } from 'dicom-parser';
import { LIMITS, unreadable } from './refuse.ts';
import {
  EXPLICIT_LITTLE,
  IMPLICIT_LITTLE,
  transferSyntax,
  type TransferSyntax,
  whyNotRead,
} from './transfer-syntaxes.ts';

export type { DataSet, Element };
export interface DicomFile {
  readonly dataSet: DataSet;
  readonly syntax: TransferSyntax;
}

const PREAMBLE = 128;
const ascii = (bytes: Uint8Array, from: number, to: number): string =>
  String.fromCharCode(...bytes.subarray(from, Math.min(to, bytes.length)));
const hasPrefix = (bytes: Uint8Array): boolean => ascii(bytes, PREAMBLE, PREAMBLE + 4) === 'DICM';

const VR = /^(AE|AS|AT|CS|DA|DS|DT|FL|FD|IS|LO|LT|OB|OD|OF|OL|OV|OW|PN|SH|SL|SQ|SS|ST|SV|TM|UC|UI|UL|UN|UR|US|UT|UV)$/;

/** How a file without preamble and prefix begins: with its meta information, or with the data set itself. */
function bareStart(bytes: Uint8Array): 'meta' | 'explicit' | 'implicit' | undefined {
  if (bytes.length < 16) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [group, element] = [view.getUint16(0, true), view.getUint16(2, true)];
  if (!((group === 2 && element <= 0x16) || (group === 8 && element <= 0x70))) return undefined;
  if (VR.test(ascii(bytes, 4, 6))) return group === 2 ? 'meta' : 'explicit';
  // Implicit: four bytes of length. The first elements are short numbers, text or UIDs.
  return group === 8 && view.getUint32(4, true) <= 128 ? 'implicit' : undefined;
}

/** Whether bytes begin like DICOM: the prefix, or a bare data set. */
export const looksLikeDicom = (head: Uint8Array): boolean => hasPrefix(head) || bareStart(head) !== undefined;

/**
 * Finds the elements of a file.
 *
 * @throws {FedError} IMAGE_UNREADABLE: damaged, a transfer syntax that is not read, or larger inflated than the limit.
 */
export function readDataSet(bytes: Uint8Array): DicomFile {
  const start = hasPrefix(bytes) ? 'prefix' : bareStart(bytes);
  const whole = start === 'meta' ? Buffer.concat([Buffer.alloc(PREAMBLE), Buffer.from('DICM'), bytes]) : bytes;
  const bare = start === 'explicit' ? EXPLICIT_LITTLE : start === 'implicit' ? IMPLICIT_LITTLE : undefined;
  const dataSet = parse(whole, bare);
  const uid = bare ?? text(dataSet, 'x00020010') ?? unreadable('its transfer syntax is not stated');
  return { dataSet, syntax: transferSyntax(uid) ?? unreadable(whyNotRead(uid)) };
}

function parse(bytes: Uint8Array, bare: string | undefined): DataSet {
  // The library hands over the whole file and where the deflated part begins.
  const inflater = (all: Uint8Array, at: number): Uint8Array =>
    Buffer.concat([
      all.subarray(0, at),
      inflateRawSync(all.subarray(at), { maxOutputLength: LIMITS.dataSetBytes - at }),
    ]);
  try {
    return dicomParser.parseDicom(bytes, { inflater, ...(bare === undefined ? {} : { TransferSyntaxUID: bare }) });
  } catch (error) {
    // What the library throws may be a string, and may quote the file; only what we know ourselves is said.
    const code = (error as { code?: unknown } | null)?.code;
    if (code === 'ERR_BUFFER_TOO_LARGE') return unreadable(`it inflates to more than ${LIMITS.dataSetBytes} bytes`);
    return unreadable('its DICOM structure is damaged or cut off');
  }
}

/** Value bytes of an element, as they lie in the file; undefined when it is absent or empty. */
export function valueBytes(dataSet: DataSet, tag: string): Uint8Array | undefined {
  const element = dataSet.elements[tag];
  if (element === undefined || element.length === 0) return undefined;
  const { dataOffset, length } = element;
  if (!(length > 0) || dataOffset + length > dataSet.byteArray.length)
    return unreadable('an element is longer than the file');
  return dataSet.byteArray.subarray(dataOffset, dataOffset + length);
}

/** Longest text that is read: a UID has 64 bytes, a decimal 16, and there may be one a window. */
const MAX_TEXT = 1024;

/** A short text without padding; undefined when absent, empty or absurdly long. Of several values, the first. */
export function text(dataSet: DataSet, tag: string): string | undefined {
  return texts(dataSet, tag)[0];
}

function texts(dataSet: DataSet, tag: string): string[] {
  const bytes = valueBytes(dataSet, tag);
  if (bytes === undefined || bytes.length > MAX_TEXT) return [];
  const values = Buffer.from(bytes).toString('latin1').replaceAll('\0', '').split('\\');
  return values.map((value) => value.trim()).filter((value) => value !== '');
}

/** Decimal or integer strings. A value that is no number is left out. */
export const decimals = (dataSet: DataSet, tag: string): number[] =>
  texts(dataSet, tag).map(Number).filter(Number.isFinite);
export const decimal = (dataSet: DataSet, tag: string): number | undefined => decimals(dataSet, tag)[0];

/** 16-bit values, in the byte order of the file. */
export function shorts(dataSet: DataSet, tag: string, signed = false): number[] {
  const bytes = valueBytes(dataSet, tag);
  if (bytes === undefined) return [];
  const read = signed ? dataSet.byteArrayParser.readInt16 : dataSet.byteArrayParser.readUint16;
  return Array.from({ length: Math.min(8, Math.floor(bytes.length / 2)) }, (_, i) => read(bytes, 2 * i));
}
export const short = (dataSet: DataSet, tag: string, signed = false): number | undefined =>
  shorts(dataSet, tag, signed)[0];

/** The items of a sequence; none when it is absent. */
export const items = (dataSet: DataSet | undefined, tag: string): DataSet[] =>
  (dataSet?.elements[tag]?.items ?? []).flatMap((item) => item.dataSet ?? []);

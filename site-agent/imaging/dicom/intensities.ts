/** Stored values to modality values, and what a file says of their display (PS3.3 C.11.1, C.11.2, C.7.6.16.2.9 and .10). */
import type { PixelArray } from '../../../shared/imaging/picture.ts';
import type { DisplayTable, DisplayWindow } from '../frame.ts';
import { lookUp, tableDescriptor, tableEntries } from './colour.ts';
import { type DataSet, decimal, decimals, items, short, text } from './data-set.ts';
import type { ImageDescription } from './description.ts';

const SHARED_GROUPS = 'x52009229';
const FRAME_GROUPS = 'x52009230';

/** The macro of a frame: its own, or the one that all frames share; or the data set itself where there is none. */
function macro(dataSet: DataSet, frame: number, sequence: string): DataSet {
  const own = items(items(dataSet, FRAME_GROUPS)[frame], sequence)[0];
  return own ?? items(items(dataSet, SHARED_GROUPS)[0], sequence)[0] ?? dataSet;
}

/** Rescaled or looked up; the same array where the file says nothing. */
export function modalityValues(dataSet: DataSet, d: ImageDescription, frame: number, stored: PixelArray): PixelArray {
  const source = items(dataSet, 'x00283000')[0];
  if (source !== undefined) {
    const [count, first, bits] = tableDescriptor(source, 'x00283002', d.signed);
    const table = { first, bits, entries: tableEntries(source, 'x00283006', count) };
    return Uint16Array.from(stored, (x) => lookUp(table, x));
  }
  const from = macro(dataSet, frame, 'x00289145');
  const slope = decimal(from, 'x00281053') ?? 1;
  const intercept = decimal(from, 'x00281052') ?? 0;
  if (slope === 1 && intercept === 0) return stored;
  const out =
    stored.length > 0 && d.bitsStored > 24 ? new Float64Array(stored.length) : new Float32Array(stored.length);
  for (let i = 0; i < out.length; i++) out[i] = stored[i] * slope + intercept;
  return out;
}

const SHAPES: Record<string, DisplayWindow['shape']> = { LINEAR: 'linear', LINEAR_EXACT: 'linear-exact', SIGMOID: 'sigmoid' }; // prettier-ignore

/** The windows of a frame, in the file's order. One without a width above 0 is left out. */
export function displayWindows(dataSet: DataSet, frame: number): DisplayWindow[] {
  const from = macro(dataSet, frame, 'x00289132');
  const [centers, widths] = [decimals(from, 'x00281050'), decimals(from, 'x00281051')];
  const shape = SHAPES[text(from, 'x00281056') ?? 'LINEAR'] ?? 'linear';
  return centers.flatMap((center, i) => (widths[i] > 0 && (shape !== 'linear' || widths[i] >= 1) ? [{ center, width: widths[i], shape }] : [])); // prettier-ignore
}

/** The first VOI table of the file, if it has one. */
export function displayTable(dataSet: DataSet, signed: boolean): DisplayTable | undefined {
  const source = items(dataSet, 'x00283010')[0];
  if (source === undefined) return undefined;
  const [count, first, bits] = tableDescriptor(source, 'x00283002', signed);
  return { first, entries: tableEntries(source, 'x00283006', count), max: 2 ** bits - 1 };
}

/** 1 where a stored value is padding (C.7.5.1.1.2); undefined where the file names none. */
export function paddingMask(dataSet: DataSet, d: ImageDescription, stored: PixelArray): Uint8Array | undefined {
  const value = short(dataSet, 'x00280120', d.signed);
  if (value === undefined || d.float || d.samples !== 1) return undefined;
  const limit = short(dataSet, 'x00280121', d.signed) ?? value;
  const [low, high] = value < limit ? [value, limit] : [limit, value];
  const mask = new Uint8Array(stored.length);
  for (let i = 0; i < mask.length; i++) if (stored[i] >= low && stored[i] <= high) mask[i] = 1;
  return mask;
}

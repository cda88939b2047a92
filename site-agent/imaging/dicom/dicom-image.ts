/** A DICOM file as frames. Of its header only what this folder names tag by tag is read. */
import { inflateRawSync } from 'node:zlib';
import type { PixelArray } from '../../../shared/imaging/picture.ts';
import type { Frame, OpenedFile } from '../frame.ts';
import type { LabelTag } from '../reading-words.ts';
import { paletteToRgb, widen422, ybrToRgb } from './colour.ts';
import { type DataSet, decimals, type DicomFile, readDataSet, text } from './data-set.ts';
import { describeImage, type ImageDescription } from './description.ts';
import { encapsulatedFrame, nativeFrame, nativeFrameBits } from './frames.ts';
import { labelOf, patientHash } from './identity.ts';
import { displayTable, displayWindows, modalityValues, paddingMask } from './intensities.ts';
import { decodeJpeg8Bit } from './jpeg-8-bit.ts';
import { decodeJpegExtended } from './jpeg-extended.ts';
import { decodeJpegLossless } from './jpeg-lossless.ts';
import { unreadable } from './refuse.ts';
import { decodeRle } from './rle.ts';
import { type StoredFrame, storedValues, swapBytes, unpackBits, type Unpacked } from './stored-values.ts';
import { decodeJpeg2000, decodeJpegLs } from './wasm-codecs.ts';

export interface DicomOptions {
  /** Of the keyed hash that stands for a patient. */
  readonly patientKey: Uint8Array;
  readonly labelTags: readonly LabelTag[];
  /**
   * The edge that is wanted in the end. JPEG 2000 is then decoded at half its size when that leaves four times the edge, and
   * at a quarter and less while that leaves eight times. Undefined: every pixel.
   */
  readonly wantedEdge?: number;
}

export interface OpenedDicom extends OpenedFile {
  readonly description: ImageDescription;
  /** Values as they are stored, before palette, rescale and window. */
  stored(k: number): Promise<StoredFrame>;
  frame(k: number): Promise<Frame>;
}

/** SOP classes of captured screens, of one frame and of several. */
const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';

/** @throws {FedError} IMAGE_UNREADABLE */
export function openDicom(bytes: Uint8Array, options: DicomOptions): OpenedDicom {
  const file = readDataSet(bytes);
  const { dataSet, syntax } = file;
  if (text(dataSet, 'x00020002') === '1.2.840.10008.1.3.10') return unreadable('it is a directory (DICOMDIR)');
  const d = describeImage(dataSet);
  const modality = code(text(dataSet, 'x00080060'));
  const patient = patientHash(dataSet, options.patientKey);
  const label = labelOf(dataSet, options.labelTags);
  const burnedIn = { YES: true, NO: false }[text(dataSet, 'x00280301') ?? ''];
  const stored = async (k: number): Promise<StoredFrame> =>
    storedValues(await unpackFrame(file, d, k, halvings(d, options.wantedEdge)), d);
  return {
    description: d,
    facts: {
      packing: syntax.name,
      ...(modality === undefined ? {} : { modality }),
      ...(patient === undefined ? {} : { patient }),
      ...(label === undefined ? {} : { label }),
      ...(burnedIn === undefined ? {} : { burnedIn }),
      ...(text(dataSet, 'x00080016')?.startsWith(SECONDARY_CAPTURE) === true ? { captured: true } : {}),
    },
    count: d.frames,
    stored,
    frame: async (k) => asFrame(file, d, k, await stored(k)),
  };
}

/** A code of capital letters and digits; anything else in such a field is left out. */
const code = (value: string | undefined): string | undefined =>
  value !== undefined && /^[A-Z0-9]{1,16}$/.test(value) ? value : undefined;

/** Once when four times the edge is left; more often only when eight times are: clipping by a window comes after. */
function halvings(d: ImageDescription, wanted: number | undefined): number {
  if (wanted === undefined) return 0;
  const often = Math.log2(Math.min(d.rows, d.columns) / wanted);
  return Math.max(often >= 3 ? 1 : 0, Math.floor(often - 3));
}

async function unpackFrame(file: DicomFile, d: ImageDescription, k: number, halve: number): Promise<Unpacked> {
  const { dataSet, syntax } = file;
  if (syntax.packing === 'native') return unpackNative(file, d, k);
  if (d.float) return unreadable('compressed floats are not read');
  const packed = encapsulatedFrame(dataSet, d, k);
  switch (syntax.packing) {
    case 'rle':
      return withoutBits(decodeRle(packed, d), d);
    case 'deflated-frames':
      return withoutBits(inflateFrame(packed, d), d);
    case 'jpeg-8-bit':
      return decodeJpeg8Bit(packed, d);
    case 'jpeg-extended':
      return d.bitsStored <= 8 ? decodeJpeg8Bit(packed, d) : decodeJpegExtended(packed, d);
    case 'jpeg-lossless':
      return decodeJpegLossless(packed, d);
    case 'jpeg-ls':
      return decodeJpegLs(packed, d);
    case 'jpeg-2000':
    case 'htj2k':
      return decodeJpeg2000(syntax.packing, packed, d, halve);
  }
}

function unpackNative({ dataSet, syntax }: DicomFile, d: ImageDescription, k: number): Unpacked {
  const inWords = syntax.bigEndian && d.bitsAllocated <= 8 && dataSet.elements[d.pixels].vr === 'OW';
  const { bytes, bitOffset } = nativeFrame(dataSet, d, k, inWords);
  const size = { width: d.columns, height: d.rows };
  if (d.bitsAllocated === 1)
    return { ...size, bytes: unpackBits(bytes, bitOffset, d.rows * d.columns * d.samples), bits: 8, planar: d.planar };
  const width = d.bitsAllocated / 8;
  const native = syntax.bigEndian && width > 1 ? swapBytes(bytes, width) : bytes;
  if (d.photometric !== 'YBR_FULL_422') return { ...size, bytes: native, bits: d.bitsAllocated, planar: d.planar };
  if (d.bitsAllocated !== 8) return unreadable('YBR_FULL_422 of more than 8 bits is not read');
  return { ...size, bytes: widen422(native, d.columns, d.rows), bits: 8, planar: false };
}

function inflateFrame(packed: Uint8Array, d: ImageDescription): Unpacked {
  const bytes = Math.ceil(nativeFrameBits(d) / 8);
  const bits = d.bitsAllocated === 1 ? 8 : d.bitsAllocated;
  try {
    return { bytes: inflateRawSync(packed, { maxOutputLength: bytes + 1 }), width: d.columns, height: d.rows, bits, planar: d.planar }; // prettier-ignore
  } catch {
    return unreadable('its deflated pixels are damaged, or more than it states');
  }
}

/** Compressed frames of single bits hold eight a byte. */
const withoutBits = (frame: Unpacked, d: ImageDescription): Unpacked =>
  d.bitsAllocated === 1 ? { ...frame, bytes: unpackBits(frame.bytes, 0, d.rows * d.columns * d.samples) } : frame;

function asFrame({ dataSet, syntax }: DicomFile, d: ImageDescription, k: number, frame: StoredFrame): Frame {
  const { width, height, data } = frame;
  // Halved n times, value k stands where value k · 2ⁿ stood, and not in the middle of the 2ⁿ it stands for.
  const early = 0.5 - 0.5 / 2 ** Math.round(Math.log2(d.columns / width));
  const base = { width, height, inverted: false, windows: [], aspect: pixelAspect(dataSet), early };
  const colour = (rgb: PixelArray, max: number): Frame => ({ ...base, channels: 3, data: rgb, fullRange: [0, max] });
  if (d.photometric === 'PALETTE COLOR') {
    const rgb = paletteToRgb(dataSet, d, data);
    return colour(rgb.data, rgb.max);
  }
  if (d.samples === 3) {
    // JPEG codecs, and the reversible and irreversible transforms of JPEG 2000, come back as RGB.
    const stillYbr = d.photometric.startsWith('YBR_FULL') && syntax.packing !== 'jpeg-8-bit' && syntax.packing !== 'jpeg-extended'; // prettier-ignore
    if (stillYbr && d.bitsStored !== 8) return unreadable('YBR of more than 8 bits is not read');
    return colour(stillYbr ? ybrToRgb(data) : data, 2 ** d.bitsStored - 1);
  }
  const values = modalityValues(dataSet, d, k, data);
  const padding = paddingMask(dataSet, d, data);
  const table = displayTable(dataSet, d.signed);
  // Up to 8 bits, all that a value can be is what a screen shows of it.
  const fullRange = values === data && !d.float && d.bitsStored <= 8 ? ([d.signed ? -(2 ** (d.bitsStored - 1)) : 0, 2 ** (d.bitsStored - (d.signed ? 1 : 0)) - 1] as const) : undefined; // prettier-ignore
  return {
    ...base,
    channels: 1,
    data: values,
    inverted: d.photometric === 'MONOCHROME1',
    windows: displayWindows(dataSet, k),
    ...(fullRange === undefined ? {} : { fullRange }),
    ...(padding === undefined ? {} : { padding }),
    ...(table === undefined ? {} : { table }),
  };
}

/** Height of a pixel over its width, from the spacing or else the stated ratio (PS3.3 C.7.6.3.1.7). */
function pixelAspect(dataSet: DataSet): number {
  const [rows, columns] =
    decimals(dataSet, 'x00280030').length === 2 ? decimals(dataSet, 'x00280030') : decimals(dataSet, 'x00280034');
  return rows > 0 && columns > 0 ? rows / columns : 1;
}

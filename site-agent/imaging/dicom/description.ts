/** What the pixel description of a DICOM image says (PS3.3 C.7.6.3), checked before anything is allocated. */
import { type DataSet, decimal, short, text } from './data-set.ts';
import { LIMITS, unreadable } from './refuse.ts';

const PHOTOMETRICS = ['MONOCHROME1', 'MONOCHROME2', 'PALETTE COLOR', 'RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_RCT', 'YBR_ICT'] as const; // prettier-ignore
export type Photometric = (typeof PHOTOMETRICS)[number];

export interface ImageDescription {
  readonly rows: number;
  readonly columns: number;
  readonly samples: 1 | 3;
  readonly photometric: Photometric;
  /** Bits of a stored value in the file; 32 and 64 are floats where `float` is set. */
  readonly bitsAllocated: 1 | 8 | 16 | 32 | 64;
  readonly bitsStored: number;
  readonly highBit: number;
  readonly signed: boolean;
  readonly float: boolean;
  /** Colour by plane in the file, not by pixel. */
  readonly planar: boolean;
  readonly frames: number;
  /** The tag that holds the pixels. */
  readonly pixels: string;
}

const PIXELS = { integer: 'x7fe00010', float: 'x7fe00008', double: 'x7fe00009' } as const;

const isPhotometric = (name: string): name is Photometric => (PHOTOMETRICS as readonly string[]).includes(name);

/** @throws {FedError} IMAGE_UNREADABLE: no pixels, or a description that is absent, impossible or beyond the limits. */
export function describeImage(dataSet: DataSet): ImageDescription {
  const pixels = Object.values(PIXELS).find((tag) => dataSet.elements[tag] !== undefined);
  if (pixels === undefined) return unreadable('it holds no pixels (a report, a list or a header alone)');
  const float = pixels !== PIXELS.integer;
  const whole = (tag: string, name: string): number => short(dataSet, tag) ?? unreadable(`it does not state ${name}`);
  const [rows, columns] = [whole('x00280010', 'its rows'), whole('x00280011', 'its columns')];
  const samples = short(dataSet, 'x00280002') ?? 1;
  if (samples !== 1 && samples !== 3) return unreadable(`${samples} samples a pixel are not read`);
  const frames = decimal(dataSet, 'x00280008') ?? 1;
  if (!Number.isInteger(frames) || frames < 1 || frames > LIMITS.frames)
    return unreadable(`the number of frames is not between 1 and ${LIMITS.frames}`);
  if (rows < 1 || columns < 1) return unreadable(`${columns} × ${rows} pixels are no picture`);
  if (rows * columns * samples > LIMITS.frameSamples)
    return unreadable(`${columns} × ${rows} × ${samples} values are more than ${LIMITS.frameSamples}`);
  const photometric = (text(dataSet, 'x00280004') ?? (samples === 3 ? 'RGB' : 'MONOCHROME2')).toUpperCase();
  if (!isPhotometric(photometric)) return unreadable('its photometric interpretation is not read');
  if ((samples === 3) !== /^(RGB|YBR)/.test(photometric))
    return unreadable(`${photometric} with ${samples} samples a pixel contradicts itself`);
  return {
    rows,
    columns,
    samples,
    photometric,
    ...depth(dataSet, pixels),
    float,
    planar: samples === 3 && short(dataSet, 'x00280006') === 1,
    frames,
    pixels,
  };
}

function depth(
  dataSet: DataSet,
  pixels: string,
): Pick<ImageDescription, 'bitsAllocated' | 'bitsStored' | 'highBit' | 'signed'> {
  if (pixels === PIXELS.float) return { bitsAllocated: 32, bitsStored: 32, highBit: 31, signed: true };
  if (pixels === PIXELS.double) return { bitsAllocated: 64, bitsStored: 64, highBit: 63, signed: true };
  const bitsAllocated = short(dataSet, 'x00280100') ?? unreadable('it does not state its bits');
  if (bitsAllocated !== 1 && bitsAllocated !== 8 && bitsAllocated !== 16 && bitsAllocated !== 32)
    return unreadable(`${bitsAllocated} bits a value are not read`);
  const bitsStored = short(dataSet, 'x00280101') ?? bitsAllocated;
  const highBit = short(dataSet, 'x00280102') ?? bitsStored - 1;
  if (bitsStored < 1 || highBit >= bitsAllocated || highBit + 1 < bitsStored)
    return unreadable(`${bitsStored} bits up to bit ${highBit} do not fit into ${bitsAllocated}`);
  return { bitsAllocated, bitsStored, highBit, signed: short(dataSet, 'x00280103') === 1 };
}

import { FedError } from '../errors.ts';
import { resamplePlane } from './resample.ts';

export type PixelArray =
  Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

/** One decoded picture at its own size, as every format's decoder returns it. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  /** [height, width, channels] row-major: channels are interleaved. */
  readonly data: PixelArray;
  /** The values that become -1 and 1. */
  readonly range: readonly [low: number, high: number];
  /** Values outside `range` are cut to it (a display window), or make the picture unreadable. */
  readonly outside: 'cut' | 'refuse';
}

/** How a picture that is not square becomes one: its centre, black bars, or distortion. MedMNIST crops. */
export type Fit = 'crop' | 'pad' | 'stretch';

// ITU-R BT.601 luma, the weights of PIL's convert("L").
const LUMA = [0.299, 0.587, 0.114] as const;

/** Writes one channel as [-1, 1] into `out`, which it returns. */
function fillUnit<T extends Float32Array | Float64Array>(p: Picture, channel: number, out: T): T {
  const [low, high] = p.range;
  for (let i = 0; i < out.length; i++) {
    const x = ((p.data[i * p.channels + channel] - low) / (high - low)) * 2 - 1;
    if (x >= -1 && x <= 1) out[i] = x;
    else if (p.outside === 'refuse' || Number.isNaN(x))
      throw new FedError('IMAGE_UNREADABLE', `a pixel is outside [${low}, ${high}]`);
    else out[i] = x < 0 ? -1 : 1;
  }
  return out;
}

/** The picture's planes as [-1, 1], one or three of them. */
function planes(p: Picture, channels: 1 | 3): Float64Array[] {
  const area = p.width * p.height;
  const split = Array.from({ length: p.channels }, (_, c) => fillUnit(p, c, new Float64Array(area)));
  if (channels === p.channels) return split;
  if (channels === 3) return [split[0], split[0], split[0]];
  const [r, g, b] = split as [Float64Array, Float64Array, Float64Array];
  // Equal channels are returned as they are, so that a grey picture stored as RGB loses no bit.
  const luma = (i: number) =>
    r[i] === g[i] && g[i] === b[i] ? r[i] : LUMA[0] * r[i] + LUMA[1] * g[i] + LUMA[2] * b[i];
  return [Float64Array.from(r, (_, i) => luma(i))];
}

/** A plane made square: the centre of the longer edge, or black (-1) bars beside the shorter one. */
function square(plane: Float64Array, width: number, height: number, fit: 'crop' | 'pad'): Float64Array {
  const edge = fit === 'crop' ? Math.min(width, height) : Math.max(width, height);
  const dx = Math.floor((width - edge) / 2);
  const dy = Math.floor((height - edge) / 2);
  const out = new Float64Array(edge * edge).fill(-1);
  for (let y = Math.max(0, -dy); y < edge && y + dy < height; y++) {
    const from = Math.max(0, dx);
    const to = Math.min(width, edge + dx);
    out.set(plane.subarray((y + dy) * width + from, (y + dy) * width + to), y * edge + from - dx);
  }
  return out;
}

/**
 * Brings one picture to the shape of the run: grey or colour, square, resampled, in [-1, 1].
 *
 * Guarantee: an 8-bit picture that already has the size and channels keeps every byte (`toBytes` gives them back).
 *
 * @returns [channels, size, size] row-major.
 * @throws {FedError} IMAGE_UNREADABLE when sizes are impossible or a value is outside the picture's range.
 */
export function toUnitImage(p: Picture, size: number, channels: 1 | 3, fit: Fit): Float32Array {
  if (!(p.width >= 1 && p.height >= 1) || p.data.length !== p.width * p.height * p.channels)
    throw new FedError('IMAGE_UNREADABLE', `${p.data.length} values are not ${p.width} × ${p.height} × ${p.channels}`);
  if (!(p.range[1] > p.range[0])) throw new FedError('IMAGE_UNREADABLE', `the range [${p.range.join(', ')}] is empty`);
  const out = new Float32Array(channels * size * size);
  if (channels === 1 && p.channels === 1 && p.width === size && p.height === size) return fillUnit(p, 0, out);
  planes(p, channels).forEach((plane, c) => {
    const isSquare = p.width === p.height || fit === 'stretch';
    const shaped = isSquare ? plane : square(plane, p.width, p.height, fit);
    const edge = Math.sqrt(shaped.length);
    out.set(resamplePlane(shaped, isSquare ? p.width : edge, isSquare ? p.height : edge, size), c * size * size);
  });
  return out;
}

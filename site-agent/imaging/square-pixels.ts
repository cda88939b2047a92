import type { Picture } from '../../shared/imaging/picture.ts';
import { LIMITS, unreadable } from './dicom/refuse.ts';

/** Ratios nearer to 1 than this change less than the resampling that follows. */
const TOLERANCE = 0.01;
/** Slices may be ten times as thick as their pixels; more is a mistake in the header. */
const MOST = 32;

/**
 * A picture whose values lie in the middles of their pixels: moved by a part of a pixel, on straight lines.
 * @param early - how far they lie before the middles, in [0, 0.5].
 */
export function centred(p: Picture, early: number): Picture {
  if (early === 0) return p;
  const { width, height, channels } = p;
  const data = new Float32Array(p.data.length);
  const late = 1 - early;
  for (let y = 0, o = 0; y < height; y++) {
    const down = (y + 1 < height ? width : 0) * channels;
    for (let x = 0; x < width; x++) {
      const right = x + 1 < width ? channels : 0;
      for (let c = 0; c < channels; c++, o++) {
        const top = p.data[o] * late + p.data[o + right] * early;
        const bottom = p.data[o + down] * late + p.data[o + down + right] * early;
        data[o] = top * late + bottom * early;
      }
    }
  }
  return { ...p, data };
}

/**
 * A picture whose pixels are as high as wide: the coarser direction is filled in on straight lines.
 * @param aspect - height of a pixel over its width.
 * @throws {FedError} IMAGE_UNREADABLE when the ratio is absurd or the result beyond the limits.
 */
export function squarePixels(p: Picture, aspect: number): Picture {
  if (!(Math.abs(aspect - 1) > TOLERANCE)) return p;
  if (aspect > MOST || aspect < 1 / MOST) return unreadable('its pixels are far from square');
  const [width, height] = aspect > 1 ? [p.width, Math.round(p.height * aspect)] : [Math.round(p.width / aspect), p.height]; // prettier-ignore
  if (width * height * p.channels > LIMITS.frameSamples)
    return unreadable('with square pixels it is larger than the limit');
  const data = new Float32Array(width * height * p.channels);
  const place = (i: number, to: number, from: number): [low: number, high: number, share: number] => {
    const at = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const low = Math.floor(at);
    return [low, Math.min(from - 1, low + 1), at - low];
  };
  for (let y = 0, o = 0; y < height; y++) {
    const [y0, y1, v] = place(y, height, p.height);
    for (let x = 0; x < width; x++) {
      const [x0, x1, u] = place(x, width, p.width);
      for (let c = 0; c < p.channels; c++) {
        const value = (yy: number, xx: number) => p.data[(yy * p.width + xx) * p.channels + c];
        const top = value(y0, x0) * (1 - u) + value(y0, x1) * u;
        const bottom = value(y1, x0) * (1 - u) + value(y1, x1) * u;
        data[o++] = top * (1 - v) + bottom * v;
      }
    }
  }
  return { ...p, width, height, data };
}

import type { PixelArray } from '../../shared/imaging/picture.ts';

/**
 * Shades of grey (Finlayson and Trezzi 2004): the light's colour is taken from the Minkowski p-mean of each channel and
 * divided out, so that skin under different lamps looks alike. Dermoscopy uses p = 6 (Barata et al. 2015).
 *
 * @param data - [pixels, 3]
 * @param range - the values of black and white; results are cut to them.
 * @returns [pixels, 3]; as it was when a channel is black throughout.
 * @see https://doi.org/10.1109/JBHI.2014.2336473
 */
export function shadesOfGrey(data: PixelArray, [low, high]: readonly [number, number], p: number): Float32Array {
  const out = Float32Array.from(data);
  const means = [0, 1, 2].map((c) => {
    let sum = 0;
    for (let i = c; i < data.length; i += 3) sum += Math.max(0, (data[i] - low) / (high - low)) ** p;
    return (sum / (data.length / 3)) ** (1 / p);
  });
  const length = Math.hypot(...means);
  if (!means.every((m) => m > 0)) return out;
  // A white light has the direction (1, 1, 1) / √3 and changes nothing.
  const gains = means.map((m) => length / (m * Math.sqrt(3)));
  for (let i = 0; i < out.length; i++) {
    const x = low + (out[i] - low) * gains[i % 3];
    out[i] = x > high ? high : x;
  }
  return out;
}

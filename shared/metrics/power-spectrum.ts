import type { LabelledImages } from '../imaging/images.ts';
import { imageAt } from '../imaging/images.ts';

type Shape = Pick<LabelledImages, 'n' | 'channels' | 'size' | 'pixels'>;

/** Images of a set that are transformed at most, evenly spread over it. */
const MOST = 1000;

/**
 * Power by spatial frequency, averaged over directions, channels and images: what is blurred lacks the upper end, what is
 * noisy or shows a grid of up-convolutions has too much of it.
 *
 * @returns [⌊size / 2⌋ + 1], entry r: mean |F|² over frequencies whose length rounds to r cycles an image; entry 0 is the
 *   mean brightness squared. F is the discrete Fourier transform, divided by size².
 * @see Durall et al. 2020, section 3.1 (azimuthal integration), https://arxiv.org/abs/2003.01826
 */
export function powerSpectrum(images: Shape): Float64Array {
  const { n, size, channels } = images;
  const radii = Math.floor(size / 2) + 1;
  const [cos, sin] = [Math.cos, Math.sin].map((wave) =>
    Float64Array.from({ length: size * size }, (_, at) =>
      wave((2 * Math.PI * ((Math.floor(at / size) * at) % size)) / size),
    ),
  );
  const power = new Float64Array(radii);
  const step = Math.max(1, n / MOST);
  const [re, im] = [new Float64Array(size * size), new Float64Array(size * size)];
  for (let k = 0; k < Math.min(n, MOST); k++) {
    const image = imageAt(images as LabelledImages, Math.floor(k * step));
    for (let c = 0; c < channels; c++) {
      const plane = image.subarray(c * size * size, (c + 1) * size * size);
      // Rows first: re, im [y, u]. The other half of u mirrors this one.
      for (let y = 0; y < size; y++)
        for (let u = 0; u < radii; u++) {
          let [a, b] = [0, 0];
          for (let x = 0; x < size; x++) {
            a += plane[y * size + x] * cos[u * size + x];
            b -= plane[y * size + x] * sin[u * size + x];
          }
          re[y * size + u] = a;
          im[y * size + u] = b;
        }
      for (let u = 0; u < radii; u++)
        for (let v = 0; v < size; v++) {
          const radius = Math.round(Math.hypot(u, v <= size / 2 ? v : v - size));
          if (radius >= radii) continue;
          let [a, b] = [0, 0];
          for (let y = 0; y < size; y++) {
            const [p, q] = [re[y * size + u], im[y * size + u]];
            const [c2, s2] = [cos[v * size + y], sin[v * size + y]];
            a += p * c2 + q * s2;
            b += q * c2 - p * s2;
          }
          power[radius] += mirrored(u, size) * (a * a + b * b);
        }
    }
  }
  const frequencies = countByRadius(size, radii);
  const transformed = Math.min(n, MOST) * channels;
  return power.map((sum, r) => sum / (frequencies[r] * transformed * size ** 4));
}

/** How many of the two frequencies u and -u this one stands for. */
const mirrored = (u: number, size: number): 1 | 2 => (u === 0 || 2 * u === size ? 1 : 2);

function countByRadius(size: number, radii: number): Float64Array {
  const counts = new Float64Array(radii);
  for (let u = 0; u < radii; u++)
    for (let v = 0; v < size; v++) {
      const radius = Math.round(Math.hypot(u, v <= size / 2 ? v : v - size));
      if (radius < radii) counts[radius] += mirrored(u, size);
    }
  return counts;
}

/**
 * Root mean square difference of two spectra, in decibels, over all frequencies but zero: 3 dB is twice or half the power.
 * Power below 1e-10 counts as 1e-10.
 */
export function spectrumDistance(a: Float64Array, b: Float64Array): number {
  const decibel = (power: number) => 10 * Math.log10(Math.max(1e-10, power));
  let sum = 0;
  for (let r = 1; r < a.length; r++) sum += (decibel(a[r]) - decibel(b[r])) ** 2;
  return Math.sqrt(sum / (a.length - 1));
}

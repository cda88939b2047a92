/**
 * One layer of a scattering transform: how much of each orientation and scale there is around each place of an image.
 * Fixed filters, no learning. Small shifts change it little, strokes and edges change it much: a better place than the
 * pixels to compare a generator's images with a mean embedding.
 *
 * @see Bruna and Mallat 2013, https://arxiv.org/abs/1203.1513, section 2 (first-order coefficients)
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Tensor4D } from '@tensorflow/tfjs';

const ORIENTATIONS = 8;
/** Filter width in pixels, standard deviation of its envelope, centre frequency in radians a pixel. */
const SCALES = [
  { width: 5, sigma: 1, frequency: 2 },
  { width: 9, sigma: 2, frequency: 1.05 },
] as const;
/** Across the wave the envelope is this much narrower than along it. */
const SLANT = 0.5;
/** Weights of the blurred image and of the moduli, so that both matter. */
const LOW_PASS_GAIN = 0.5;
const MODULUS_GAIN = 2;
/** Keeps the root and the norm differentiable at zero. */
const ROOT_FLOOR = 1e-6;
const NORM_FLOOR = 1e-3;

/** Zero-mean complex Morlet wavelets with absolute values summing to 1, as filters [width, width, 1, 2 · 8]: real, then imaginary. */
export function morletFilters({ width, sigma, frequency }: (typeof SCALES)[number]): Float32Array {
  const radius = (width - 1) / 2;
  const out = new Float32Array(width * width * 2 * ORIENTATIONS);
  for (let o = 0; o < ORIENTATIONS; o++) {
    const angle = (Math.PI * o) / ORIENTATIONS;
    const taps: { envelope: number; re: number; im: number }[] = [];
    for (let y = -radius; y <= radius; y++)
      for (let x = -radius; x <= radius; x++) {
        const u = x * Math.cos(angle) + y * Math.sin(angle);
        const v = SLANT * (y * Math.cos(angle) - x * Math.sin(angle));
        const envelope = Math.exp(-(u * u + v * v) / (2 * sigma * sigma));
        taps.push({ envelope, re: envelope * Math.cos(frequency * u), im: envelope * Math.sin(frequency * u) });
      }
    const total = taps.reduce((sum, t) => sum + t.envelope, 0);
    const [meanRe, meanIm] = (['re', 'im'] as const).map((part) => taps.reduce((sum, t) => sum + t[part], 0) / total);
    const centred = taps.map((t) => ({ re: t.re - meanRe * t.envelope, im: t.im - meanIm * t.envelope }));
    const size = centred.reduce((sum, t) => sum + Math.hypot(t.re, t.im), 0);
    centred.forEach((t, i) => {
      out[i * 2 * ORIENTATIONS + o] = t.re / size;
      out[i * 2 * ORIENTATIONS + ORIENTATIONS + o] = t.im / size;
    });
  }
  return out;
}

/** Images larger than 32 pixels are halved first: the filters are made for small ones. */
const workingSize = (size: number): number => (size > 32 ? size / 2 : size);

/** Length of the wavelet vector of an image, with the blurred image or without. */
export function waveletLength({ channels, size }: { channels: number; size: number }, lowPass = true): number {
  const places = (workingSize(size) / 4) ** 2;
  return channels * places * ((lowPass ? 1 : 0) + ORIENTATIONS * SCALES.length);
}

/**
 * @param x - [n, channels, size, size] in [0, 1].
 * @param lowPass - whether the blurred image is part of it, beside the moduli.
 * @returns [n, waveletLength], rows of norm just below 1.
 */
export function waveletVector(x: Tensor4D, lowPass = true): Tensor2D {
  const [n, channels, size] = x.shape;
  let planes = tf.reshape<tf.Rank.R4>(x, [n * channels, size, size, 1]);
  if (workingSize(size) !== size) planes = tf.avgPool(planes, 2, 2, 'valid');
  const low = tf.mul(tf.avgPool(planes, 4, 4, 'valid'), LOW_PASS_GAIN);
  const moduli = SCALES.map((scale) => {
    const filters = tf.tensor4d(morletFilters(scale), [scale.width, scale.width, 1, 2 * ORIENTATIONS]);
    const pad = (scale.width - 1) / 2;
    const padded = tf.pad(planes, [
      [0, 0],
      [pad, pad],
      [pad, pad],
      [0, 0],
    ]);
    const waves = tf.square(tf.conv2d(padded, filters, 2, 'valid'));
    const re = tf.slice(waves, [0, 0, 0, 0], [-1, -1, -1, ORIENTATIONS]);
    const im = tf.slice(waves, [0, 0, 0, ORIENTATIONS], [-1, -1, -1, ORIENTATIONS]);
    const modulus = tf.sqrt(tf.add(tf.add(re, im), ROOT_FLOOR));
    return tf.mul(tf.avgPool(modulus as Tensor4D, 2, 2, 'valid'), MODULUS_GAIN);
  });
  const vector = tf.reshape(tf.concat(lowPass ? [low, ...moduli] : moduli, 3), [n, -1]);
  return tf.div<Tensor2D>(vector, tf.add(tf.sqrt(tf.sum(tf.square(vector), 1, true)), NORM_FLOOR));
}

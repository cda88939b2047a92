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

/** Means over tiles of a square image, as a matrix [size², (size / tile)²]: a product is faster than pooling. */
function tileMeans(size: number, tile: number): Tensor2D {
  const places = size / tile;
  const values = new Float32Array(size * size * places * places);
  for (let at = 0; at < size * size; at++) {
    const [row, column] = [Math.floor(at / size), at % size];
    const place = Math.floor(row / tile) * places + Math.floor(column / tile);
    values[at * places * places + place] = 1 / (tile * tile);
  }
  return tf.tensor2d(values, [size * size, places * places]);
}

/**
 * @param x - [n, channels, size, size] in [0, 1].
 * @param lowPass - whether the blurred image is part of it, beside the moduli.
 * @returns [n, waveletLength], rows of norm just below 1.
 */
export function waveletVector(x: Tensor4D, lowPass = true): Tensor2D {
  const [n, channels, full] = x.shape;
  const size = workingSize(full);
  const images = n * channels;
  let planes = tf.reshape<tf.Rank.R4>(x, [images, 1, full, full]);
  if (size !== full)
    planes = tf.reshape(tf.matMul(tf.reshape(x, [images, full * full]), tileMeans(full, 2)), [images, 1, size, size]);
  // Everything is [images, filters, height, width]: each orientation's map is one row of a product that pools it.
  const moduli = SCALES.map((scale) => {
    const filters = tf.tensor4d(morletFilters(scale), [scale.width, scale.width, 1, 2 * ORIENTATIONS]);
    const waves = tf.square(tf.conv2d(planes, filters, 2, (scale.width - 1) / 2, 'NCHW'));
    const re = tf.slice(waves, [0, 0, 0, 0], [-1, ORIENTATIONS, -1, -1]);
    const im = tf.slice(waves, [0, ORIENTATIONS, 0, 0], [-1, ORIENTATIONS, -1, -1]);
    const modulus = tf.sqrt(tf.add(tf.add(re, im), ROOT_FLOOR));
    const maps = tf.reshape<tf.Rank.R2>(modulus, [images * ORIENTATIONS, (size / 2) ** 2]);
    return tf.reshape(tf.mul(tf.matMul(maps, tileMeans(size / 2, 2)), MODULUS_GAIN), [images, -1]);
  });
  const low = () => tf.mul(tf.matMul(tf.reshape(planes, [images, size * size]), tileMeans(size, 4)), LOW_PASS_GAIN);
  const vector = tf.reshape<tf.Rank.R2>(tf.concat(lowPass ? [low(), ...moduli] : moduli, 1), [n, -1]);
  return tf.div<Tensor2D>(vector, tf.add(tf.sqrt(tf.sum(tf.square(vector), 1, true)), NORM_FLOOR));
}

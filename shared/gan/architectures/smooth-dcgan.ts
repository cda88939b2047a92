/**
 * DCGAN with a smoother generator: a dense trunk before the first map, few channels on the way up, and a fixed binomial
 * blur on the last map, before the tanh. Transposed convolutions of stride 2 draw checkerboards, and a mean embedding
 * under noise does not tell the generator to stop; the blur does. The discriminator is DCGAN's.
 *
 * `generatorWidth` is the number of channels of the last hidden map; the first has twice or four times as many.
 *
 * @see Zhang 2019, https://arxiv.org/abs/1904.11486 (the binomial filter); docs/log.md (what it gains)
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import { type Architecture, unflatten } from '../architecture.ts';
import { dcgan } from './dcgan.ts';

const TRUNK = 256;
const KERNEL = { kernel: 4, stride: 2 };
/**
 * First weights are small before a batch normalisation, which undoes their scale but not the length of a step relative
 * to it: with these the generator learns at the pace the moment round's few thousand steps need.
 */
const FIRST = { dense: 0.58, up: 0.41, image: 1.41 };

/** What a label counts beside a latent in the first layer: classes part early, and a fit has few steps. docs/log.md. */
const LABEL_GAIN = 4;

/**
 * [size, size]: what a column of an image is multiplied with to be convolved with [1, 2, 1] / 4; at the border the border's
 * own value counts once more.
 */
function binomial(size: number): Float32Array {
  const taps = new Float32Array(size * size);
  for (let i = 0; i < size; i++)
    for (const [step, weight] of [
      [-1, 0.25],
      [0, 0.5],
      [1, 0.25],
    ])
      taps[i * size + Math.min(size - 1, Math.max(0, i + step))] += weight;
  return taps;
}

/** Each channel convolved with [1, 2, 1] ⊗ [1, 2, 1] / 16, as two products of matrices: slices and sums take longer. */
export function binomialBlur(x: Tensor4D): Tensor4D {
  const [n, size, , channels] = x.shape;
  const blur = tf.tensor2d(binomial(size), [size, size]);
  // Along the columns every image is a matrix [size, size · channels].
  const upright = tf.matMul(tf.expandDims(blur, 0), tf.reshape<tf.Rank.R3>(x, [n, size, size * channels]));
  const planes = tf.reshape(tf.transpose(tf.reshape(upright, [n * size, size, channels]), [0, 2, 1]), [-1, size]);
  const across = tf.reshape(tf.matMul(planes as Tensor2D, blur, false, true), [n * size, channels, size]);
  return tf.reshape(tf.transpose(across, [0, 2, 1]), x.shape);
}

export const smoothDcgan: Architecture = {
  name: 'smooth-dcgan',

  generator(net, latents, oneHot, { imageSize, channels, generatorWidth }) {
    const levels = imageSize === 64 ? 3 : 2;
    const start = imageSize >> levels;
    let filters = generatorWidth << (levels - 1);
    const input = tf.concat<Tensor2D>([latents, tf.mul<Tensor2D>(oneHot, LABEL_GAIN)], 1);
    const trunk = tf.relu(
      net.batchNorm('trunk-norm', net.dense('trunk', input, TRUNK, { bias: false, gain: FIRST.dense })),
    );
    const dense = net.dense('start', trunk, filters * start * start, { bias: false, gain: FIRST.dense });
    let x: Tensor4D = tf.relu(net.batchNorm('start-norm', unflatten(dense, start, filters)));
    for (let level = 1; level < levels; level++) {
      filters >>= 1;
      x = net.convTranspose2d(`up${level}`, x, { filters, ...KERNEL, bias: false, gain: FIRST.up });
      x = tf.relu(net.batchNorm(`up${level}-norm`, x));
    }
    return tf.tanh(binomialBlur(net.convTranspose2d('image', x, { filters: channels, ...KERNEL, gain: FIRST.image })));
  },

  discriminator: dcgan.discriminator,
};

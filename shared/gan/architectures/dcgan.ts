/**
 * DCGAN: strided convolutions down to 7 or 8 pixels, transposed ones up from there.
 *
 * Differs from the paper because: the discriminator has no BatchNorm (a patient's gradient would depend on the other
 * patients), optionally GroupNorm; the coarsest map is 7 or 8 pixels wide, since every further layer quadruples the
 * parameters that the noise is spread over; a class is concatenated to the latent vector.
 *
 * @see Radford et al. 2016, https://arxiv.org/abs/1511.06434
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor4D } from '@tensorflow/tfjs';
import { type Architecture, flatten, judge, unflatten, withLabelPlanes } from '../architecture.ts';

const KERNEL = { kernel: 4, stride: 2 };

/** How often the image is halved on its way to 7 or 8 pixels. */
const halvings = (size: number): number => (size === 64 ? 3 : 2);

export const dcgan: Architecture = {
  name: 'dcgan',

  generator(net, latents, oneHot, { imageSize, channels, generatorWidth }) {
    const levels = halvings(imageSize);
    const start = imageSize >> levels;
    let filters = generatorWidth << (levels - 1);
    const input = tf.concat([latents, oneHot], 1);
    const dense = net.dense('start', input, filters * start * start, { bias: false });
    let x: Tensor4D = tf.relu(net.batchNorm('start-norm', unflatten(dense, start, filters)));
    for (let level = 1; level < levels; level++) {
      filters >>= 1;
      x = net.convTranspose2d(`up${level}`, x, { filters, ...KERNEL, bias: false });
      x = tf.relu(net.batchNorm(`up${level}-norm`, x));
    }
    return tf.tanh(net.convTranspose2d('image', x, { filters: channels, ...KERNEL, gain: 1 }));
  },

  discriminator(net, images, oneHot, config) {
    let x = withLabelPlanes(net, images, oneHot, config);
    for (let level = 0; level < halvings(config.imageSize); level++) {
      x = net.conv2d(`down${level}`, x, { filters: config.discriminatorWidth << level, ...KERNEL });
      // Not on the first layer: it would take away the brightness of the image.
      if (config.groupNorm > 0 && level > 0) x = net.groupNorm(`down${level}-norm`, x, config.groupNorm);
      x = tf.leakyRelu(x, 0.2);
    }
    return judge(net, flatten(x), oneHot, config);
  },
};

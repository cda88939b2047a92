/**
 * Two fully connected networks of one hidden layer: a baseline, and the smallest architecture there can be.
 *
 * @see Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 5
 */
import * as tf from '@tensorflow/tfjs';
import { type Architecture, flatten, judge, unflatten, withLabelPlanes } from '../architecture.ts';

export const mlp: Architecture = {
  name: 'mlp',

  generator(net, latents, oneHot, { imageSize, channels, generatorWidth }) {
    const hidden = tf.relu(net.dense('hidden', tf.concat([latents, oneHot], 1), generatorWidth));
    const pixels = net.dense('image', hidden, imageSize * imageSize * channels, { gain: 1 });
    return tf.tanh(unflatten(pixels, imageSize, channels));
  },

  discriminator(net, images, oneHot, config) {
    const pixels = flatten(withLabelPlanes(net, images, oneHot, config));
    return judge(net, tf.leakyRelu(net.dense('hidden', pixels, config.discriminatorWidth), 0.2), oneHot, config);
  },
};

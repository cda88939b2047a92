import * as tf from '@tensorflow/tfjs';
import { adam } from '../shared/engine/optimizers.ts';
import { float32, int32, sizeOf, type Arrays, type Specs, type TensorFunction } from '../shared/engine/program.ts';

/**
 * The network the engine is measured on: a class-conditional DCGAN for 28×28 images, in plain tfjs.
 *
 * One step is: fakes from the generator, a discriminator step on reals and fakes, a generator step against the new
 * discriminator; both gradients and both Adam updates in one function. `engine-torch.py` is the same in PyTorch.
 */

export const CLASSES = 10;
export const NOISE = 90;
type Tensors = Record<string, tf.Tensor>;
type Four = tf.Tensor4D;

const D: Specs = {
  'd.embed': float32(CLASSES, 1),
  'd.w1': float32(4, 4, 2, 64),
  'd.b1': float32(64),
  'd.w2': float32(4, 4, 64, 128),
  'd.b2': float32(128),
  'd.w3': float32(7 * 7 * 128, 1),
  'd.b3': float32(1),
};

const G: Specs = {
  'g.w1': float32(NOISE + CLASSES, 7 * 7 * 128),
  'g.b1': float32(7 * 7 * 128),
  'g.scale1': float32(128),
  'g.shift1': float32(128),
  'g.w2': float32(4, 4, 64, 128),
  'g.scale2': float32(64),
  'g.shift2': float32(64),
  'g.w3': float32(4, 4, 1, 64),
  'g.b3': float32(1),
};

/** NHWC throughout: ONNX Runtime removes nearly all of the transposes that this costs. */
function discriminate(p: Tensors, images: tf.Tensor, onehot: tf.Tensor2D): tf.Tensor {
  const n = images.shape[0];
  const plane = tf.mul(tf.ones([n, 28, 28, 1]), tf.matMul(onehot, p['d.embed'] as tf.Tensor2D).reshape([n, 1, 1, 1]));
  let h: tf.Tensor = tf.concat([images, plane], 3);
  h = tf.leakyRelu(tf.conv2d(h as Four, p['d.w1'] as Four, 2, 'same').add(p['d.b1']), 0.2);
  h = tf.leakyRelu(tf.conv2d(h as Four, p['d.w2'] as Four, 2, 'same').add(p['d.b2']), 0.2);
  return tf.matMul(h.as2D(n, -1), p['d.w3'] as tf.Tensor2D).add(p['d.b3']);
}

function normalise(h: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor): tf.Tensor {
  const { mean, variance } = tf.moments(h, [0, 1, 2]);
  return h
    .sub(mean)
    .mul(tf.rsqrt(variance.add(1e-5)).mul(scale))
    .add(shift);
}

export function generate(p: Tensors, z: tf.Tensor, onehot: tf.Tensor2D): tf.Tensor {
  const n = z.shape[0];
  let h: tf.Tensor = tf.matMul(tf.concat([z, onehot], 1) as tf.Tensor2D, p['g.w1'] as tf.Tensor2D).add(p['g.b1']);
  h = tf.relu(normalise(h.reshape([n, 7, 7, 128]), p['g.scale1'], p['g.shift1']));
  h = tf.conv2dTranspose(h as Four, p['g.w2'] as Four, [n, 14, 14, 64], 2, 'same');
  h = tf.relu(normalise(h, p['g.scale2'], p['g.shift2']));
  return tf.tanh(tf.conv2dTranspose(h as Four, p['g.w3'] as Four, [n, 28, 28, 1], 2, 'same').add(p['g.b3']));
}

const optimizer = adam({ learningRate: 2e-4, beta1: 0.5, beta2: 0.999 });

const slotsOf = (specs: Specs): Specs =>
  Object.fromEntries(
    Object.entries(specs).flatMap(([key, spec]) => optimizer.slotNames.map((slot) => [`${key}.${slot}`, spec])),
  );

/** One optimiser step on the parameters named in `specs`; returns the new parameters and slots under their names. */
function descend(specs: Specs, inputs: Tensors, loss: (p: Tensors) => tf.Scalar): { loss: tf.Scalar; next: Tensors } {
  const names = Object.keys(specs);
  const named = (values: tf.Tensor[]) => Object.fromEntries(names.map((name, i) => [name, values[i]]));
  const { value, grads } = tf.valueAndGrads((...values: tf.Tensor[]) => loss(named(values)))(
    names.map((n) => inputs[n]),
  );
  const next: Tensors = {};
  names.forEach((name, i) => {
    const old = optimizer.slotNames.map((slot) => inputs[`${name}.${slot}`]);
    const { weights, slots } = optimizer.updateTensors(inputs[name], grads[i], old, inputs['step']);
    next[name] = weights;
    optimizer.slotNames.forEach((slot, s) => (next[`${name}.${slot}`] = slots[s]));
  });
  return { loss: value, next };
}

/** D step, then G step. Everything that a step changes comes in and goes out under the same name. */
export const step: TensorFunction = (inputs) => {
  const onehot = tf.oneHot(inputs['labels'] as tf.Tensor1D, CLASSES).toFloat() as tf.Tensor2D;
  const fakes = generate(inputs, inputs['z'], onehot);
  const forD = descend(D, inputs, (p) => {
    const real = tf.softplus(tf.neg(discriminate(p, inputs['images'], onehot)));
    const fake = tf.softplus(discriminate(p, fakes, onehot));
    return tf.add(tf.mean(real), tf.mean(fake));
  });
  const forG = descend(G, inputs, (p) =>
    tf.mean(tf.softplus(tf.neg(discriminate(forD.next, generate(p, inputs['z'], onehot), onehot)))),
  );
  return { lossD: forD.loss, lossG: forG.loss, ...forD.next, ...forG.next };
};

/** The generator alone. */
export const sample: TensorFunction = (inputs) => {
  const onehot = tf.oneHot(inputs['labels'] as tf.Tensor1D, CLASSES).toFloat() as tf.Tensor2D;
  return { images: generate(inputs, inputs['z'], onehot) };
};

export const sampleInputs = (batch: number): Specs => ({ z: float32(batch, NOISE), labels: int32(batch), ...G });

export const stepInputs = (batch: number): Specs => ({
  images: float32(batch, 28, 28, 1),
  z: float32(batch, NOISE),
  labels: int32(batch),
  step: float32(),
  ...D,
  ...slotsOf(D),
  ...G,
  ...slotsOf(G),
});

const count = (specs: Specs) => Object.values(specs).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
export const PARAMETERS = { d: count(D), g: count(G) };

/** Plausible first values: weights of deviation about 0.05, scales 1, slots 0. `draw` gives uniforms in [0, 1). */
export function firstFeeds(inputs: Specs, draw: () => number): Arrays {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, dtype }]): [string, Float32Array | Int32Array] => {
      const n = sizeOf(shape);
      if (dtype === 'int32') return [name, Int32Array.from({ length: n }, (_, i) => i % CLASSES)];
      if (name === 'step') return [name, Float32Array.of(1)];
      if (/\.(m|v|b\d|shift\d)$/.test(name)) return [name, new Float32Array(n)];
      if (/\.scale\d$/.test(name)) return [name, new Float32Array(n).fill(1)];
      const spread = /\.w\d$/.test(name) ? 0.087 : 1;
      return [name, Float32Array.from({ length: n }, () => spread * (2 * draw() - 1))];
    }),
  );
}

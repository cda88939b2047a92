import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { firstFeeds, step, stepInputs } from '../../bench/engine-dcgan.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { float32, int32, sizeOf, type Arrays, type Specs, type TensorFunction } from '../../shared/engine/program.ts';
import { adam } from '../../shared/engine/optimizers.ts';
import { difference, expectSame, feedsFor, runOnce, type Tensors } from '../support/engine-oracle.ts';
import { mulberry32, uniform } from '../support/rng.ts';

/** Whole training steps: against tfjs' own cpu backend, and against finite differences of the loss. */

type Four = tf.Tensor4D;

/** Smooth everywhere, so that finite differences converge: tanh for leaky ReLU. */
const discriminate = (p: Tensors, x: tf.Tensor): tf.Tensor => {
  let h = tf.tanh(tf.conv2d(x as Four, p['w1'] as Four, 2, 'same').add(p['b1']));
  h = tf.tanh(tf.conv2d(h as Four, p['w2'] as Four, 2, 'valid'));
  h = tf.avgPool(h as Four, 2, 1, 'same');
  return tf.matMul(h.as2D(x.shape[0], -1), p['w3']);
};

const parameters: Specs = { w1: float32(4, 4, 1, 3), b1: float32(3), w2: float32(3, 3, 3, 4), w3: float32(4 * 4, 2) };
const names = Object.keys(parameters);

const adversarial = (p: Tensors, x: tf.Tensor, z: tf.Tensor) =>
  tf.add<tf.Scalar>(tf.mean(tf.softplus(tf.neg(discriminate(p, x)))), tf.mean(tf.softplus(discriminate(p, z))));

const classification = (p: Tensors, x: tf.Tensor, z: tf.Tensor) => {
  const labels = tf.oneHot(tf.range(0, x.shape[0], 1, 'int32').mod<tf.Tensor1D>(tf.scalar(2, 'int32')), 2);
  return tf.neg(tf.mean<tf.Scalar>(tf.mul(labels, tf.logSoftmax(discriminate(p, tf.add(x, z))))));
};

/** Spectral norm by one power iteration, the vector being an input. */
const spectral = (p: Tensors, x: tf.Tensor, z: tf.Tensor) => {
  const matrix = p['w2'].as2D(27, 4);
  const u = tf.slice(z.flatten(), 0, 27).as2D(1, 27);
  const v = tf.matMul(u, matrix);
  const unit = v.div<tf.Tensor2D>(tf.norm(v));
  const sigma = tf.norm(tf.matMul(unit, matrix, false, true));
  return adversarial({ ...p, w2: p['w2'].div(sigma) }, x, z);
};

/** The penalty needs the gradient of a gradient. */
const penalised = (p: Tensors, x: tf.Tensor, z: tf.Tensor) => {
  const slope = tf.grad((v: tf.Tensor) => tf.sum(linear(p, v)))(x);
  return tf.add<tf.Scalar>(
    tf.mean(linear(p, z)),
    tf.mean(tf.square(tf.sqrt(tf.sum(tf.square(slope), [1, 2, 3])).sub(1))),
  );
};
/** Convolutions, sums and squares alone: tfjs has second derivatives of these. */
const linear = (p: Tensors, v: tf.Tensor) => {
  const h = tf.square(tf.conv2d(v as Four, p['w1'] as Four, 2, 'same').add(p['b1']));
  const pooled = tf.mean(tf.square(tf.conv2d(h as Four, p['w2'] as Four, 2, 'valid')), [1, 2]);
  return tf.matMul(pooled, tf.slice(p['w3'] as tf.Tensor2D, 0, 4));
};

const inputs: Specs = { ...parameters, x: float32(3, 11, 11, 1), z: float32(3, 11, 11, 1) };
const losses = { adversarial, classification, spectral, penalised };

describe.each(Object.entries(losses))('%s loss', (_, loss) => {
  const withGradient: TensorFunction = ({ x, z, ...p }) => {
    const of = (...values: tf.Tensor[]) => loss(Object.fromEntries(names.map((name, i) => [name, values[i]])), x, z);
    const { value, grads } = tf.valueAndGrads(of)(names.map((name) => p[name]));
    return { loss: value, ...Object.fromEntries(names.map((name, i) => [`d_${name}`, grads[i]])) };
  };

  test('loss and gradients are those of tfjs, or its gradient is known to be wrong', async () => {
    // tfjs' cpu kernel spreads a padded mean over the whole window; the penalty has no pooling, and fourth powers to
    // round.
    if (loss === penalised) await expectSame(withGradient, inputs, feedsFor(inputs), 3e-4);
    else await expectSame(({ x, z, ...p }) => ({ loss: loss(p, x, z) }), inputs, feedsFor(inputs));
  });

  test('the gradient is the slope of the loss in random directions', async () => {
    const feeds = feedsFor(inputs);
    const gradients = await runOnce(withGradient, inputs, feeds);
    const value: TensorFunction = ({ x, z, ...p }) => ({ loss: loss(p, x, z) });
    const at = async (direction: Arrays, step: number) => {
      const moved = Object.fromEntries(names.map((name) => [name, Float32Array.from(feeds[name], (w, i) => w + step * direction[name][i])])); // prettier-ignore
      return (await runOnce(value, inputs, { ...feeds, ...moved }))['loss'][0];
    };
    for (const seed of [1, 2, 3]) {
      const direction = Object.fromEntries(names.map((name, i) => [name, uniform(100 * seed + i, sizeOf(parameters[name].shape))])); // prettier-ignore
      const slope = names.reduce((sum, name) => sum + Array.from(gradients[`d_${name}`]).reduce((s, g, i) => s + g * direction[name][i], 0), 0); // prettier-ignore
      // Central differences at two steps, extrapolated: error of order h⁴, against float32 rounding over h.
      const [h, half] = [2e-2, 1e-2];
      const wide = ((await at(direction, h)) - (await at(direction, -h))) / (2 * h);
      const narrow = ((await at(direction, half)) - (await at(direction, -half))) / (2 * half);
      expect(difference([slope], [(4 * narrow - wide) / 3])).toBeLessThan(3e-3);
    }
  });
});

test('ten steps with Adam inside the graph follow tfjs, and the loss falls', async () => {
  const optimizer = adam({ learningRate: 0.02 });
  const small: Specs = { w1: float32(3, 3, 1, 4), w3: float32(4, 2) };
  const keys = Object.keys(small);
  const slots = Object.fromEntries(
    keys.flatMap((key) => optimizer.slotNames.map((slot) => [`${key}.${slot}`, small[key]])),
  );
  const specs: Specs = { ...small, ...slots, x: float32(8, 6, 6, 1), y: int32(8), step: float32() };
  const fn: TensorFunction = (t) => {
    const loss = (w1: tf.Tensor, w3: tf.Tensor) => {
      const h = tf.leakyRelu(tf.conv2d(t['x'] as Four, w1 as Four, 2, 'same'));
      const logits = tf.matMul(tf.max<tf.Tensor2D>(h, [1, 2]), w3);
      return tf.neg(tf.mean<tf.Scalar>(tf.mul(tf.oneHot(t['y'] as tf.Tensor1D, 2), tf.logSoftmax(logits))));
    };
    const { value, grads } = tf.valueAndGrads(loss)(keys.map((key) => t[key]));
    const next: Tensors = {};
    keys.forEach((key, i) => {
      const old = optimizer.slotNames.map((slot) => t[`${key}.${slot}`]);
      const moved = optimizer.updateTensors(t[key], grads[i], old, t['step']);
      next[key] = moved.weights;
      optimizer.slotNames.forEach((slot, s) => (next[`${key}.${slot}`] = moved.slots[s]));
    });
    return { loss: value, ...next };
  };
  let feeds = feedsFor(specs, -1, 1, 2);
  for (const key of Object.keys(slots)) feeds[key].fill(0);
  const course: number[] = [];
  for (let step = 1; step <= 10; step++) {
    const { loss, ...next } = await expectSame(fn, specs, { ...feeds, step: Float32Array.of(step) }, 1e-4);
    course.push(loss[0]);
    feeds = { ...feeds, ...next };
  }
  expect(course.at(-1)).toBeLessThan(0.8 * course[0]);
});

test('a step gives the same bits every time, with one thread or two', async () => {
  const feeds = firstFeeds(stepInputs(4), mulberry32(1));
  const results: Arrays[] = [];
  for (const threads of [1, 2, 2]) {
    const program = await (await openEngine('cpu', { threads })).compile('step', step, stepInputs(4));
    results.push(await program.run(feeds), await program.run(feeds));
    await program.dispose();
  }
  for (const other of results.slice(1))
    for (const [name, values] of Object.entries(results[0]))
      expect(Buffer.compare(bytesOf(values), bytesOf(other[name])), name).toBe(0);
});

const bytesOf = (values: Float32Array | Int32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);

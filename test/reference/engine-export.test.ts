import * as tf from '@tensorflow/tfjs';
import * as ort from 'onnxruntime-node';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { sample, sampleInputs, step, stepInputs } from '../../bench/engine-dcgan.ts';
import { float32, int32, type Arrays, type Specs, type TensorFunction } from '../../shared/engine/program.ts';
import { traceToOnnx } from '../../shared/engine/trace.ts';
import { difference, feedsFor, runOnce, withGradients, type Tensors } from '../support/engine-oracle.ts';

/** Recorded models as other software sees them: plain ONNX Runtime, and the onnx package's own checker. */

type Four = tf.Tensor4D;

/** A small conditional generator: dense, transposed convolutions, normalisation over channels, tanh. */
const generator: TensorFunction = ({ z, labels, w1, w2, w3 }) => {
  const onehot = tf.oneHot(labels as tf.Tensor1D, 3).toFloat();
  const n = z.shape[0];
  let h: tf.Tensor = tf.matMul(tf.concat([z, onehot], 1) as tf.Tensor2D, w1 as tf.Tensor2D).reshape([n, 4, 3, 6]);
  h = tf.relu(h.sub(tf.mean(h, [1, 2], true)));
  h = tf.conv2dTranspose(h as Four, w2 as Four, [n, 8, 6, 4], 2, 'same');
  h = tf.image.resizeNearestNeighbor(tf.leakyRelu(h) as Four, [16, 12]);
  return {
    images: tf.tanh(tf.conv2d(h as Four, w3 as Four, 1, 'same')),
    logits: tf.slice(h, [0, 0, 0, 1], [-1, -1, -1, 1]).reshape([n, -1]),
  };
};
const weights: Specs = { w1: float32(8, 72), w2: float32(4, 4, 4, 6), w3: float32(3, 3, 4, 1) };
const inputs = (n: number): Specs => ({ z: float32(n, 5), labels: int32(n), ...weights });

/** Ten lines of plain ONNX Runtime. */
async function plainly(onnx: Uint8Array, feeds: Arrays, specs: Specs): Promise<Record<string, ort.Tensor>> {
  const session = await ort.InferenceSession.create(onnx);
  const tensors: Record<string, ort.Tensor> = {};
  for (const name of session.inputNames)
    tensors[name] = new ort.Tensor(specs[name].dtype, feeds[name] as Float32Array, specs[name].shape);
  return await session.run(tensors);
}

test('a generator with its weights baked in gives the same images in plain ONNX Runtime', async () => {
  const specs = inputs(4);
  const feeds = feedsFor(specs);
  const constants = Object.fromEntries(Object.keys(weights).map((key) => [key, feeds[key]]));
  const { onnx, outputs } = traceToOnnx('generator', generator, specs, { constants });
  expect(outputs['images']).toEqual(float32(4, 16, 12, 1));
  const images = (await plainly(onnx, feeds, specs))['images'];
  expect(images.dims).toEqual([4, 16, 12, 1]);
  const expected = await runOnce(generator, specs, feeds, 'tfjs');
  expect(difference(images.data as Float32Array, expected['images'])).toBeLessThan(1e-5);
});

test('with a free batch axis one file serves every batch size', async () => {
  const first = feedsFor(inputs(4));
  const constants = Object.fromEntries(Object.keys(weights).map((key) => [key, first[key]]));
  const { onnx, outputs } = traceToOnnx('generator', generator, inputs(1), { constants, dynamicBatch: 'batch' });
  expect(outputs['images'].shape).toEqual([-1, 16, 12, 1]);
  for (const n of [1, 2, 7]) {
    const feeds = { ...feedsFor(inputs(n)), ...constants };
    const found = await plainly(onnx, feeds, inputs(n));
    const expected = await runOnce(generator, inputs(n), feeds, 'tfjs');
    for (const name of ['images', 'logits']) {
      expect(found[name].dims[0]).toBe(n);
      expect(difference(found[name].data as Float32Array, expected[name])).toBeLessThan(1e-5);
    }
  }
});

test('a graph that must know its batch size says which operator', () => {
  const fn: TensorFunction = ({ x }) => ({ y: tf.tile(tf.sum(x, 0, true), [x.shape[0], 1]) });
  expect(() => traceToOnnx('test', fn, { x: float32(1, 3) }, { dynamicBatch: 'n' })).toThrow(
    /PARAMETER_INVALID.*Expand/,
  );
  const total: TensorFunction = ({ x }) => ({ y: tf.sum(x, 0) });
  expect(() => traceToOnnx('test', total, { x: float32(1, 3) }, { dynamicBatch: 'n' })).toThrow(/output 'y'/);
});

test('a constant must fit its spec', () => {
  const fn = ({ x }: Tensors) => ({ y: x });
  const wrong = { constants: { x: new Float32Array(2) } };
  expect(() => traceToOnnx('test', fn, { x: float32(3) }, wrong)).toThrow('PARAMETER_INVALID');
  expect(() => traceToOnnx('test', fn, {}, wrong)).toThrow('PARAMETER_INVALID');
});

test('the same function gives the same bytes', () => {
  const bytes = () => Buffer.from(traceToOnnx('step', step, stepInputs(2)).onnx).toString('base64');
  expect(bytes()).toBe(bytes());
});

const python = spawnSync('/usr/bin/python3', ['-c', 'import onnx; print(onnx.__version__)'], { encoding: 'utf8' });

test.skipIf(python.status !== 0)('the onnx checker accepts exported and compiled models', () => {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-'));
  const image: Specs = { x: float32(2, 6, 6, 3) };
  const pools = withGradients(({ x }) => tf.maxPool(tf.mirrorPad(x, [[0, 0], [1, 1], [2, 2], [0, 0]], 'symmetric') as Four, 3, 2, 'same'), image); // prettier-ignore
  const constants = feedsFor(weights);
  const models = [
    traceToOnnx('generator', generator, inputs(4), { constants }),
    traceToOnnx('generator-any-batch', generator, inputs(4), { constants, dynamicBatch: 'batch' }),
    traceToOnnx('step', step, stepInputs(2)),
    traceToOnnx('sample', sample, sampleInputs(2)),
    traceToOnnx('pools', pools, image),
  ];
  const paths = models.map(({ onnx }, i) => {
    const path = join(folder, `${i}.onnx`);
    writeFileSync(path, onnx);
    return path;
  });
  const script = fileURLToPath(new URL('../support/onnx-check.py', import.meta.url));
  const { stdout } = spawnSync('/usr/bin/python3', [script, ...paths], { encoding: 'utf8' });
  rmSync(folder, { recursive: true });
  expect(stdout.trim().split('\n')).toEqual(models.map(() => 'ok 8 17'));
});

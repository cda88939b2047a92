/**
 * A patient whose gradient is a small rest of large terms that cancel: float32 Gram matrices alone take its norm for smaller
 * than it is, and the clip would be loose. The truth is summed in float64.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor } from '@tensorflow/tfjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FLOAT_SLACK } from '../../shared/dp/noised.ts';
import { convolutionRule } from '../../shared/dp/norm-rules.ts';
import { openEngine } from '../../shared/engine/open.ts';
import { type Engine, float32 } from '../../shared/engine/program.ts';
import type { LayerOf } from '../../shared/gan/layers.ts';
import { PublicRandom } from '../../shared/public-random.ts';

const SIZE = 16;
const OUT = SIZE / 2;
const CHANNELS = 8;
const FILTERS = 4;
const UNITS = 24;
const layer: LayerOf<'conv2d'> = {
  kind: 'conv2d',
  name: 'conv',
  height: SIZE,
  width: SIZE,
  channels: CHANNELS,
  filters: FILTERS,
  kernel: 4,
  stride: 2,
  bias: false,
  gain: 1,
};
const group = [{ units: UNITS, images: 1 }];

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

/** Nearly constant images; gradients that alternate in sign inside, and sum to a little. */
function cancelling() {
  const draws = new PublicRandom('cancelling');
  const x = draws.gaussians(UNITS * SIZE * SIZE * CHANNELS).map((e) => 1 + 1e-3 * e);
  const g = draws.gaussians(UNITS * OUT * OUT * FILTERS).map((e, i) => {
    const position = Math.floor(i / FILTERS) % (OUT * OUT);
    const [row, column] = [Math.floor(position / OUT), position % OUT];
    const inside = row > 0 && row < OUT - 1 && column > 0 && column < OUT - 1;
    return inside ? ((row + column) % 2 === 0 ? 1 : -1) + 1e-4 * e : 0;
  });
  return { x, g };
}

/** Norm of each unit's filter gradient, in float64. */
function truth(x: Float32Array, g: Float32Array): number[] {
  return Array.from({ length: UNITS }, (_, n) => {
    let squared = 0;
    for (let ky = 0; ky < 4; ky++)
      for (let kx = 0; kx < 4; kx++)
        for (let c = 0; c < CHANNELS; c++)
          for (let f = 0; f < FILTERS; f++) {
            let sum = 0;
            for (let row = 1; row < OUT - 1; row++)
              for (let column = 1; column < OUT - 1; column++) {
                const pixel = (n * SIZE + 2 * row + ky - 1) * SIZE + 2 * column + kx - 1;
                const position = (n * OUT + row) * OUT + column;
                sum += x[pixel * CHANNELS + c] * g[position * FILTERS + f];
              }
            squared += sum * sum;
          }
    return Math.sqrt(squared);
  });
}

/** Whether a norm is never below the true one by more than the slack that the noise pays for. */
async function neverTooSmall(norms: (x: Tensor, g: Tensor) => Tensor): Promise<boolean> {
  const { x, g } = cancelling();
  const program = await engine.compile('norms', ({ x, g }) => ({ norms: norms(x, g) }), {
    x: float32(UNITS, SIZE, SIZE, CHANNELS),
    g: float32(UNITS, OUT, OUT, FILTERS),
  });
  const { norms: computed } = await program.run({ x, g });
  return truth(x, g).every((norm, i) => computed[i] >= norm * (1 - FLOAT_SLACK));
}

test.each(['gram', 'product'] as const)('%s: a norm of terms that cancel is not taken for smaller', async (way) => {
  const rule = convolutionRule(() => way);
  expect(await neverTooSmall((x, g) => tf.sqrt(rule.measure(layer, x, g, group).squaredNorms))).toBe(true);
});

test('positive control: bare Gram matrices are caught', async () => {
  const bare = (x: Tensor, g: Tensor) => {
    const size = 16 * CHANNELS;
    const filter = Float32Array.from({ length: size * size }, (_, i) => (Math.floor(i / size) === i % size ? 1 : 0));
    const patches = tf.conv2d(x as tf.Tensor4D, tf.tensor4d(filter, [4, 4, CHANNELS, size]), 2, 'same');
    const gram = (y: Tensor, width: number) => {
      const rows = tf.reshape(y, [UNITS, OUT * OUT, width]);
      return tf.matMul(rows, rows, false, true);
    };
    return tf.sqrt(tf.relu(tf.sum(tf.mul(gram(patches, size), gram(g, FILTERS)), [1, 2])));
  };
  expect(await neverTooSmall(bare)).toBe(false);
});

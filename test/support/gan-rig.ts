/**
 * Small networks, batches of random pixels, and the slow truth: every patient's gradient by ordinary autodiff on tfjs' own
 * cpu backend, one patient at a time, clipped and summed in float64.
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor4D } from '@tensorflow/tfjs';
import { layPatients, type PatientBatch, type PatientImages } from '../../shared/dp/patient-batch.ts';
import type { FakeBatch } from '../../shared/dp/patient-gradient.ts';
import { quietTensorflow } from '../../shared/engine/recording-backend.ts';
import type { Architecture } from '../../shared/gan/architecture.ts';
import { flatten, judge } from '../../shared/gan/architecture.ts';
import type { GanConfig } from '../../shared/gan/config.ts';
import { initialise, parameterFeeds } from '../../shared/gan/layout.ts';
import { discriminatorLosses } from '../../shared/gan/losses.ts';
import { PlainNet } from '../../shared/gan/plain-net.ts';
import { ARCHITECTURES, type Gan, openGan } from '../../shared/gan/registry.ts';
import { PublicRandom } from '../../shared/public-random.ts';

export const config = (over: Partial<GanConfig> = {}): GanConfig => ({
  architecture: 'dcgan',
  imageSize: 28,
  channels: 1,
  classes: 3,
  latent: 4,
  generatorWidth: 2,
  discriminatorWidth: 4,
  conditioning: 'projection',
  groupNorm: 0,
  loss: 'bce',
  ...over,
});

/** Kernels that are no whole number of strides, stride 1, no bias, a skip connection: what dcgan has not. */
export const odd: Architecture = {
  name: 'odd',
  generator: (net, latents, labels, c) => ARCHITECTURES[0].generator(net, latents, labels, c),
  discriminator(net, images, labels, c) {
    const w = c.discriminatorWidth;
    let x: Tensor4D = tf.leakyRelu(net.conv2d('first', images, { filters: w, kernel: 3, stride: 2 }), 0.2);
    x = tf.add(x, tf.relu(net.conv2d('skip', x, { filters: w, kernel: 3, stride: 1, bias: false })));
    x = tf.leakyRelu(net.conv2d('last', x, { filters: 2 * w, kernel: 5, stride: 3 }), 0.2);
    return judge(net, net.dense('features', flatten(x), 6, { bias: false }), labels, c);
  },
};

/** What must be refused: a batch normalisation, which shows every example its neighbours. */
export const withBatchNorm: Architecture = {
  ...odd,
  name: 'batch-normed',
  discriminator(net, images, labels, c) {
    const x = net.conv2d('first', images, { filters: c.discriminatorWidth, kernel: 4, stride: 2 });
    return judge(net, flatten(tf.leakyRelu(net.batchNorm('norm', x), 0.2)), labels, c);
  },
};

export interface Case {
  readonly gan: Gan;
  readonly parameters: Float32Array;
  readonly patients: readonly PatientImages[];
  readonly batch: PatientBatch;
  readonly fakes: FakeBatch;
}

/**
 * @param sizes - images of each patient, at most m; a patient's images are alike, so that cross terms are large.
 * @param places - more places than patients where given.
 */
export function makeCase(
  over: Partial<GanConfig>,
  sizes: readonly number[],
  m: number,
  fakes: number,
  { seed = 'case', places = sizes.length }: { seed?: string; places?: number } = {},
): Case {
  const gan = openGan(config(over), [...ARCHITECTURES, odd, withBatchNorm]);
  const draws = new PublicRandom(seed);
  const each = gan.config.channels * gan.config.imageSize ** 2;
  const pixels = (n: number) => Float32Array.from(draws.uniforms(n * each), (u) => 2 * u - 1);
  const patients = sizes.map((count) => {
    const common = pixels(1);
    return {
      images: Array.from({ length: count }, () => pixels(1).map((x, i) => 0.25 * x + 0.75 * common[i])),
      labels: draws.integers(count, gan.config.classes),
    };
  });
  return {
    gan,
    parameters: initialise(gan.discriminator.layout, seed),
    patients,
    batch: layPatients(gan.config, places, m, patients),
    fakes: { images: pixels(fakes), labels: draws.integers(fakes, gan.config.classes) },
  };
}

/** Runs on tfjs' own cpu backend, whatever was current. */
export function onCpu<T>(body: () => T): T {
  quietTensorflow();
  void tf.setBackend('cpu');
  return body();
}

/** Parameters as tensors, from a flat vector. */
export function tensorsOf(gan: Gan['discriminator'], flat: Float32Array): Record<string, Tensor> {
  const feeds = parameterFeeds(gan.layout, flat, '');
  return Object.fromEntries(gan.layout.entries.map(({ name, shape }) => [name, tf.tensor(feeds[name], [...shape])]));
}

/** Mean discriminator loss of some images of one kind. */
export function meanLoss(
  gan: Gan,
  named: Record<string, Tensor>,
  images: readonly Float32Array[],
  labels: ArrayLike<number>,
  sign: 1 | -1,
): tf.Scalar {
  const { channels, imageSize: size, classes, loss } = gan.config;
  const n = images.length;
  const flat = Float32Array.from(images.flatMap((image) => [...image]));
  const pixels = tf.transpose(tf.tensor4d(flat, [n, channels, size, size]), [0, 2, 3, 1]);
  const hot = tf.oneHot(tf.tensor1d(Array.from(labels).slice(0, n), 'int32'), classes).toFloat() as tf.Tensor2D;
  const judged = gan.architecture.discriminator(new PlainNet(named), pixels, hot, gan.config);
  return tf.mean(discriminatorLosses(loss, judged, tf.fill<tf.Rank.R1>([n], sign)));
}

/** One image set's gradient, in the layout. [d] */
export function gradientOf(c: Case, images: readonly Float32Array[], labels: ArrayLike<number>, sign: 1 | -1) {
  const { layout } = c.gan.discriminator;
  const flat = new Float64Array(layout.length);
  onCpu(() => {
    tf.tidy(() => {
      const named = tensorsOf(c.gan.discriminator, c.parameters);
      const gradients = tf.grads((...values: Tensor[]) =>
        meanLoss(
          c.gan,
          Object.fromEntries(layout.entries.map(({ name }, i) => [name, values[i]])),
          images,
          labels,
          sign,
        ),
      )(layout.entries.map(({ name }) => named[name]));
      layout.entries.forEach(({ offset }, i) => {
        flat.set(gradients[i].dataSync(), offset);
      });
    });
  });
  return flat;
}

export const l2 = (v: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < v.length; i++) sum += v[i] * v[i];
  return Math.sqrt(sum);
};

/** The gradients of all units: patients first, then fakes. */
export function unitGradients(c: Case): Float64Array[] {
  const each = c.gan.config.channels * c.gan.config.imageSize ** 2;
  const real = c.patients.map((p) => gradientOf(c, p.images, p.labels, 1));
  const fakes = Array.from(c.fakes.labels, (label, i) =>
    gradientOf(c, [c.fakes.images.subarray(i * each, (i + 1) * each)], [label], -1),
  );
  return [...real, ...fakes];
}

export const addAll = (vectors: readonly Float64Array[]): Float64Array =>
  vectors.reduce((sum, v) => sum.map((x, i) => x + v[i]));

export const scaled = (v: Float64Array, factor: number): Float64Array => v.map((x) => x * factor);

/** The definition. */
export const clipAndSum = (units: readonly Float64Array[], C: number): Float64Array =>
  addAll(units.map((g) => scaled(g, Math.min(1, C / l2(g)))));

/** |a - b| over |b|. */
export const relativeError = (a: Float64Array, b: Float64Array): number => l2(a.map((x, i) => x - b[i])) / l2(b);

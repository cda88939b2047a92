/** Images of the generator as it is released: averaged weights, and batch normalisations with fixed statistics. Public. */
import type { Engine } from '../engine/program.ts';
import type { LabelledImages } from '../imaging/images.ts';
import { drawFakeInputs, drawLatents } from './batch.ts';
import type { Gan } from './registry.ts';
import { Sampler } from './sampler.ts';

/** Fakes that batch statistics are taken from, once, for the released generator. */
const CALIBRATION_FAKES = 2048;
const SAMPLER_BATCH = 64;

/**
 * Draws images from a generator whose batch normalisations have fixed statistics.
 * @param seed - public: the same seed, the same images.
 */
export async function sampleImages(p: {
  engine: Engine;
  gan: Gan;
  weights: Float32Array;
  statistics: Float32Array;
  labels: Int32Array;
  classNames: readonly string[];
  seed: string;
}): Promise<LabelledImages> {
  const { channels, imageSize, latent, classes } = p.gan.config;
  const n = p.labels.length;
  const latents = drawLatents(n, latent, classes, p.seed);
  const sampler = await Sampler.open(p.engine, p.gan, SAMPLER_BATCH, 'fixed');
  try {
    const pixels = await sampler.images(p.weights, { labels: p.labels, latents }, p.statistics);
    // A pixel is what an 8-bit file will hold: measures see what a recipient sees.
    for (let i = 0; i < pixels.length; i++) pixels[i] = Math.round((pixels[i] + 1) * 127.5) / 127.5 - 1;
    const patients = Array.from({ length: n }, (_, i) => `synthetic-${i + 1}`);
    return { n, channels, size: imageSize, pixels, labels: p.labels, classNames: p.classNames, patients };
  } finally {
    await sampler.dispose();
  }
}

/** Statistics of the batch normalisations over fakes of the policy's classes. Public. */
export async function calibrated(
  engine: Engine,
  gan: Gan,
  weights: Float32Array,
  distribution: readonly number[],
): Promise<Float32Array> {
  const sampler = await Sampler.open(engine, gan, SAMPLER_BATCH, 'batch');
  try {
    return await sampler.calibrate(
      weights,
      drawFakeInputs(CALIBRATION_FAKES, gan.config.latent, distribution, 'calibration'),
    );
  } finally {
    await sampler.dispose();
  }
}

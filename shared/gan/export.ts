/**
 * A generator as a file that other tools open: an ONNX model with fixed batch statistics, and a description beside it.
 */
import { z } from 'zod';
import { float32 } from '../engine/program.ts';
import { traceToOnnx } from '../engine/trace.ts';
import type { Tensor } from '@tensorflow/tfjs';
import type { Gan } from './registry.ts';
import { generatorForward } from './sampler.ts';
import { parameterFeeds } from './layout.ts';

/** Images in one call that suits most machines; the file takes any number. */
export const EXPORT_BATCH = 16;

/** What a caller must know to use the model. */
export const GeneratorCard = z.strictObject({
  format: z.literal('veilgan-generator/1'),
  /** File name of the model, beside this card. */
  model: z.string().regex(/^[A-Za-z0-9._-]+$/),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** A number of images that suits one call; any other does too. */
  batch: z.int().min(1),
  /** Inputs `latents` [n, latent] of independent N(0, 1) and `labels` [n, classes] one-hot. */
  latent: z.int().min(1),
  classes: z.array(z.string()).min(1),
  /** Output `images` [n, channels, imageSize, imageSize] in [-1, 1]. */
  channels: z.union([z.literal(1), z.literal(3)]),
  imageSize: z.union([z.literal(28), z.literal(32), z.literal(64)]),
  /** Public share of each class. */
  distribution: z.array(z.number()),
  policySha256: z.string(),
  runId: z.string(),
});
export type GeneratorCard = z.infer<typeof GeneratorCard>;

/**
 * The generator's forward pass with its weights and statistics inside.
 *
 * @param weights - [generator parameters]; @param statistics - from `Sampler.calibrate`.
 * @returns the bytes of an ONNX model: `latents` [n, latent] and `labels` [n, classes] in, `images` out, for any n.
 */
export function generatorOnnx(gan: Gan, weights: Float32Array, statistics: Float32Array): Uint8Array {
  const { fn, inputs } = generatorForward(gan, EXPORT_BATCH, 'fixed');
  const constants = {
    ...parameterFeeds(gan.generator.layout, weights, 'g.'),
    ...parameterFeeds(gan.generator.statistics, statistics, 's.'),
  };
  const images = (all: Record<string, Tensor>): Record<string, Tensor> => ({ images: fn(all)['images'] });
  const free = {
    ...inputs,
    latents: float32(-1, gan.config.latent),
    labels: float32(-1, gan.config.classes),
  };
  return traceToOnnx('veilgan-generator', images, free, { constants, dynamicBatch: 'n' }).onnx;
}

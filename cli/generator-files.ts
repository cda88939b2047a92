/** A generator as the two files that other tools open: `generator.onnx` and the card beside it. */
import { sha256Hex } from '../shared/audit/canonical.ts';
import { EXPORT_BATCH, type GeneratorCard, generatorOnnx } from '../shared/gan/export.ts';
import type { Gan } from '../shared/gan/registry.ts';
import { type CheckedPolicy, policySha256 } from '../shared/policy/load.ts';
import { labelDistribution } from '../shared/policy/views.ts';

/** What draws images: averaged weights, and fixed statistics of the batch normalisations. */
export interface ReleasedWeights {
  readonly weights: Float32Array;
  readonly statistics: Float32Array;
}

export function generatorFiles(
  gan: Gan,
  { weights, statistics }: ReleasedWeights,
  { policy, runId }: { policy: CheckedPolicy; runId: string },
): { model: Uint8Array; card: GeneratorCard } {
  const model = generatorOnnx(gan, weights, statistics);
  const card: GeneratorCard = {
    format: 'veilgan-generator/1',
    model: 'generator.onnx',
    sha256: sha256Hex(model),
    batch: EXPORT_BATCH,
    latent: gan.config.latent,
    classes: [...policy.model.classes],
    channels: policy.model.channels,
    imageSize: policy.model.imageSize,
    distribution: labelDistribution(policy),
    policySha256: policySha256(policy),
    runId,
  };
  return { model, card };
}

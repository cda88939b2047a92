/**
 * Step 2 of 9: per-patient discriminator gradients, clipped and summed.
 *
 * One forward and one backward pass over a micro-batch give the gradient at every layer's output ("taps"). From these and
 * the layers' inputs follow each patient's gradient norm and, scaled by the clip factors, the clipped sum. No second
 * backward pass; no patient's gradient of a large layer is ever formed. Not audited.
 *
 * @see Bu et al. 2022, https://arxiv.org/abs/2210.00038, algorithm 1
 */
import * as tf from '@tensorflow/tfjs';
import type { Tensor, Tensor1D } from '@tensorflow/tfjs';
import { float32, type TensorFunction } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import {
  discriminatorInputs,
  fakeStatistics,
  joinBatch,
  type MicroBatch,
  releaseKept,
  type TensorProgram,
  withoutPrefix,
} from '../gan/discriminator-gradient.ts';
import { parametersOf } from '../gan/layers.ts';
import { discriminatorLosses } from '../gan/losses.ts';
import type { Gan } from '../gan/registry.ts';
import type { UnitGroup } from './gram.ts';
import { NORM_RULES, type NormRules, ruleOf } from './norm-rules.ts';
import { TappingNet } from './tapping-net.ts';

/**
 * `clip`: each gradient times min(1, C / norm). `normalise`: each gradient times C / (norm + stability), so of length
 * just below C however short it was: for runs whose gradients have become shorter than C.
 * @see Bu et al. 2023, https://arxiv.org/abs/2206.07136 (automatic clipping)
 */
export type ClipRule = { kind: 'clip' } | { kind: 'normalise'; stability: number };

/** @throws {FedError} LAYER_WITHOUT_NORM_RULE, naming the first layer that has none. */
export function refuseLayersWithoutRule(gan: Gan, rules: NormRules = NORM_RULES): void {
  for (const { layer } of gan.discriminator.layers)
    if (!ruleOf(rules, layer)) throw new FedError('LAYER_WITHOUT_NORM_RULE', `${layer.kind} '${layer.name}'`);
}

/**
 * The clipped sum of one micro-batch as a tensor function.
 *
 * Guarantee: `g.*` is a sum over patients and fakes; each patient's part depends on that patient's images alone and has an
 * L2 norm of at most `clipNorm`, up to the rounding of float32. A patient whose weights are zero contributes exactly
 * zero. A patient whose norm is not finite contributes exactly zero while inputs and parameters are finite, which
 * `ClippedGradient` sees to. Fakes are clipped as patients of one image.
 *
 * Inputs: those of `discriminatorInputs` and `clipNorm` []. Outputs: `g.<parameter>`; `fakeLoss` and `calledFake`, sums
 * over fakes; with `norms` (tests only: norms are private) `norms` [patients + fakes] as well.
 *
 * @throws {FedError} LAYER_WITHOUT_NORM_RULE
 */
export function clippedSum(
  gan: Gan,
  batch: MicroBatch,
  options: { rule?: ClipRule; rules?: NormRules; normsForTests?: boolean } = {},
): TensorProgram {
  const { rule = { kind: 'clip' }, rules = NORM_RULES, normsForTests = false } = options;
  refuseLayersWithoutRule(gan, rules);
  const { patients, imagesPerPatient: m, fakes } = batch;
  const { layers } = gan.discriminator;
  const images = patients * m + fakes;
  // Where every unit has one image, patients and fakes are one group, and every rule runs once.
  const groups: UnitGroup[] =
    m === 1
      ? [{ units: images, images: 1 }]
      : [
          { units: patients, images: m },
          { units: fakes, images: 1 },
        ].filter(({ units }) => units > 0);

  const fn: TensorFunction = (inputs) => {
    const named = withoutPrefix(inputs, 'd.');
    const { pixels, oneHot, sign, weights } = joinBatch(inputs);
    const kept: Tensor[] = [];
    const shown: Record<string, Tensor> = {};
    const outputs: Record<string, Tensor> = {};
    const gradients = tf.grads((...taps: Tensor[]) => {
      const net = new TappingNet(named, taps);
      const judged = gan.architecture.discriminator(net, pixels, oneHot, gan.config);
      const losses = discriminatorLosses(gan.config.loss, judged, sign);
      kept.push(...net.inputs);
      for (const [name, x] of Object.entries(fakeStatistics(losses, judged.logits, inputs['fakeWeights'])))
        shown[name] = tf.keep(x);
      return tf.sum(tf.mul(losses, weights));
    })(layers.map(({ outputShape }) => tf.zeros([images, ...outputShape])));

    const measured = layers.map(({ layer }, i) => ruleOf(rules, layer)!.measure(layer, kept[i], gradients[i], groups));
    const squared = tf.addN(measured.map(({ squaredNorms }) => squaredNorms));
    const factors = clipFactors(tf.sqrt(tf.relu(squared)), inputs['clipNorm'], rule);
    const ofImages = factorOfImages(factors, groups);
    layers.forEach(({ layer }, i) => {
      const tap = gradients[i];
      const broadcast = tf.reshape(ofImages, [images, ...tap.shape.slice(1).map(() => 1)]);
      const sums = measured[i].sum(factors, () => tf.mul(tap, broadcast));
      parametersOf(layer).forEach(({ name }, j) => (outputs[`g.${name}`] = sums[j]));
    });
    if (normsForTests) outputs['norms'] = tf.sqrt(squared);
    releaseKept(shown, outputs);
    for (const x of kept) x.dispose();
    return outputs;
  };
  return { fn, inputs: { ...discriminatorInputs(gan, batch), clipNorm: float32() } };
}

/** Squared norms beyond this are taken for not finite. */
const LARGEST = 1e18;

/** What each unit's gradient is multiplied by; 0 where its norm is not a finite number. [units] */
function clipFactors(norms: Tensor, clipNorm: Tensor, rule: ClipRule): Tensor1D {
  const finite = tf.less(norms, LARGEST); // false for NaN
  const safe = tf.where(finite, norms, tf.onesLike(norms));
  const factors =
    rule.kind === 'clip'
      ? tf.minimum(1, tf.div(clipNorm, tf.maximum(safe, 1e-30)))
      : tf.div(clipNorm, tf.add(safe, rule.stability));
  return tf.where(finite, factors, tf.zerosLike(norms)) as Tensor1D;
}

/** Each image's factor is its unit's. [units] to [images] */
function factorOfImages(factors: Tensor1D, groups: readonly UnitGroup[]): Tensor1D {
  if (groups.length === 1 && groups[0].images === 1) return factors;
  let start = 0;
  const parts = groups.map(({ units, images }) => {
    const own = tf.reshape(tf.slice(factors, start, units), [units, 1]);
    start += units;
    return tf.reshape(tf.tile(own, [1, images]), [units * images]);
  });
  return tf.concat(parts, 0) as Tensor1D;
}

import type * as tf from '@tensorflow/tfjs';
import { int } from '../graph.ts';
import { pair } from './elementwise.ts';
import { axesOf, type Rule, type Rules } from './rule.ts';

/** Softmax and batch normalisation with given statistics. */

const batchNorm: Rule<tf.FusedBatchNormAttrs> = (g, { x, scale, offset, mean, variance }, { varianceEpsilon }) => {
  const spread = pair(g, 'Add', variance, g.scalar(varianceEpsilon, 'float32'));
  const deviation = g.add('Sqrt', [spread], spread.shape, 'float32');
  const normal = pair(g, 'Div', pair(g, 'Sub', x, mean), deviation);
  const scaled = scale ? pair(g, 'Mul', normal, scale) : normal;
  return offset ? pair(g, 'Add', scaled, offset) : scaled;
};

const softmax: Rule<tf.SoftmaxAttrs> = (g, { logits }, { dim }) =>
  g.add('Softmax', [logits], logits.shape, 'float32', { axis: int(axesOf(dim, logits.shape.length)[0]) });

export const normalisations = {
  FusedBatchNorm: batchNorm,
  Softmax: softmax,
} satisfies Rules;

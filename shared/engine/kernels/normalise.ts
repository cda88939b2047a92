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

const along =
  (op: string): Rule<{ dim?: number; axis?: number }> =>
  (g, { logits }, { dim, axis }) =>
    g.add(op, [logits], logits.shape, 'float32', { axis: int(axesOf(dim ?? axis, logits.shape.length)[0]) });

export const normalisations = {
  FusedBatchNorm: batchNorm,
  LogSoftmax: along('LogSoftmax'),
  Softmax: along('Softmax'),
} satisfies Rules;

import * as tf from '@tensorflow/tfjs';
import type { Value } from '../graph.ts';
import { where } from './elementwise.ts';
import type { Rule, Rules } from './rule.ts';

/** Comparisons, logic and selection. */

const compare =
  (op: string): Rule<unknown> =>
  (g, { a, b }) =>
    g.add(op, [a, b], tf.broadcast_util.assertAndGetBroadcastShape([...a.shape], [...b.shape]), 'bool');

const test =
  (op: string): Rule<unknown> =>
  (g, { x }) =>
    g.add(op, [x], x.shape, 'bool');

const notEqual: Rule<unknown> = (g, inputs) => {
  const equal = compare('Equal')(g, inputs, undefined) as Value;
  return g.add('Not', [equal], equal.shape, 'bool');
};

const isFinite: Rule<unknown> = (g, { x }) => {
  const bad = g.add(
    'Or',
    [g.add('IsInf', [x], x.shape, 'bool'), g.add('IsNaN', [x], x.shape, 'bool')],
    x.shape,
    'bool',
  );
  return g.add('Not', [bad], x.shape, 'bool');
};

/** A condition of rank 1 picks whole rows. */
const select: Rule<unknown> = (g, { condition, t, e }) => {
  const rows = condition.shape.length === 1 && t.shape.length > 1;
  const shape = rows ? [condition.shape[0], ...t.shape.slice(1).map(() => 1)] : condition.shape;
  return where(g, g.cast(g.reshape(condition, shape), 'bool'), t, e);
};

export const logic = {
  Equal: compare('Equal'),
  Greater: compare('Greater'),
  GreaterEqual: compare('GreaterOrEqual'),
  IsFinite: isFinite,
  IsInf: test('IsInf'),
  IsNan: test('IsNaN'),
  Less: compare('Less'),
  LessEqual: compare('LessOrEqual'),
  LogicalAnd: compare('And'),
  LogicalNot: test('Not'),
  LogicalOr: compare('Or'),
  NotEqual: notEqual,
  Select: select,
} satisfies Rules;

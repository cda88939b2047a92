import * as tf from '@tensorflow/tfjs';
import { float, int, type Attribute, type Graph, type Value } from '../graph.ts';
import type { Inputs, Rule, Rules } from './rule.ts';

/** Kernels that work element by element on one or two tensors and give numbers. Those that give booleans: `logic.ts`. */

const asFloat = (g: Graph, x: Value) => g.cast(x, 'float32');

/** A float function that ONNX has under this name. */
const unary =
  (op: string, attributes: Record<string, Attribute> = {}): Rule<unknown> =>
  (g, { x }) =>
    g.add(op, [asFloat(g, x)], x.shape, 'float32', attributes);

/** The same for functions defined on integers too, which then stay integers. */
const unaryAnyType =
  (op: string): Rule<unknown> =>
  (g, { x }) =>
    g.add(op, [x], x.shape, x.dtype);

const broadcast = (a: Value, b: Value) => tf.broadcast_util.assertAndGetBroadcastShape([...a.shape], [...b.shape]);

/** Adds a two-operand node with NumPy broadcasting. */
export const pair = (g: Graph, op: string, a: Value, b: Value, attributes: Record<string, Attribute> = {}): Value =>
  g.add(op, [a, b], broadcast(a, b), a.dtype, attributes);

const binary =
  (op: string): Rule<unknown> =>
  (g, { a, b }) =>
    pair(g, op, a, b);

export const where = (g: Graph, condition: Value, yes: Value, no: Value): Value => {
  const shape = tf.broadcast_util.assertAndGetBroadcastShape([...condition.shape], broadcast(yes, no));
  return g.add('Where', [condition, yes, no], shape, yes.dtype);
};

const greaterThanZero = (g: Graph, x: Value) => g.add('Greater', [x, g.scalar(0, x.dtype)], x.shape, 'bool');

export const clip = (g: Graph, x: Value, low: number, high: number): Value =>
  g.add('Clip', [x, g.scalar(low, x.dtype), g.scalar(high, x.dtype)], x.shape, x.dtype);

/** exp(x) - 1 as tanh(x/2)·(exp(x) + 1), which keeps its digits near zero and its limits far away. */
const expm1: Rule<unknown> = (g, { x }) => {
  const half = g.add('Tanh', [pair(g, 'Mul', x, g.scalar(0.5, 'float32'))], x.shape, 'float32');
  return pair(g, 'Mul', half, pair(g, 'Add', g.add('Exp', [x], x.shape, 'float32'), g.scalar(1, 'float32')));
};

/**
 * log(1 + x) without losing the digits of a small x: x·log(u)/(u - 1) with u = fl(1 + x), and x where u is 1.
 *
 * @see Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., problem 1.5
 */
const log1p: Rule<unknown> = (g, { x }) => {
  const one = g.scalar(1, 'float32');
  const u = pair(g, 'Add', x, one);
  const isOne = g.add('Equal', [u, one], x.shape, 'bool');
  const log = g.add('Log', [u], x.shape, 'float32');
  const ratio = pair(g, 'Div', pair(g, 'Mul', log, x), pair(g, 'Sub', u, one));
  const infinite = g.add('IsInf', [u], x.shape, 'bool');
  return where(g, isOne, x, where(g, infinite, log, ratio));
};

const addN: Rule<unknown> = (g, inputs) => Object.values(inputs).reduce((sum, x) => pair(g, 'Add', sum, x));

/** Integers even for floats, as tfjs' backends answer. */
const floorDiv: Rule<unknown> = (g, { a, b }) => {
  const quotient = pair(g, 'Div', asFloat(g, a), asFloat(g, b));
  return g.cast(g.add('Floor', [quotient], quotient.shape, 'float32'), 'int32');
};

/** The remainder that takes the divisor's sign. */
const mod: Rule<unknown> = (g, { a, b }) => {
  const fmod = (x: Value, y: Value) => pair(g, 'Mod', x, y, { fmod: int(1) });
  const remainder = fmod(a, b);
  const negative = (x: Value) => g.add('Less', [x, g.scalar(0, x.dtype)], x.shape, 'bool');
  const differ = g.add('Xor', [negative(a), negative(b)], remainder.shape, 'bool');
  return where(g, differ, fmod(pair(g, 'Add', remainder, b), b), remainder);
};

const prelu: Rule<unknown> = (g, { x, alpha }) => where(g, greaterThanZero(g, x), x, pair(g, 'Mul', x, alpha));

const step: Rule<{ alpha: number }> = (g, { x }, { alpha }) => {
  // A choice between two scalars is far slower in ONNX Runtime than a change of type.
  if (alpha === 0) return g.cast(greaterThanZero(g, x), 'float32');
  const values = [1, alpha].map((v) => g.scalar(v, 'float32'));
  return where(g, greaterThanZero(g, x), values[0], values[1]);
};

/** dy where y ≥ 0, dy·(y + 1) elsewhere; y is the output. */
const eluGrad: Rule<unknown> = (g, { dy, y }) => {
  const negative = g.add('Less', [y, g.scalar(0, 'float32')], y.shape, 'bool');
  return where(g, negative, pair(g, 'Mul', dy, pair(g, 'Add', y, g.scalar(1, 'float32'))), dy);
};

const cast: Rule<{ dtype: string }> = (g, { x }, { dtype }) => {
  if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool') throw new Error(`no tensors of type ${dtype}`);
  return g.cast(x, dtype);
};

/** The activation of a fused kernel. */
export function activate(g: Graph, x: Value, name: string | undefined, inputs: Inputs, alpha = 0.2): Value {
  const float32 = (op: string, attributes: Record<string, Attribute> = {}) =>
    g.add(op, [x], x.shape, 'float32', attributes);
  switch (name) {
    case undefined:
    case 'linear':
      return x;
    case 'relu':
      return float32('Relu');
    case 'relu6':
      return clip(g, x, 0, 6);
    case 'elu':
      return float32('Elu');
    case 'sigmoid':
      return float32('Sigmoid');
    case 'leakyrelu':
      return float32('LeakyRelu', { alpha: float(alpha) });
    case 'prelu':
      return prelu(g, { x, alpha: inputs['preluActivationWeights'] }, undefined) as Value;
    default:
      throw new Error(`no fused activation ${name}`);
  }
}

export const elementwise = {
  Abs: unaryAnyType('Abs'),
  Acos: unary('Acos'),
  Acosh: unary('Acosh'),
  Add: binary('Add'),
  AddN: addN,
  Asin: unary('Asin'),
  Asinh: unary('Asinh'),
  Atan: unary('Atan'),
  Atanh: unary('Atanh'),
  Cast: cast,
  Ceil: unary('Ceil'),
  ClipByValue: ((g, { x }, a) => clip(g, x, a.clipValueMin, a.clipValueMax)) as Rule<tf.ClipByValueAttrs>,
  Cos: unary('Cos'),
  Cosh: unary('Cosh'),
  Elu: unary('Elu'),
  EluGrad: eluGrad,
  Erf: unary('Erf'),
  Exp: unary('Exp'),
  Expm1: expm1,
  Floor: unary('Floor'),
  FloorDiv: floorDiv,
  LeakyRelu: ((g, i, a) => activate(g, i['x'], 'leakyrelu', i, a.alpha)) as Rule<tf.LeakyReluAttrs>,
  Log: unary('Log'),
  Log1p: log1p,
  Maximum: binary('Max'),
  Minimum: binary('Min'),
  Mod: mod,
  Multiply: binary('Mul'),
  Neg: unaryAnyType('Neg'),
  Pow: binary('Pow'),
  Prelu: prelu,
  RealDiv: binary('Div'),
  Reciprocal: unary('Reciprocal'),
  Relu: unaryAnyType('Relu'),
  Relu6: ((g, { x }) => clip(g, x, 0, 6)) as Rule<unknown>,
  Round: unary('Round'),
  Rsqrt: ((g, { x }) =>
    g.add('Reciprocal', [g.add('Sqrt', [x], x.shape, 'float32')], x.shape, 'float32')) as Rule<unknown>,
  Selu: unary('Selu', {
    alpha: float(tf.backend_util.SELU_SCALEALPHA / tf.backend_util.SELU_SCALE),
    gamma: float(tf.backend_util.SELU_SCALE),
  }),
  Sigmoid: unary('Sigmoid'),
  Sign: unaryAnyType('Sign'),
  Sin: unary('Sin'),
  Sinh: unary('Sinh'),
  Softplus: unary('Softplus'),
  Sqrt: unary('Sqrt'),
  Square: ((g, { x }) => pair(g, 'Mul', x, x)) as Rule<unknown>,
  SquaredDifference: ((g, { a, b }) => {
    const d = pair(g, 'Sub', a, b);
    return pair(g, 'Mul', d, d);
  }) as Rule<unknown>,
  Step: step,
  Sub: binary('Sub'),
  Tan: unary('Tan'),
  Tanh: unary('Tanh'),
} satisfies Rules;

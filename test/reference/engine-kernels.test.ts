import * as tf from '@tensorflow/tfjs';
import { afterAll, describe, expect, test } from 'vitest';
import { float32, int32, type Specs } from '../../shared/engine/program.ts';
import { RULES } from '../../shared/engine/recording-backend.ts';
import {
  expectSame,
  feedsFor,
  runOnce,
  seenKernels,
  withGradients,
  type Body,
  type Tensors,
} from '../support/engine-oracle.ts';

/** Every kernel against tfjs' own cpu backend: values, and gradients where tfjs has them. */

interface Options {
  low?: number;
  high?: number;
  modulus?: number;
  /** Compare values only: tfjs has no gradient here, or it is zero by definition. */
  values?: true;
}

function check(name: string, inputs: Specs, body: Body, options: Options = {}): void {
  test(name, async () => {
    const fn = options.values ? (x: Tensors) => ({ y: body(x) }) : withGradients(body, inputs);
    await expectSame(fn, inputs, feedsFor(inputs, options.low, options.high, options.modulus));
  });
}

const x = { x: float32(3, 5) };
const pairOf = { a: float32(3, 1, 5), b: float32(4, 1) };

describe('functions of one tensor', () => {
  const smooth: Record<string, (v: tf.Tensor) => tf.Tensor> = {
    abs: tf.abs,
    acos: tf.acos,
    asin: tf.asin,
    asinh: tf.asinh,
    atan: tf.atan,
    atanh: tf.atanh,
    ceil: tf.ceil,
    cos: tf.cos,
    cosh: tf.cosh,
    elu: tf.elu,
    erf: tf.erf,
    exp: tf.exp,
    expm1: tf.expm1,
    floor: tf.floor,
    leakyRelu: (v: tf.Tensor) => tf.leakyRelu(v, 0.1),
    neg: tf.neg,
    relu: tf.relu,
    relu6: (v: tf.Tensor) => tf.relu6(v.mul(9)),
    round: (v: tf.Tensor) => tf.round(v.mul(4)),
    selu: tf.selu,
    sigmoid: tf.sigmoid,
    sign: tf.sign,
    sin: tf.sin,
    sinh: tf.sinh,
    softplus: (v: tf.Tensor) => tf.softplus(v.mul(30)),
    square: tf.square,
    step: tf.step,
    tan: tf.tan,
    tanh: tf.tanh,
    clip: (v: tf.Tensor) => tf.clipByValue(v, -0.5, 0.25),
    onesLike: tf.onesLike,
    zerosLike: tf.zerosLike,
    clone: (v: tf.Tensor) => v.clone(),
    mean: (v: tf.Tensor) => v.mean(),
  };
  for (const [name, f] of Object.entries(smooth)) check(name, x, ({ x }) => f(x));
  const positive: Record<string, (v: tf.Tensor) => tf.Tensor> = {
    acosh: tf.acosh,
    log: tf.log,
    reciprocal: tf.reciprocal,
    rsqrt: tf.rsqrt,
    sqrt: tf.sqrt,
    log1p: tf.log1p,
  };
  for (const [name, f] of Object.entries(positive)) check(name, x, ({ x }) => f(x), { low: 1.1, high: 4 });
  check('prelu', { x: float32(2, 3, 4), alpha: float32(4) }, ({ x, alpha }) => tf.prelu(x, alpha));
  check('step with a slope', x, ({ x }) => tf.step(x, 0.3));
  check('integers stay integers', { n: int32(3, 4) }, ({ n }) => tf.relu(tf.neg(tf.abs(n).sub(2).square())), {
    values: true,
  });
  for (const name of ['isNaN', 'isInf', 'isFinite'] as const)
    check(name, x, ({ x }) => tf[name](tf.div(tf.relu(x), tf.relu(x.sub(0.5)))), { values: true });
});

describe('functions of two tensors, broadcast', () => {
  const functions = {
    add: tf.add, sub: tf.sub, mul: tf.mul, div: tf.div,
  } as const; // prettier-ignore
  for (const [name, f] of Object.entries(functions)) check(name, pairOf, ({ a, b }) => f(a, b));
  // tfjs' gradients of these three do not sum over broadcast axes, so only equal shapes have one.
  const alike = { a: float32(3, 5), b: float32(3, 5) };
  for (const name of ['maximum', 'minimum', 'squaredDifference'] as const) {
    check(name, alike, ({ a, b }) => tf[name](a, b));
    check(`${name}, broadcast`, pairOf, ({ a, b }) => tf[name](a, b), { values: true });
  }
  check('pow', pairOf, ({ a, b }) => tf.pow(a, b), { low: 0.3, high: 2 });
  check('mod', pairOf, ({ a, b }) => tf.mod(a.mul(7), b), { values: true });
  check('floorDiv', pairOf, ({ a, b }) => tf.floorDiv(a.mul(7), b), { values: true });
  check(
    'floorDiv of integers',
    { a: int32(5), b: int32(5) },
    ({ a, b }) => tf.floorDiv(a.sub(tf.scalar(2, 'int32')), b.add(tf.scalar(1, 'int32'))),
    {
      values: true,
    },
  );
  check('a scalar', { a: float32(3, 2), b: float32() }, ({ a, b }) => a.mul(b).add(1));
  check('addN', { a: float32(2, 3), b: float32(2, 3), c: float32(2, 3) }, ({ a, b, c }) => tf.addN([a, b, c]));
});

describe('comparisons, logic, selection', () => {
  const integers = { a: int32(3, 4), b: int32(4) };
  for (const name of ['equal', 'notEqual', 'greater', 'greaterEqual', 'less', 'lessEqual'] as const) {
    check(`${name} of floats`, pairOf, ({ a, b }) => tf[name](a, b), { values: true });
    check(`${name} of integers`, integers, ({ a, b }) => tf[name](a, b), { values: true });
  }
  check('and, or, not', pairOf, ({ a, b }) =>
    tf.logicalOr(tf.logicalAnd(a.greater(0), b.greater(0)), tf.logicalNot(a.greater(b))), { values: true }); // prettier-ignore
  check('where', pairOf, ({ a, b }) => tf.where(tf.greaterEqual(a, b), a, b.mul(2)));
  // tfjs' cpu kernel repeats the wrong element here, so the answer is spelled out.
  test('where by rows', async () => {
    const rows = { a: float32(3, 2), b: float32(3, 2) };
    const fn = ({ a, b }: Tensors) => {
      const condition = tf.tensor1d([true, false, true], 'bool');
      return { y: tf.engine().runKernel<tf.Tensor>('Select', { condition, t: a, e: b }) };
    };
    const feeds = { a: Float32Array.of(1, 2, 3, 4, 5, 6), b: Float32Array.of(-1, -2, -3, -4, -5, -6) };
    expect((await runOnce(fn, rows, feeds))['y']).toEqual(Float32Array.of(1, 2, -3, -4, 5, 6));
  });
  check('cast', x, ({ x }) => x.mul(3).toInt().toFloat().add(x.toBool().toFloat()), { values: true });
});

describe('reductions', () => {
  const cube = { x: float32(3, 4, 5) };
  for (const name of ['sum', 'mean', 'max', 'min'] as const) {
    check(`${name} of everything`, cube, ({ x }) => tf[name](x));
    check(`${name} of two axes`, cube, ({ x }) => tf[name](x, [0, 2]));
    check(`${name} of one axis, kept`, cube, ({ x }) => tf[name](x, -1, true));
  }
  // tfjs' gradient of prod is wrong along axes that are not the last, and needs Cumprod.
  check('prod', cube, ({ x }) => tf.prod(x), { values: true });
  check('prod of two axes', cube, ({ x }) => tf.prod(x, [0, 2], true), { values: true });
  check('sum of no axis', cube, ({ x }) => tf.sum(x, []));
  check('sum of a scalar', { x: float32() }, ({ x }) => tf.sum(x));
  check('sum of integers', { n: int32(3, 4) }, ({ n }) => tf.sum(n, 0), { values: true });
  check('sum of booleans', cube, ({ x }) => tf.sum(x.greater(0), 1), { values: true });
  check('all and any', cube, ({ x }) => tf.all(x.greater(-0.9), 1).logicalAnd(tf.any(x.greater(0.9), 1)), {
    values: true,
  });
  check('argMax', cube, ({ x }) => tf.argMax(x, 1), { values: true });
  check('argMin', cube, ({ x }) => tf.argMin(x, -1), { values: true });
  check('cumsum', cube, ({ x }) => tf.cumsum(x, 1), { values: true });
  check('cumsum, exclusive and reversed', cube, ({ x }) => tf.cumsum(x, 2, true, true));
  check('moments', cube, ({ x }) => tf.moments(x, [0, 1]).variance);
  check('norm', cube, ({ x }) => tf.norm(x, 2, 1));
  check('logSumExp', cube, ({ x }) => tf.logSumExp(x, 1));
});

describe('shape', () => {
  const cube = { x: float32(2, 3, 4) };
  check('reshape', cube, ({ x }) => x.reshape([4, -1]));
  check('transpose', cube, ({ x }) => tf.transpose(x, [2, 0, 1]));
  check('transpose twice, reshape twice', cube, ({ x }) => x.transpose([1, 2, 0]).transpose([1, 0, 2]).reshape([6, 4]).reshape([3, 8])); // prettier-ignore
  check('expandDims', cube, ({ x }) => tf.expandDims(x, -2));
  check('squeeze', { x: float32(2, 1, 3) }, ({ x }) => tf.squeeze(x));
  check('tile', cube, ({ x }) => tf.tile(x, [2, 1, 3]));
  check('tile of ones', { x: float32(2, 1, 3) }, ({ x }) => tf.tile(x, [1, 4, 1]));
  check('broadcastTo', { x: float32(2, 1, 3) }, ({ x }) => tf.broadcastTo(x, [4, 2, 5, 3]));
  check('concat', { a: float32(2, 3), b: float32(2, 1) }, ({ a, b }) => tf.concat([a, b, a], 1));
  check('concat with an empty part', { a: float32(2, 3) }, ({ a }) => tf.concat([a, tf.zeros([0, 3])], 0), {
    values: true,
  });
  check('stack', { a: float32(2, 3), b: float32(2, 3) }, ({ a, b }) => tf.stack([a, b], 1));
  check('unstack', cube, ({ x }) => tf.unstack(x, 1)[2]);
  check('split', cube, ({ x }) => tf.mul(...(tf.split(x, 2, 2) as [tf.Tensor, tf.Tensor])));
  check('split by sizes', cube, ({ x }) => tf.split(x, [1, -1], 2)[1]);
  check('slice', cube, ({ x }) => tf.slice(x, [0, 1, 1], [2, 2, -1]));
  check('stridedSlice', cube, ({ x }) => tf.stridedSlice(x, [0, 0, 1], [2, 3, 4], [1, 2, 2]), { values: true });
  check('stridedSlice backwards', cube, ({ x }) => tf.stridedSlice(x, [1, 2, 3], [0, 0, 0], [-1, -1, -2], 0, 2), {
    values: true,
  });
  check(
    'stridedSlice with masks',
    cube,
    ({ x }) => tf.stridedSlice(x, [1, 0, 0], [0, 0, 2], [1, 1, 1], 0, 0, 2, 0, 1),
    { values: true },
  );
  check('reverse', cube, ({ x }) => tf.reverse(x, [0, 2]));
  check('pad', cube, ({ x }) => tf.pad(x, [[1, 0], [0, 2], [0, 0]], 0.5)); // prettier-ignore
  check('mirrorPad reflect', cube, ({ x }) => tf.mirrorPad(x, [[1, 0], [2, 1], [0, 3]], 'reflect')); // prettier-ignore
  check('mirrorPad symmetric', cube, ({ x }) => tf.mirrorPad(x, [[2, 0], [3, 1], [0, 4]], 'symmetric')); // prettier-ignore
  check('depthToSpace', { x: float32(2, 4, 3, 8) }, ({ x }) => tf.depthToSpace(x as tf.Tensor4D, 2), { values: true });
  test('depthToSpace of channels first is that of channels last, transposed', async () => {
    const image = { x: float32(2, 8, 4, 3) };
    const fn = ({ x }: Tensors) => ({
      first: tf.depthToSpace(x as tf.Tensor4D, 2, 'NCHW'),
      last: tf.transpose(tf.depthToSpace(tf.transpose(x as tf.Tensor4D, [0, 2, 3, 1]), 2), [0, 3, 1, 2]),
    });
    const { first, last } = await runOnce(fn, image, feedsFor(image));
    expect(first).toEqual(last);
  });
});

describe('indices', () => {
  const table = { x: float32(3, 4, 2), i: int32(5) };
  check('gather rows', table, ({ x, i }) => tf.gather(x, i));
  check('gather columns', table, ({ x, i }) => tf.gather(x, i, 1));
  check('gather with batch dimensions', { x: float32(3, 4, 2), i: int32(3, 2) }, ({ x, i }) => tf.gather(x, i, 1, 1), {
    values: true,
  });
  check('gatherND', { x: float32(3, 4, 2), i: int32(5, 2) }, ({ x, i }) => tf.gatherND(x, i), { values: true });
  check('scatterND adds up', { i: int32(4, 1), u: float32(4, 2) }, ({ i, u }) => tf.scatterND(i, u, [5, 2]), {
    values: true,
  });
  check('oneHot', { i: int32(6) }, ({ i }) => tf.oneHot(i.sub(tf.scalar(1, 'int32')), 2), { values: true });
  check('oneHot with values', { i: int32(2, 3) }, ({ i }) => tf.oneHot(i, 4, 0.9, 0.1, 'float32'), { values: true });
  check('unsortedSegmentSum', { x: float32(5, 2, 3), i: int32(5) }, ({ x, i }) =>
    tf.unsortedSegmentSum(x, i as tf.Tensor1D, 4),
  );
  check('topk', { x: float32(3, 7) }, ({ x }) => tf.topk(x, 3).values.add(tf.topk(x, 3).indices), { values: true });
});

describe('products', () => {
  for (const ta of [false, true])
    for (const tb of [false, true]) {
      const shape = (t: boolean, m: number, n: number) => (t ? [n, m] : [m, n]);
      check(`matMul ${ta} ${tb}`, { a: float32(...shape(ta, 3, 5)), b: float32(...shape(tb, 5, 4)) }, ({ a, b }) => tf.matMul(a, b, ta, tb)); // prettier-ignore
      const batch = { a: float32(2, 3, ...shape(ta, 3, 5)), b: float32(2, 3, ...shape(tb, 5, 4)) };
      check(`batchMatMul ${ta} ${tb}`, batch, ({ a, b }) => tf.matMul(a, b, ta, tb));
    }
  check('batchMatMul, broadcast', { a: float32(6, 3, 5), b: float32(5, 4) }, ({ a, b }) => tf.matMul(a, b), {
    values: true,
  });
  check('dot', { a: float32(7), b: float32(7) }, ({ a, b }) => tf.dot(a, b));
  check('outerProduct', { a: float32(3), b: float32(4) }, ({ a, b }) =>
    tf.outerProduct(a as tf.Tensor1D, b as tf.Tensor1D),
  );
  for (const equation of ['ij,jk->ik', 'bij,bkj->bik', 'bi,bj->bij', 'bij->bj'])
    check(`einsum ${equation}`, { a: float32(...(equation.startsWith('bij') ? [2, 3, 4] : [3, 4])), ...(equation.includes(',') && { b: float32(...(equation.startsWith('bij,') ? [2, 5, 4] : equation.startsWith('ij') ? [4, 2] : [3, 5])) }) },
      (t) => tf.einsum(equation, ...Object.values(t)), { values: true }); // prettier-ignore
  for (const activation of ['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'leakyrelu', 'prelu'] as const)
    check(`fused matMul ${activation}`, { a: float32(3, 5), b: float32(5, 4), bias: float32(4), p: float32(4) }, ({ a, b, bias, p }) =>
      tf.fused.matMul({ a, b, bias, activation, leakyreluAlpha: 0.3, ...(activation === 'prelu' && { preluActivationWeights: p }) }), { values: true }); // prettier-ignore
});

describe('normalisation', () => {
  check('softmax', { x: float32(3, 5) }, ({ x }) => tf.softmax(x.mul(5)));
  check('logSoftmax', { x: float32(3, 5) }, ({ x }) => tf.logSoftmax(x.mul(5)));
  const statistics = { x: float32(2, 3, 3, 4), m: float32(4), v: float32(4), o: float32(4), s: float32(4) };
  check('batchNorm', statistics, ({ x, m, v, o, s }) => tf.batchNorm(x, m, v, o, s), { low: 0.1, high: 1 }); // prettier-ignore
  check('batchNorm without scale', statistics, ({ x, m, v }) => tf.batchNorm(x, m, v), { low: 0.1, high: 1, values: true }); // prettier-ignore
});

describe('constants', () => {
  check('fill', {}, () => tf.fill([2, 3], 4.5), { values: true });
  check('large fill', x, ({ x }) => x.sum().mul(tf.fill([20, 30], -0.5)));
  check('range', {}, () => tf.range(1, 10, 3).add(tf.range(0, 3, 1, 'int32')), { values: true });
  check('linspace', {}, () => tf.linspace(0, 1, 7), { values: true });
  check('negative zero is not zero', x, () => tf.div(1, tf.tensor1d([-0])).add(tf.div(1, tf.tensor1d([0])).mul(0)), {
    values: true,
  });
});

afterAll(() => {
  expect(Object.keys(RULES).filter((name) => !seenKernels.has(name) && !ELSEWHERE.test(name))).toEqual([]);
});

/** These are compared in engine-images.test.ts, which makes the same check. */
const ELSEWHERE = /Conv|Pool|Resize/;

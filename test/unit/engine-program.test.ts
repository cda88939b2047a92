import * as tf from '@tensorflow/tfjs';
import { describe, expect, test, vi } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import {
  checkFeeds,
  ENGINE_NAMES,
  float32,
  int32,
  type EngineName,
  type Specs,
  type TensorFunction,
} from '../../shared/engine/program.ts';
import { record } from '../../shared/engine/recording-backend.ts';

const code = (error: string): unknown => expect.objectContaining({ code: error });
const compile = async (fn: TensorFunction, specs: Specs = { x: float32(3) }, engine: EngineName = 'cpu') =>
  (await openEngine(engine)).compile('test', fn, specs);

describe.each(['cpu', 'tfjs'] as const)('a program of the engine %s', (engine) => {
  test('has named inputs and outputs with shapes and types', async () => {
    const specs = { x: float32(2, 3), n: int32(3) };
    const program = await compile(({ x, n }) => ({ sum: tf.sum(x), same: n, big: tf.greater(x, n) }), specs, engine);
    expect(program.outputs).toEqual({ sum: float32(), same: int32(3), big: int32(2, 3) });
    const feeds = { x: Float32Array.of(1, 2, 3, 4, 5, 6), n: Int32Array.of(1, 1, 5) };
    const results = await program.run(feeds);
    expect(results).toEqual({ sum: Float32Array.of(21), same: feeds.n, big: Int32Array.of(0, 1, 0, 1, 1, 1) });
  });

  test('may return under a name it also takes, and the same tensor twice', async () => {
    const program = await compile(({ x }) => ({ x: x.add(1), y: x, z: x }), undefined, engine);
    const results = await program.run({ x: Float32Array.of(1, 2, 3) });
    expect(results['x']).toEqual(Float32Array.of(2, 3, 4));
    expect(results['y']).toEqual(Float32Array.of(1, 2, 3));
    expect(results['z']).toEqual(results['y']);
  });

  test('answers calls that overlap, each with its own result', async () => {
    const program = await compile(({ x }) => ({ y: tf.square(x) }), undefined, engine);
    const runs = [1, 2, 3].map((v) => program.run({ x: new Float32Array(3).fill(v) }));
    expect((await Promise.all(runs)).map(({ y }) => y[0])).toEqual([1, 4, 9]);
  });

  test('keeps what the function closes over, and leaves it usable', async () => {
    await tf.setBackend('cpu');
    const table = tf.tensor1d([10, 20, 30]);
    const program = await compile(({ x }) => ({ y: x.add(table) }), undefined, engine);
    expect((await program.run({ x: Float32Array.of(1, 2, 3) }))['y']).toEqual(Float32Array.of(11, 22, 33));
    expect([...table.dataSync()]).toEqual([10, 20, 30]);
  });

  test('accepts an input that it does not use', async () => {
    const program = await compile(({ x }) => ({ y: x }), { x: float32(1), unused: float32(2) }, engine);
    expect((await program.run({ x: Float32Array.of(5), unused: new Float32Array(2) }))['y'][0]).toBe(5);
  });

  test.each([
    ['a missing input', {}],
    ['an unknown input', { x: new Float32Array(3), z: new Float32Array(3) }],
    ['a wrong length', { x: new Float32Array(4) }],
    ['a wrong type', { x: new Int32Array(3) }],
  ])('refuses %s', async (_, feeds) => {
    const program = await compile(({ x }) => ({ y: x }), undefined, engine);
    await expect(program.run(feeds as never)).rejects.toEqual(code('PARAMETER_INVALID'));
  });
});

describe('what cannot be recorded is refused when compiling', () => {
  const refused: [string, TensorFunction, string, RegExp][] = [
    ['a kernel without a rule', ({ x }) => ({ y: tf.atan2(x, x) }), 'KERNEL_MISSING', /kernel Atan2/],
    [
      'a kernel inside a gradient',
      ({ x }) => ({ y: tf.grad((v) => tf.sum(tf.prod(v)))(x) }),
      'KERNEL_MISSING',
      /kernel Cumprod/,
    ],
    [
      'a gradient that tfjs lacks',
      ({ x }) => ({ y: tf.grad((v) => tf.sum(tf.einsum('i,i->i', v, v)))(x) }),
      'KERNEL_MISSING',
      /gradient of kernel Einsum/,
    ],
    ['a multinomial draw', ({ x }) => ({ y: tf.multinomial(x as tf.Tensor1D, 2, 7) }), 'KERNEL_MISSING', /Multinomial/],
    ['a normal draw', ({ x }) => ({ y: x.add(tf.randomNormal([3])) }), 'KERNEL_MISSING', /random/i],
    ['a uniform draw', ({ x }) => ({ y: x.add(tf.randomUniform([3])) }), 'KERNEL_MISSING', /random/i],
    ['dropout', ({ x }) => ({ y: tf.dropout(x, 0.5) }), 'KERNEL_MISSING', /random/i],
    ['reading a value', ({ x }) => ({ y: x.add(x.dataSync()[0]) }), 'PARAMETER_INVALID', /reads a tensor/],
    ['strings', ({ x }) => ({ x, y: tf.tensor1d(['a']) }), 'KERNEL_MISSING', /type string/],
    ['no result', () => ({}), 'PARAMETER_INVALID', /no tensor/],
  ];
  test.each(refused)('%s', async (_, fn, expected, words) => {
    const attempt = compile(fn);
    await expect(attempt).rejects.toEqual(code(expected));
    await expect(attempt).rejects.toThrow(words);
  });

  test('and afterwards everything works again', async () => {
    await tf.setBackend('cpu');
    await expect(compile(({ x }) => ({ y: tf.atan2(x, x) }))).rejects.toEqual(code('KERNEL_MISSING'));
    expect(tf.getBackend()).toBe('cpu');
    expect(tf.engine().state.gradientDepth).toBe(0);
    expect(tf.randomUniform([2]).size).toBe(2);
    expect((await (await compile(({ x }) => ({ y: x }))).run({ x: new Float32Array(3) }))['y'].length).toBe(3);
  });
});

describe('the graph stays small', () => {
  const size = (fn: TensorFunction) => {
    const { graph, outputs } = record('test', fn, { x: float32(4, 6), w: float32(6, 5) });
    return graph.finish('test', Object.entries(outputs).map(([name, value]) => ({ name, value }))); // prettier-ignore
  };

  test('the same operation is done once', () => {
    const once = size(({ x, w }) => ({ y: tf.relu(tf.matMul(x, w)) }));
    const twice = size(({ x, w }) => ({ y: tf.relu(tf.matMul(x, w)), z: tf.relu(tf.matMul(x, w)) }));
    expect(twice.nodes.length).toBe(once.nodes.length);
  });

  test('what no result needs is left out', () => {
    expect(size(({ x, w }) => (tf.exp(tf.matMul(x, w)), { y: tf.sum(x) })).nodes.map(({ op }) => op)).toEqual([
      'ReduceSum',
    ]);
  });

  test('transposes and reshapes in a row become one or none', () => {
    expect(size(({ x }) => ({ y: tf.transpose(tf.transpose(x)) })).nodes).toEqual([]);
    expect(size(({ x }) => ({ y: x.reshape([2, 12]).reshape([24]).reshape([3, 8]) })).nodes.length).toBe(1);
  });

  test('a large constant of one value is stored as that value', () => {
    const { constants } = size(({ x }) => ({ y: tf.sum(x).mul(tf.ones([100, 100])) }));
    expect(Math.max(...[...constants.values()].map(({ values }) => values.length))).toBeLessThan(100);
  });
});

test('nothing is printed on the console', async () => {
  const spies = (['log', 'warn', 'error', 'info'] as const).map((name) => vi.spyOn(console, name));
  for (const engine of ['cpu', 'tfjs'] as const)
    await (await compile(({ x }) => ({ y: x.add(1) }), undefined, engine)).run({ x: new Float32Array(3) });
  for (const spy of spies) expect(spy).not.toHaveBeenCalled();
  vi.restoreAllMocks();
});

test('a disposed program refuses to run', async () => {
  const program = await compile(({ x }) => ({ y: x }));
  await program.dispose();
  await program.dispose();
  await expect(program.run({ x: new Float32Array(3) })).rejects.toEqual(code('PARAMETER_INVALID'));
});

test('threads are a setting of speed alone', async () => {
  for (const threads of [1, 2]) {
    const program = await (
      await openEngine('cpu', { threads })
    ).compile('test', ({ x }) => ({ y: tf.exp(x) }), { x: float32(3) });
    expect((await program.run({ x: new Float32Array(3) }))['y']).toEqual(Float32Array.of(1, 1, 1));
  }
});

describe('an engine that is not there is one sentence', () => {
  const advice: Partial<Record<EngineName, RegExp>> = {
    webgpu: /libvulkan1/,
    cuda: /npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12/,
    coreml: /macOS/,
    dml: /Windows/,
    'tfjs-node-gpu': /npm install @tensorflow\/tfjs-node-gpu/,
  };
  // On a machine that has one of these it must open instead.
  test.each(ENGINE_NAMES.filter((name) => name in advice))('%s', async (name) => {
    const opened = await openEngine(name).catch((error: unknown) => error);
    if (opened instanceof Error) {
      expect(opened).toEqual(code('ENGINE_MISSING'));
      expect(opened.message).toMatch(advice[name]!);
    } else expect(opened).toEqual(expect.objectContaining({ name }));
  });

  test('and an unknown name lists the known ones', async () => {
    await expect(openEngine('gpu' as EngineName)).rejects.toThrow(/ENGINE_MISSING.*cpu, webgpu, cuda/);
  });
});

test('checkFeeds says which input and what it wanted', () => {
  expect(() => checkFeeds('p', { x: float32(2, 3) }, { x: new Float32Array(5) })).toThrow(
    "p wants 'x' as float32 [2, 3], got Float32Array of 5",
  );
});

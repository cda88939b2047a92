import type { Tensor } from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { adam, sgd, type Optimizer } from '../../shared/engine/optimizers.ts';
import { float32 } from '../../shared/engine/program.ts';
import { difference, runOnce } from '../support/engine-oracle.ts';
import { uniform } from '../support/rng.ts';

const D = 6;

describe.each<[string, Optimizer]>([
  ['adam', adam({ learningRate: 0.01, beta1: 0.5, beta2: 0.99 })],
  ['sgd', sgd({ learningRate: 0.1 })],
  ['sgd with momentum', sgd({ learningRate: 0.1, momentum: 0.9 })],
])('%s', (_, optimizer) => {
  test('on numbers and inside a program it takes the same steps', async () => {
    const inputs = {
      weights: float32(D),
      gradient: float32(D),
      step: float32(),
      ...Object.fromEntries(optimizer.slotNames.map((name) => [name, float32(D)])),
    };
    const fn = (x: Record<string, Tensor>) => {
      const slots = optimizer.slotNames.map((name) => x[name]);
      const next = optimizer.updateTensors(x['weights'], x['gradient'], slots, x['step']);
      return {
        weights: next.weights,
        ...Object.fromEntries(optimizer.slotNames.map((name, i) => [name, next.slots[i]])),
      };
    };
    let weights = uniform(1, D);
    let state = optimizer.init(D);
    for (let step = 1; step <= 5; step++) {
      const gradient = uniform(10 + step, D);
      const slots = Object.fromEntries(optimizer.slotNames.map((name, i) => [name, state.slots[i]]));
      const inGraph = await runOnce(fn, inputs, { weights, gradient, step: Float32Array.of(step), ...slots });
      ({ weights, state } = optimizer.update(weights, gradient, state));
      expect(state.step).toBe(step);
      expect(difference(inGraph['weights'], weights)).toBeLessThan(1e-6);
      optimizer.slotNames.forEach((name, i) => expect(difference(inGraph[name], state.slots[i])).toBeLessThan(1e-6));
    }
  });

  test('a factor in a step is another learning rate in that step', async () => {
    const slots = Object.fromEntries(optimizer.slotNames.map((name) => [name, float32(D)]));
    const inputs = { weights: float32(D), gradient: float32(D), step: float32(), rate: float32(), ...slots };
    const fn = (x: Record<string, Tensor>) => {
      const old = optimizer.slotNames.map((name) => x[name]);
      return { moved: optimizer.updateTensors(x['weights'], x['gradient'], old, x['step'], x['rate']).weights };
    };
    const [weights, gradient] = [uniform(1, D), uniform(2, D)];
    const zeros = Object.fromEntries(optimizer.slotNames.map((name) => [name, new Float32Array(D)]));
    const step = Float32Array.of(1);
    const { moved } = await runOnce(fn, inputs, { weights, gradient, step, rate: Float32Array.of(0.25), ...zeros });
    const full = optimizer.update(weights, gradient, optimizer.init(D)).weights;
    expect(
      difference(
        moved,
        weights.map((w, i) => w + 0.25 * (full[i] - w)),
      ),
    ).toBeLessThan(1e-6);
    expect(difference(moved, full)).toBeGreaterThan(1e-3);
  });

  test('changes none of its arguments', () => {
    const [weights, gradient, state] = [uniform(1, D), uniform(2, D), optimizer.init(D)];
    const before = structuredClone({ weights, gradient, state });
    optimizer.update(weights, gradient, state);
    expect({ weights, gradient, state }).toEqual(before);
  });

  test('finds the bottom of a bowl', () => {
    let weights: Float32Array = Float32Array.of(3, -2);
    let state = optimizer.init(2);
    for (let i = 0; i < 2000; i++) ({ weights, state } = optimizer.update(weights, weights, state));
    expect(Math.hypot(...weights)).toBeLessThan(0.05);
  });

  test('refuses vectors that do not belong together', () => {
    expect(() => optimizer.update(uniform(1, D), uniform(2, D - 1), optimizer.init(D))).toThrow('PARAMETER_INVALID');
  });
});

test('the first step of Adam is the learning rate against the sign, whatever the size', () => {
  const { update, init } = adam({ learningRate: 0.1 });
  const { weights } = update(new Float32Array(3), [1e-3, -50, 2], init(3));
  expect(difference(weights, [-0.1, 0.1, -0.1])).toBeLessThan(1e-5);
});

test.each([{ learningRate: NaN }, { learningRate: -1 }, { learningRate: 1, beta1: 1 }])('refuses %o', (p) => {
  expect(() => adam(p)).toThrow('PARAMETER_INVALID');
});

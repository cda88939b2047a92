/** The neighbour search is exact, whatever the products' rounding: held to a loop over all pairs in double precision. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { eachDistance, exactSquare } from '../../shared/metrics/distance-blocks.ts';
import { type Neighbours, nearestNeighbours } from '../../shared/metrics/neighbours.ts';
import { PublicRandom } from '../../shared/public-random.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

/** All pairs, sorted by square, then index. */
function byAllPairs(queries: Float32Array, references: Float32Array, d: number, k: number, oneSet = false): Neighbours {
  const [n, m] = [queries.length / d, references.length / d];
  const rows = Array.from({ length: n }, (_, i) =>
    Array.from({ length: m }, (_, j) => ({ j, square: exactSquare(queries, i, references, j, d) }))
      .filter(({ j }) => !oneSet || j !== i)
      .sort((a, b) => a.square - b.square || a.j - b.j)
      .slice(0, k),
  ).flat();
  return {
    k,
    distances: Float64Array.from(rows, ({ square }) => Math.sqrt(square)),
    indices: Int32Array.from(rows, ({ j }) => j),
  };
}

const cloud = (seed: string, n: number, d: number, scale = 1, shift = 0) =>
  new PublicRandom(seed).gaussians(n * d).map((g) => g * scale + shift);

test.each([
  ['several blocks and a rest', cloud('a', 700, 20), cloud('b', 1100, 20), 20],
  ['far from the origin, where the products cancel', cloud('a', 300, 50, 1e-3, 1), cloud('b', 600, 50, 1e-3, 1), 50],
  ['one value a row', cloud('a', 40, 1), cloud('b', 3, 1), 1],
])('as all pairs say: %s', async (_, queries, references, d) => {
  for (const k of [1, 3]) {
    const found = await nearestNeighbours(engine, queries, references, d, { k });
    expect(found).toEqual(byAllPairs(queries, references, d, k));
  }
  const within = await nearestNeighbours(engine, references, references, d, { k: 2, withinOneSet: true });
  expect(within).toEqual(byAllPairs(references, references, d, 2, true));
});

test('any small whole numbers, which tie all the time', async () => {
  const value = fc.integer({ min: -2, max: 2 });
  const set = fc.array(fc.tuple(value, value), { minLength: 3, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(set, set, async (a, b) => {
      const [queries, references] = [Float32Array.from(a.flat()), Float32Array.from(b.flat())];
      expect(await nearestNeighbours(engine, queries, references, 2, { k: 3 })).toEqual(
        byAllPairs(queries, references, 2, 3),
      );
    }),
    { numRuns: 60 },
  );
});

test('one row many times over: a copy is a neighbour at zero, itself is not', async () => {
  const same = new Float32Array(600 * 784).fill(0.3);
  const found = await nearestNeighbours(engine, same, same, 784, { withinOneSet: true });
  expect(found.distances.every((x) => x === 0)).toBe(true);
  expect([...found.indices.subarray(0, 3)]).toEqual([1, 0, 0]);
});

test('no square is off by more than it says; positive control: the roundings are there to be bounded', async () => {
  const [a, b] = [cloud('x', 60, 784, 0.5, 0.4), cloud('y', 70, 784, 0.5, -0.2)];
  let most = 0;
  await eachDistance(engine, a, b, 784, (i, first, count, squares, bound) => {
    for (let c = 0; c < count; c++) {
      const off = Math.abs(squares[c] - exactSquare(a, i, b, first + c, 784));
      expect(off).toBeLessThanOrEqual(bound);
      most = Math.max(most, off);
    }
  });
  expect(most).toBeGreaterThan(0);
});

test('refused: too few references, rows of no length, what is not finite', async () => {
  const [a, b] = [Float32Array.of(1, 2), Float32Array.of(1, 2, 3, 4)];
  await expect(nearestNeighbours(engine, a, b, 2, { k: 3 })).rejects.toThrow(/PARAMETER_INVALID/);
  await expect(nearestNeighbours(engine, b, b, 2, { k: 2, withinOneSet: true })).rejects.toThrow(/PARAMETER_INVALID/);
  await expect(nearestNeighbours(engine, a, b, 3)).rejects.toThrow(/PARAMETER_INVALID/);
  await expect(nearestNeighbours(engine, a, new Float32Array(0), 2)).rejects.toThrow(/PARAMETER_INVALID/);
  await expect(nearestNeighbours(engine, Float32Array.of(NaN, 0), b, 2)).rejects.toThrow(/PARAMETER_INVALID/);
});

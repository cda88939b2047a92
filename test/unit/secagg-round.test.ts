import { expect, test } from 'vitest';
import { LENGTH, maskedPolicy, play, sceneOf, updateOf } from '../support/secagg-rig.ts';

const exact = (indices: number[]) =>
  Float64Array.from({ length: LENGTH }, (_, i) => indices.reduce((sum, k) => sum + updateOf(k)[i], 0));
const close = (sum: Float64Array | null, indices: number[]) => {
  const wanted = exact(indices);
  const step = 2 / 65535;
  return sum !== null && sum.every((v, i) => Math.abs(v - wanted[i]) <= indices.length * step);
};

test('three sites', async () => {
  const played = await play(sceneOf(3, maskedPolicy()));
  expect(played.failed).toBeNull();
  expect([...played.refused]).toEqual([]);
  expect(close(played.sum, [0, 1, 2])).toBe(true);
});

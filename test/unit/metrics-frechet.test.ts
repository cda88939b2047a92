import { expect, test } from 'vitest';
import { featureMoments, frechetDistance } from '../../shared/metrics/frechet.ts';
import { PublicRandom } from '../../shared/public-random.ts';

const D = 3;
const cloud = (seed: string, n: number, scale: number[], shift: number[]) =>
  new PublicRandom(seed).gaussians(n * D).map((g, i) => g * scale[i % D] + shift[i % D]);

test('two Gaussians with commuting covariances: |Δμ|² + Σ (s₁ - s₂)², the closed form', () => {
  const a = cloud('a', 40_000, [1, 2, 0.5], [0, 0, 0]);
  const b = cloud('b', 40_000, [2, 1, 0.5], [1, 0, -2]);
  const closed = 1 + 4 + 1 + 1;
  expect(Math.abs(frechetDistance(featureMoments(a, D), featureMoments(b, D)) - closed)).toBeLessThan(0.15);
});

test('the distance of a set to itself is zero, and it is symmetric', () => {
  const a = featureMoments(cloud('a', 500, [1, 2, 3], [0, 1, 2]), D);
  const b = featureMoments(cloud('b', 500, [2, 2, 1], [0, 0, 0]), D);
  expect(frechetDistance(a, a)).toBeLessThan(1e-9);
  expect(frechetDistance(a, b)).toBeCloseTo(frechetDistance(b, a), 9);
});

test('rotating both sets leaves the distance alone', () => {
  const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
  const rotate = (v: Float32Array) => {
    const out = v.slice();
    for (let i = 0; i < v.length; i += D) {
      out[i] = c * v[i] - s * v[i + 1];
      out[i + 1] = s * v[i] + c * v[i + 1];
    }
    return out;
  };
  const a = cloud('a', 500, [1, 2, 3], [0, 1, 2]);
  const b = cloud('b', 500, [2, 2, 1], [0, 0, 0]);
  const before = frechetDistance(featureMoments(a, D), featureMoments(b, D));
  const after = frechetDistance(featureMoments(rotate(a), D), featureMoments(rotate(b), D));
  expect(after / before).toBeCloseTo(1, 4);
});

test('fewer than two rows are refused', () => {
  expect(() => featureMoments(new Float32Array(D), D)).toThrow(/PARAMETER_INVALID/);
});

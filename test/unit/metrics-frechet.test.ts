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

test('of one source it falls with the number of images; of sources with the same two moments it is about zero', () => {
  const source = (seed: string, n: number) => featureMoments(cloud(seed, n, [1, 2, 3], [0, 1, 2]), D);
  const [few, more, most] = [20, 200, 2000].map((n) => frechetDistance(source('a', n), source('b', n)));
  expect(few).toBeGreaterThan(more);
  expect(more).toBeGreaterThan(most);
  const coins = cloud('coins', 2000, [1, 1, 1], [0, 0, 0]).map(Math.sign);
  const bells = featureMoments(cloud('bells', 2000, [1, 1, 1], [0, 0, 0]), D);
  expect(frechetDistance(featureMoments(coins, D), bells)).toBeLessThan(0.02);
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

test('fewer rows than features, and features that never vary: still |Δμ|² + Σ (s₁ - s₂)²', () => {
  const one = featureMoments(Float32Array.of(0, 0, 5, 2, 0, 5), D);
  const other = featureMoments(Float32Array.of(1, 0, 7, 7, 0, 7), D);
  // Only the first feature varies: by √2 and by √18 around 1 and 4; the third is moved by 2.
  expect(frechetDistance(one, other)).toBeCloseTo(9 + 4 + (Math.sqrt(18) - Math.SQRT2) ** 2, 6);
  const even = featureMoments(new Float32Array(4 * D).fill(0.5), D);
  expect(frechetDistance(even, even)).toBe(0);
});

test('refused: fewer than two rows, what is no number, features of another length', () => {
  expect(() => featureMoments(new Float32Array(D), D)).toThrow(/PARAMETER_INVALID/);
  expect(() => featureMoments(Float32Array.of(0, 1, 2, 3, NaN, 5), D)).toThrow(/PARAMETER_INVALID.*finite/);
  const [three, two] = [D, 2].map((d) => featureMoments(new Float32Array(6 * d), d));
  expect(() => frechetDistance(three, two)).toThrow(/PARAMETER_INVALID/);
});

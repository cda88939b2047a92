import { expect, test } from 'vitest';
import { augmentFakes } from '../../coordinator/augment-fakes.ts';
import { PublicRandom } from '../../shared/public-random.ts';
import { uniform } from '../support/rng.ts';

const NOTHING = { rotate: 0, scale: 0, shear: 0, shift: 0 };
const SIZE = 28;
const gray = { channels: 1, size: SIZE };
const seeded = (seed = 'test') => new PublicRandom(seed);

/** A bright spot with soft edges at (x, y). */
const spot = (x: number, y: number): Float32Array =>
  Float32Array.from({ length: SIZE * SIZE }, (_, i) => {
    const square = ((i % SIZE) - x) ** 2 + (Math.floor(i / SIZE) - y) ** 2;
    return 2 * Math.exp(-square / 8) - 1;
  });
/** Where the light of an image is, and how much of it. */
function light(image: Float32Array) {
  let [sum, x, y] = [0, 0, 0];
  image.forEach((v, i) => {
    sum += (v + 1) / 2;
    x += ((v + 1) / 2) * (i % SIZE);
    y += ((v + 1) / 2) * Math.floor(i / SIZE);
  });
  return { sum, x: x / sum - (SIZE - 1) / 2, y: y / sum - (SIZE - 1) / 2 };
}
/** Light of many draws of one spot. */
function moved(by: Partial<typeof NOTHING>, [x, y]: [number, number], draws = 200) {
  const all = new Float32Array(draws * SIZE * SIZE);
  for (let i = 0; i < draws; i++) all.set(spot(x, y), i * SIZE * SIZE);
  const out = augmentFakes(all, gray, { ...NOTHING, ...by }, seeded());
  return Array.from({ length: draws }, (_, i) => light(out.subarray(i * SIZE * SIZE, (i + 1) * SIZE * SIZE)));
}
const farthest = (values: readonly number[]): number => Math.max(...values.map(Math.abs));

test('moved by nothing an image is itself', () => {
  const images = uniform(1, 3 * 2 * SIZE * SIZE);
  expect(augmentFakes(images, { channels: 3, size: SIZE }, NOTHING, seeded())).toEqual(images);
});

test('a turn keeps the distance from the middle and goes as far as it may, either way', () => {
  const found = moved({ rotate: 30 }, [20.5, 13.5]);
  for (const { x, y } of found) expect(Math.abs(Math.hypot(x, y) - 7)).toBeLessThan(0.1);
  const angles = found.map(({ x, y }) => (Math.atan2(y, x) * 180) / Math.PI);
  expect(farthest(angles)).toBeLessThan(30.5);
  expect(Math.max(...angles)).toBeGreaterThan(25);
  expect(Math.min(...angles)).toBeLessThan(-25);
});

test('a shift is a share of the edge, across and down apart', () => {
  const found = moved({ shift: 0.1 }, [13.5, 13.5]);
  for (const axis of ['x', 'y'] as const) {
    expect(farthest(found.map((l) => l[axis]))).toBeLessThan(2.85);
    expect(farthest(found.map((l) => l[axis]))).toBeGreaterThan(2.5);
  }
  expect(found.some(({ x, y }) => Math.abs(x - y) > 2)).toBe(true);
});

test('a scale stretches width and height apart, by a factor that may be either way', () => {
  const found = moved({ scale: 0.2 }, [20.5, 20.5]);
  for (const axis of ['x', 'y'] as const) {
    const factors = found.map((l) => l[axis] / 7);
    expect(Math.max(...factors)).toBeLessThan(Math.exp(0.2) + 0.02);
    expect(Math.min(...factors)).toBeGreaterThan(Math.exp(-0.2) - 0.02);
    expect(Math.max(...factors)).toBeGreaterThan(1.15);
    expect(Math.min(...factors)).toBeLessThan(0.87);
  }
});

test('a shear moves rows sideways, more the farther they are from the middle', () => {
  const found = moved({ shear: 0.3 }, [13.5, 20.5]);
  expect(farthest(found.map(({ y }) => y - 7))).toBeLessThan(0.1);
  expect(farthest(found.map(({ x }) => x))).toBeLessThan(2.2);
  expect(farthest(found.map(({ x }) => x))).toBeGreaterThan(1.8);
  expect(farthest(moved({ shear: 0.3 }, [20.5, 13.5]).map(({ x }) => x - 7))).toBeLessThan(0.1);
});

test('what was outside is black, nothing leaves [-1, 1], and channels stay on one another', () => {
  const by = { rotate: 180, scale: 0.5, shear: 0.5, shift: 0.5 };
  const white = new Float32Array(40 * SIZE * SIZE).fill(1);
  const out = augmentFakes(white, gray, by, seeded());
  expect(Math.min(...out)).toBe(-1);
  expect(Math.max(...out)).toBeLessThanOrEqual(1);
  const plane = uniform(2, SIZE * SIZE);
  const colour = augmentFakes(
    Float32Array.from([...plane, ...plane, ...plane]),
    { channels: 3, size: SIZE },
    by,
    seeded(),
  );
  expect(colour.subarray(0, SIZE * SIZE)).toEqual(colour.subarray(2 * SIZE * SIZE));
  expect(colour.subarray(0, SIZE * SIZE)).toEqual(augmentFakes(plane, gray, by, seeded()));
});

test('each image is moved another way, and the same seed moves it the same way', () => {
  const two = Float32Array.from([...spot(18, 9), ...spot(18, 9)]);
  const by = { rotate: 40, scale: 0.1, shear: 0.1, shift: 0.1 };
  const out = augmentFakes(two, gray, by, seeded());
  expect(out.subarray(0, SIZE * SIZE)).not.toEqual(out.subarray(SIZE * SIZE));
  expect(augmentFakes(two, gray, by, seeded())).toEqual(out);
  expect(augmentFakes(two, gray, by, seeded('another'))).not.toEqual(out);
});

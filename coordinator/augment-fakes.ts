/**
 * Fakes moved about at random, for a critic that is to know a class by more than the pictures a generator makes of it
 * today. Post-processing: fakes are all it is given.
 */
import type { PublicRandom } from '../shared/public-random.ts';

/** How far; each is drawn evenly between both ends, for every image anew. */
export interface Augmentation {
  /** Degrees, either way. */
  readonly rotate: number;
  /** Width and height, each by a factor from exp(-scale) to exp(scale). */
  readonly scale: number;
  /** Pixels sideways for each pixel up, either way. */
  readonly shear: number;
  /** Share of the edge, either way, across and down. */
  readonly shift: number;
}

export interface Planes {
  readonly channels: number;
  readonly size: number;
}

const DRAWS = 6;
const BLACK = -1;

/**
 * An affine map of each image about its middle: bilinear, and black where it shows what was outside.
 * @param images - [n, channels, size, size] in [-1, 1].
 * @returns the same shape; every channel of an image is moved alike.
 */
export function augmentFakes(
  images: Float32Array,
  { channels, size }: Planes,
  by: Augmentation,
  random: PublicRandom,
): Float32Array {
  const plane = size * size;
  const n = images.length / (channels * plane);
  const out = new Float32Array(images.length);
  const u = random.uniforms(DRAWS * n);
  for (let i = 0; i < n; i++) {
    const map = affine(
      Array.from({ length: DRAWS }, (_, k) => 2 * u[DRAWS * i + k] - 1),
      size,
      by,
    );
    for (let c = 0; c < channels; c++) {
      const at = (i * channels + c) * plane;
      warp(images.subarray(at, at + plane), out.subarray(at, at + plane), size, map);
    }
  }
  return out;
}

/** Where a pixel (x, y) comes from: (a x + b y + e, c x + d y + f). */
type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

/** @param draws - [6], each in (-1, 1). */
function affine(draws: readonly number[], size: number, by: Augmentation): Affine {
  const angle = (by.rotate * draws[0] * Math.PI) / 180;
  const [across, down] = [Math.exp(by.scale * draws[1]), Math.exp(by.scale * draws[2])];
  const shear = by.shear * draws[3];
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [a, b] = [across * cos, across * (shear * cos - sin)];
  const [c, d] = [down * sin, down * (shear * sin + cos)];
  const middle = (size - 1) / 2;
  const [dx, dy] = [size * by.shift * draws[4], size * by.shift * draws[5]];
  return [a, b, c, d, middle - a * middle - b * middle + dx, middle - c * middle - d * middle + dy];
}

function warp(from: Float32Array, to: Float32Array, size: number, [a, b, c, d, e, f]: Affine): void {
  const at = (x: number, y: number): number => (x < 0 || y < 0 || x >= size || y >= size ? BLACK : from[y * size + x]);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const [px, py] = [a * x + b * y + e, c * x + d * y + f];
      const [left, top] = [Math.floor(px), Math.floor(py)];
      const [rx, ry] = [px - left, py - top];
      const above = (1 - rx) * at(left, top) + rx * at(left + 1, top);
      const below = (1 - rx) * at(left, top + 1) + rx * at(left + 1, top + 1);
      to[y * size + x] = (1 - ry) * above + ry * below;
    }
}

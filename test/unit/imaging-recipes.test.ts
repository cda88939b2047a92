import { describe, expect, test } from 'vitest';
import { toUnitImage } from '../../shared/imaging/picture.ts';
import { stricterBurnedIn } from '../../shared/imaging/recipe-names.ts';
import { shadesOfGrey } from '../../site-agent/imaging/colour-constancy.ts';
import type { Frame } from '../../site-agent/imaging/frame.ts';
import { cook, quantiles, recipeFor, windowRange } from '../../site-agent/imaging/recipes.ts';
import { centred, squarePixels } from '../../site-agent/imaging/square-pixels.ts';
import { uniform } from '../support/rng.ts';

const row = (values: readonly number[], o: Partial<Frame> = {}): Frame => ({
  width: values.length,
  height: 1,
  channels: 1,
  data: Float32Array.from(values),
  inverted: false,
  windows: [],
  ...o,
});
/** What a recipe makes of a row, black 0 and white 1. */
const cooked = (frame: Frame, recipe: Parameters<typeof cook>[1]): number[] => {
  const picture = cook(frame, recipe);
  const [low, high] = picture.range;
  return Array.from(picture.data, (x) => Math.min(1, Math.max(0, (x - low) / (high - low))));
};
const close = (got: readonly number[], want: readonly number[], digits = 6): void =>
  got.forEach((x, i) => expect(x).toBeCloseTo(want[i], digits));

describe('windows', () => {
  test('linear, exact and sigmoid as PS3.3 C.11.2.1.2 and .3 write them', () => {
    // Equation C.11-1 for c = 2048, w = 4096: 0 is black, 4095 is white.
    expect(windowRange({ center: 2048, width: 4096, shape: 'linear' })).toEqual([0, 4095]);
    // Note 4 there: c = 2047.5 is not the middle of 0 and 4095 for LINEAR.
    expect(windowRange({ center: 40, width: 400, shape: 'linear-exact' })).toEqual([-160, 240]);
    const [low, high] = windowRange({ center: 0, width: 1, shape: 'linear' });
    expect([low < -0.5, high >= -0.5, high < 0]).toEqual([true, true, true]);
    const sigmoid = row([-100, 0, 100], { windows: [{ center: 0, width: 100, shape: 'sigmoid' }] });
    close(cooked(sigmoid, 'as-displayed'), [1 / (1 + Math.exp(4)), 0.5, 1 / (1 + Math.exp(-4))]);
  });

  test('CT windows in Hounsfield units', () => {
    const hounsfield = row([-1000, -160, 40, 240, 3000]);
    close(cooked(hounsfield, 'ct-soft-tissue'), [0, 0, 0.5, 1, 1]);
    close(cooked(row([-1350, -600, 150]), 'ct-lung'), [0, 0.5, 1]);
    close(cooked(row([-500, 400, 1300]), 'ct-bone'), [0, 0.5, 1]);
    close(cooked(row([0, 40, 80]), 'ct-brain'), [0, 0.5, 1]);
  });

  test('the file’s own table comes before its window', () => {
    const frame = row([0, 1, 2, 9], { table: { first: 1, entries: Uint16Array.of(0, 255), max: 255 }, windows: [{ center: 1, width: 2, shape: 'linear' }] }); // prettier-ignore
    close(cooked(frame, 'as-displayed'), [0, 0, 1, 1]);
  });
});

describe('percentiles', () => {
  test('agree with sorting, to a small part of the range', () => {
    const values = Float32Array.from(uniform(7, 5000, 0, 255), (b, i) => b * b + (i % 997 === 0 ? 1e6 : 0));
    const sorted = values.toSorted();
    for (const [a, b] of [
      [0.01, 0.99],
      [0.2, 0.5],
    ] as const) {
      // prettier-ignore
      const [low, high] = quantiles(values, undefined, [a, b]);
      expect(low).toBeCloseTo(sorted[Math.floor(a * 4999)], 0);
      expect(high).toBeCloseTo(sorted[Math.floor(b * 4999)], 0);
    }
    expect(quantiles(values, undefined, [0, 1])).toEqual([sorted[0], sorted[4999]]);
  });

  test('leave padding out, and padding comes out black, also in a radiograph that is turned around', () => {
    const padded = row([-2000, 10, 20, 30], { padding: Uint8Array.of(1, 0, 0, 0) });
    close(cooked(padded, 'full-range'), [0, 0, 0.5, 1]);
    close(cooked({ ...padded, inverted: true }, 'full-range'), [0, 1, 0.5, 0]);
  });

  test('NaN and infinities are padding', () => {
    close(cooked(row([NaN, 0, 5, 10, Infinity]), 'full-range'), [0, 0, 0.5, 1, 0]);
  });
});

test('MONOCHROME1 is turned around by what shows radiographs, and not by CT windows', () => {
  const bytes = Array.from({ length: 256 }, (_, i) => i);
  const frame = row(bytes, { inverted: true, fullRange: [0, 255] });
  close(
    cooked(frame, 'as-displayed'),
    bytes.map((x) => 1 - x / 255),
  );
  const dense = cooked(frame, 'xray');
  expect([dense[0], dense[255], dense[100] > dense[150]]).toEqual([1, 0, true]);
  expect(cooked(frame, 'ct-soft-tissue')[240]).toBe(1);
});

test('a picture of one value is refused', () => {
  for (const recipe of ['as-displayed', 'mr-percentile', 'xray'] as const)
    expect(() => cook(row([7, 7, 7]), recipe)).toThrow(/all of its values are the same/);
});

test('each modality has its recipe', () => {
  const names = ['CT', 'MR', 'DX', 'CR', 'MG', 'US', 'XC', undefined];
  expect(names.map((m) => recipeFor(m, 'dicom'))).toEqual(['ct-soft-tissue', 'mr-percentile', 'xray', 'xray', 'xray', 'as-displayed', 'colour-constancy', 'as-displayed']); // prettier-ignore
  expect([recipeFor(undefined, 'nifti'), recipeFor(undefined, 'raster')]).toEqual(['percentiles', 'as-displayed']);
});

describe('colour constancy', () => {
  test('a light’s colour is taken out, whatever it was; white light changes nothing', () => {
    const skin = [120, 90, 60, 40, 150, 20, 200, 100, 80, 90, 70, 160];
    const lit = (r: number, g: number, b: number) => skin.map((x, i) => x * [r, g, b][i % 3]);
    const one = shadesOfGrey(Float32Array.from(skin), [0, 2000], 6);
    // Scaling channels scales their Minkowski means alike, so directions agree up to one factor.
    const other = shadesOfGrey(Float32Array.from(lit(1.5, 1, 0.5)), [0, 2000], 6);
    const factor = other[0] / one[0];
    one.forEach((x, i) => expect(other[i] / x).toBeCloseTo(factor, 4));
    const grey = Float32Array.of(10, 10, 10, 99, 99, 99);
    shadesOfGrey(grey, [0, 255], 6).forEach((x, i) => expect(x).toBeCloseTo(grey[i], 4));
  });

  test('p = 1 is the grey-world rule', () => {
    const out = shadesOfGrey(Float32Array.of(100, 50, 25, 100, 50, 25), [0, 10_000], 1);
    expect(out[0]).toBeCloseTo(out[1], 3);
    expect(out[1]).toBeCloseTo(out[2], 3);
  });
});

test('pixels become square, and early values move to the middle, on straight lines', () => {
  const ramp = { width: 4, height: 2, channels: 1, data: Float32Array.from([0, 1, 2, 3, 10, 11, 12, 13]), range: [0, 13], outside: 'cut' } as const; // prettier-ignore
  const tall = squarePixels(ramp, 2);
  expect([tall.width, tall.height]).toEqual([4, 4]);
  close([...tall.data].filter((_, i) => i % 4 === 0), [0, 2.5, 7.5, 10]); // prettier-ignore
  expect(squarePixels(ramp, 1.004)).toBe(ramp);
  expect(() => squarePixels(ramp, 1e9)).toThrow(/far from square/);
  close([...centred(ramp, 0.25).data], [2.75, 3.75, 4.75, 5.5, 10.25, 11.25, 12.25, 13]);
  expect(toUnitImage(squarePixels(ramp, 2), 2, 1, 'crop').length).toBe(4);
});

test('of two rules for burned-in text the stricter holds, and silence is refusal', () => {
  expect(stricterBurnedIn('accept', 'mask')).toBe('mask');
  expect(stricterBurnedIn('refuse', 'accept')).toBe('refuse');
  expect(stricterBurnedIn(undefined, 'accept')).toBe('accept');
  expect(stricterBurnedIn(undefined, undefined)).toBe('refuse');
});

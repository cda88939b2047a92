import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { drawFakeInputs } from '../../shared/gan/batch.ts';
import { addToFlat, initialise, layoutOf, parameterFeeds } from '../../shared/gan/layout.ts';
import { binomialBlur } from '../../shared/gan/architectures/smooth-dcgan.ts';
import { architectureNamed, openGan } from '../../shared/gan/registry.ts';
import { Sampler } from '../../shared/gan/sampler.ts';
import { config, odd } from '../support/gan-rig.ts';
import { uniform } from '../support/rng.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(() => engine.dispose());

test('an unknown architecture is refused, naming those there are', () => {
  expect(() => architectureNamed('stylegan')).toThrow(
    expect.objectContaining({ code: 'ARCHITECTURE_UNKNOWN', message: expect.stringContaining('dcgan, mlp') }),
  );
});

test('a further architecture is one object in the list', () => {
  expect(openGan(config({ architecture: 'odd' }), [odd]).discriminator.layers.map(({ layer }) => layer.name)).toEqual([
    'first',
    'skip',
    'last',
    'features',
    'logit',
    'projection',
  ]);
});

test('groups that do not divide the channels are refused', () => {
  expect(() => openGan(config({ groupNorm: 3 }))).toThrow(expect.objectContaining({ code: 'PARAMETER_INVALID' }));
});

test('parameters of the bench’s discriminator, counted by hand', () => {
  // 4·4·1·64 + 64, 4·4·64·128 + 128, 7·7·128 + 1
  const gan = openGan(config({ discriminatorWidth: 64, conditioning: 'none' }));
  expect(gan.discriminator.layout.length).toBe(1088 + 131_200 + 6273);
});

describe('layout', () => {
  const layout = openGan(config()).discriminator.layout;

  test('first values depend on the seed and the name alone, and have the declared spread', () => {
    expect(initialise(layout, 'a')).toEqual(initialise(layout, 'a'));
    expect(initialise(layout, 'a')).not.toEqual(initialise(layout, 'b'));
    const wide = layoutOf([
      { name: 'x', shape: [100, 100], initialiser: { kind: 'normal', std: 0.5 } },
      { name: 'y', shape: [10], initialiser: { kind: 'constant', value: 2 } },
    ]);
    const values = initialise(wide, 'a');
    const std = Math.sqrt(values.subarray(0, 10_000).reduce((sum, v) => sum + v * v, 0) / 10_000);
    expect(Math.abs(std / 0.5 - 1)).toBeLessThan(0.03);
    expect([...values.subarray(10_000)]).toEqual(new Array(10).fill(2));
  });

  test('a flat vector is its parts and nothing else', () => {
    fc.assert(
      fc.property(fc.nat(1000), (start) => {
        const flat = Float32Array.from({ length: layout.length }, (_, i) => start + i);
        const back = new Float64Array(layout.length);
        addToFlat(layout, parameterFeeds(layout, flat, 'p.'), 'p.', back);
        return back.every((x, i) => x === flat[i]);
      }),
      { numRuns: 5 },
    );
  });

  test('a vector of another length and a name used twice are refused', () => {
    const spec = { name: 'x', shape: [2], initialiser: { kind: 'constant' as const, value: 0 } };
    for (const refused of [() => parameterFeeds(layout, new Float32Array(3), ''), () => layoutOf([spec, spec])])
      expect(refused).toThrow(expect.objectContaining({ code: 'PARAMETER_INVALID' }));
  });
});

describe('sampler', () => {
  const uniform = [1 / 3, 1 / 3, 1 / 3];

  test.each([
    [28, 1],
    [32, 3],
    [64, 1],
    [64, 3],
  ] as const)('%i pixels, %i channels: images in [-1, 1] of the right number', async (imageSize, channels) => {
    const gan = openGan(config({ imageSize, channels }));
    const sampler = await Sampler.open(engine, gan, 4, 'batch');
    const images = await sampler.images(initialise(gan.generator.layout, 'a'), drawFakeInputs(6, 4, uniform, 'a'));
    expect(images.length).toBe(6 * channels * imageSize ** 2);
    expect(images.every((x) => Math.abs(x) <= 1)).toBe(true);
    expect(Math.max(...images)).toBeGreaterThan(0.1);
    await sampler.dispose();
  });

  test('with fixed statistics an image depends on its own latent vector alone; with the batch’s it does not', async () => {
    const gan = openGan(config({ generatorWidth: 4 }));
    const generator = initialise(gan.generator.layout, 'a');
    const fakes = drawFakeInputs(8, 4, uniform, 'a');
    const other = drawFakeInputs(8, 4, uniform, 'b');
    const mixed = { latents: other.latents.slice(), labels: other.labels.slice() };
    mixed.latents.set(fakes.latents.subarray(0, 4));
    mixed.labels[0] = fakes.labels[0];
    const [inBatch, fixed] = [await Sampler.open(engine, gan, 8, 'batch'), await Sampler.open(engine, gan, 8, 'fixed')];
    const statistics = await inBatch.calibrate(generator, drawFakeInputs(64, 4, uniform, 'c'));
    expect(statistics.length).toBe(gan.generator.statistics.length);
    const first = (images: Float32Array) => images.slice(0, 784);
    expect(first(await fixed.images(generator, mixed, statistics))).toEqual(
      first(await fixed.images(generator, fakes, statistics)),
    );
    expect(first(await inBatch.images(generator, mixed))).not.toEqual(first(await inBatch.images(generator, fakes)));
    // Statistics of many fakes describe any batch roughly: the same picture, not another one.
    const [a, b] = [await fixed.images(generator, fakes, statistics), await inBatch.images(generator, fakes)];
    expect(a.reduce((sum, x, i) => sum + Math.abs(x - b[i]), 0) / a.length).toBeLessThan(0.1);
    await expect(fixed.images(generator, fakes)).rejects.toThrow(
      expect.objectContaining({ code: 'PARAMETER_INVALID' }),
    );
  });
});

test.each([1, 3])('the blur is [1, 2, 1] / 4 along both axes, the border repeated: %i channels', (channels) => {
  const size = 5;
  const values = uniform(3, 2 * size * size * channels);
  const at = (i: number, row: number, column: number, channel: number) => {
    const inside = (k: number) => Math.min(size - 1, Math.max(0, k));
    return values[((i * size + inside(row)) * size + inside(column)) * channels + channel];
  };
  const blurred = binomialBlur(tf.tensor4d(values, [2, size, size, channels])).dataSync();
  let place = 0;
  for (const i of [0, 1])
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++)
        for (let channel = 0; channel < channels; channel++) {
          let sum = 0;
          for (const down of [-1, 0, 1])
            for (const right of [-1, 0, 1])
              sum += ((2 - Math.abs(down)) * (2 - Math.abs(right)) * at(i, row + down, column + right, channel)) / 16;
          expect(blurred[place++]).toBeCloseTo(sum, 5);
        }
});

/** The pooled discriminator as bytes: what sites download comes first, and nothing is in them twice. */
import { expect, test } from 'vitest';
import {
  type DiscriminatorState,
  discriminatorToBytes,
  pooledFromBytes,
  pooledToBytes,
  startDiscriminator,
} from '../../shared/gan/noised-discriminator.ts';
import { unpackFloat32 } from '../../shared/aggregation/clear.ts';

const D = 7;
const vector = (from: number): Float32Array => Float32Array.from({ length: D }, (_, i) => from + i / 8);
const plain: DiscriminatorState = { ...startDiscriminator(vector(1)), slots: [vector(2), vector(3)], step: 41 };
const averaged: DiscriminatorState = { ...plain, average: vector(4) };

test.each([
  ['without an average', plain, 3],
  ['with one', averaged, 4],
])('back and forth, bit for bit: %s', (_, state, vectors) => {
  const bytes = pooledToBytes(state);
  expect(bytes).toHaveLength(4 * (5 + vectors * D));
  expect(unpackFloat32(bytes.slice(0, 4 * D))).toEqual(state.parameters);
  expect(pooledFromBytes(bytes, D)).toEqual(state);
  expect(pooledToBytes(pooledFromBytes(bytes, D))).toEqual(bytes);
  // From wherever they lie in a buffer.
  const moved = new Uint8Array(bytes.length + 3);
  moved.set(bytes, 3);
  expect(pooledFromBytes(moved.subarray(3), D)).toEqual(state);
});

test('a state of earlier builds, a shorter one and one that is not finite are refused', () => {
  const bytes = pooledToBytes(averaged);
  for (const wrong of [
    discriminatorToBytes(plain),
    bytes.subarray(4),
    bytes.subarray(0, 8),
    new Uint8Array(bytes.length),
  ])
    expect(() => pooledFromBytes(wrong, D)).toThrow('STORE_CORRUPT');
  for (const state of [
    { ...plain, parameters: vector(NaN), average: vector(NaN) },
    { ...plain, slots: [vector(2), vector(Infinity)] },
  ])
    expect(() => pooledFromBytes(pooledToBytes(state), D)).toThrow('not finite');
});

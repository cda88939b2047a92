import { inflateSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { parseNpy } from '../../shared/imaging/npy.ts';

// Source: numpy 2.4.6, np.lib.format.write_array of the expression in the first column, zlib level 9, base64.
test.each([
  ["np.asfortranarray(np.arange(6, dtype='>u2').reshape(2, 3))", 'eNqb7BfqGxDJyFDGUK2eklqcXKRupaBuV2qkrqOgnpZfVFKUmBefX5SSChIPKSpNBQoXZyQWpAK5GkY6CsaaOgq1CuQDLgYGBmYGRgYWBiYGVgCaChtf', [2, 3], [0, 1, 2, 3, 4, 5]],
  ["np.array([-1.5, 2.25], dtype='>f8')", 'eNqb7BfqGxDJyFDGUK2eklqcXKRupaBul2ahrqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOpo6CrUKFACu/T8YwMCBCUIDACejHVg=', [2], [-1.5, 2.25]],
  ["np.array(['Hand', 'Ödem', '']), version (3, 0)", 'eNqb7BfqGxDJzFDCwMBQrZ6SWpxcpG6loG4TaqKuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GsY6mjoKtQpkAy4PoL2JQJwHxClAfA1KpwJxLgMmAAChjx6Q', [3], ['Hand', 'Ödem', '']],
  ["np.array(['ab', 'c'], dtype='S3')", 'eNqb7BfqGxDJyFDGUK2eklqcXKRupaBeE2ysrqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOpo6CrUKFACuxCSGZAYGAA+UHKs=', [2], ['ab', 'c']],
  ['np.array([True, False])', 'eNqb7BfqGxDJyFDGUK2eklqcXKRupaBek2SorqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOpo6CrUKFAAuRgYAoZgbkw==', [2], [1, 0]],
  ["np.array([[2**40], [-3]], dtype='i8'), version (2, 0)", 'eNqb7BfqGxDJxFDCwMBQrZ6SWpxcpG6loG6TaaGuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GkY6CoaaOgq1CmQCLgYQYGRg+PsfAgD9nSMn', [2, 1], [2n ** 40n, -3n]],
  ["np.asfortranarray(np.arange(24, dtype='f4').reshape(2, 3, 4))", 'eNqb7BfqGxDJyFDGUK2eklqcXKRupaBuk2airqOgnpZfVFKUmBefX5SSChIPKSpNBQoXZyQWpAK5GkY6CsY6CiaaOgq1CmQCLgYwcHBkYGhwAGIgzQDEC0B8ewaGABAbKN4BpAWAeAVIHshPANIHgPQEIK0AxBuA2AHILwDSD4D0DCBtAMQ7HAFN4CtQ', [2, 3, 4], Array.from({ length: 24 }, (_, i) => i)],
])('reads what numpy wrote: %s', (_expression, packed, shape, values) => {
  const array = parseNpy(inflateSync(Buffer.from(packed, 'base64')));
  expect(array.shape).toEqual(shape);
  expect(Array.from(array.data as ArrayLike<unknown>)).toEqual(values);
}); // prettier-ignore

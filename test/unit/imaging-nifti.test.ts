import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatOf } from '../../site-agent/imaging/formats.ts';
import { openNifti, orientationOf } from '../../site-agent/imaging/nifti.ts';
import { niftiFile } from '../support/nifti-write.ts';

// A volume whose value says where it is: 100 a step to the right, 10 to the front, 1 to the head.
const SHAPE = [2, 3, 4] as const;
const where = (right: number, front: number, up: number): number => 100 * right + 10 * front + up;

/** The same body, stored along any axes in any direction: what scanners do. */
function storedAs(order: readonly number[], flips: readonly boolean[], bigEndian = false): Buffer {
  const dims = order.map((a) => SHAPE[a]);
  const affine = [0, 1, 2].map((i) => [...order.map((a, j) => (a === i ? (flips[j] ? -1 : 1) : 0)), 0]);
  const values: number[] = [];
  for (let k = 0; k < dims[2]; k++)
    for (let j = 0; j < dims[1]; j++)
      for (let i = 0; i < dims[0]; i++) {
        const at = [i, j, k].map((x, axis) => (flips[axis] ? dims[axis] - 1 - x : x));
        const body = [0, 1, 2].map((a) => at[order.indexOf(a)]) as [number, number, number];
        values.push(where(...body));
      }
  return niftiFile(values, { dims, affine, bigEndian });
}

const ORDERS = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] as const; // prettier-ignore

test('a body looks the same however it was stored', () => {
  fc.assert(
    fc.property(fc.constantFrom(...ORDERS), fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()), fc.boolean(), (order, flips, big) => {
      const file = storedAs(order, flips, big);
      const axial = openNifti(file, 'axial');
      expect(axial.count).toBe(4);
      const lowest = axial.frame(0) as { width: number; height: number; data: ArrayLike<number> };
      // Rows from the front to the back, columns from the patient's right to the left; slices upwards.
      expect([lowest.width, lowest.height]).toEqual([2, 3]);
      expect(Array.from(lowest.data)).toEqual([where(1, 2, 0), where(0, 2, 0), where(1, 1, 0), where(0, 1, 0), where(1, 0, 0), where(0, 0, 0)]); // prettier-ignore
      const sagittal = openNifti(file, 'sagittal').frame(1) as { data: ArrayLike<number> };
      // From the head down, from the front to the back, in the right half.
      expect(Array.from(sagittal.data).slice(0, 3)).toEqual([where(1, 2, 3), where(1, 1, 3), where(1, 0, 3)]);
      const coronal = openNifti(file, 'coronal').frame(2) as { data: ArrayLike<number> };
      expect(Array.from(coronal.data).slice(0, 2)).toEqual([where(1, 2, 3), where(0, 2, 3)]);
    }), // prettier-ignore
  );
});

test('positive control: an affine that is not looked at shows another picture', () => {
  const flipped = openNifti(storedAs([0, 1, 2], [true, false, false]), 'axial').frame(0) as { data: ArrayLike<number> };
  const lie = storedAs([0, 1, 2], [true, false, false]);
  lie.writeFloatLE(1, 280);
  const misread = openNifti(lie, 'axial').frame(0) as { data: ArrayLike<number> };
  expect(Array.from(flipped.data)).not.toEqual(Array.from(misread.data));
});

test('oblique axes go to the nearest one', () => {
  const c = Math.cos(0.5);
  const s = Math.sin(0.5);
  expect(orientationOf([[-c, s, 0, 0], [0, 0, 2, 0], [s, c, 0, 0]])).toEqual([[0, true], [2, false], [1, false]]); // prettier-ignore
});

test('slope and intercept, gzip, series of volumes, spacing', () => {
  const affine = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0]]; // prettier-ignore
  const values = Array.from({ length: 48 }, (_, i) => i);
  const series = niftiFile(values, { dims: [2, 3, 4, 2], affine, slope: 0.5, inter: -10 });
  const file = openNifti(gzipSync(series), 'axial');
  expect(file.count).toBe(8);
  const fifth = file.frame(4) as { data: ArrayLike<number>; aspect: number };
  expect(Math.min(...Array.from(fifth.data))).toBe(24 * 0.5 - 10);
  expect((openNifti(series, 'coronal').frame(0) as { aspect: number }).aspect).toBe(3);
  expect(formatOf(gzipSync(series), 'brain.nii.gz')?.kind).toBe('nifti');
  expect(formatOf(gzipSync(series), 'archive.gz')).toBeUndefined();
});

test('what is damaged, cut off or too large is refused by name', () => {
  const whole = storedAs([0, 1, 2], [false, false, false]);
  const changed = (change: (bytes: Buffer) => void): Buffer => {
    const copy = Buffer.from(whole);
    change(copy);
    return copy;
  };
  const cases: [Buffer, RegExp][] = [
    [whole.subarray(0, 370), /has 370 bytes where 1 volumes of 48 begin at 352/],
    [whole.subarray(0, 100), /header is damaged/],
    [changed((b) => b.writeInt16LE(32, 70)), /NIfTI type 32/],
    [changed((b) => b.writeInt16LE(-2, 42)), /dimensions are impossible/],
    [changed((b) => b.writeInt16LE(9, 40)), /dimensions are impossible|bytes where/],
    [changed((b) => b.writeFloatLE(NaN, 108)), /begin nowhere/],
    [gzipSync(whole).subarray(0, 60), /gzip is damaged/],
    [Buffer.concat(Array<Buffer>(33).fill(gzipSync(Buffer.alloc(2 ** 24)))), /unpacks to more than/],
  ];
  for (const [bytes, why] of cases)
    expect(() => openNifti(bytes, 'axial').frame(0)).toThrow(expect.objectContaining({ code: 'IMAGE_UNREADABLE', message: expect.stringMatching(why) }) as Error); // prettier-ignore
}, 60_000);

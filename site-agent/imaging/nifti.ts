/**
 * NIfTI-1 and NIfTI-2 volumes as slices. Only numbers of the header are used; its texts are never looked at.
 *
 * Slices lie as radiologists hang them: the patient's right on the left of axial and coronal ones, anterior on top of axial
 * and on the left of sagittal ones, the head on top of the others.
 */
import { gunzipSync } from 'node:zlib';
import { isCompressed, isNIFTI, isNIFTI1, type NIFTI1, type NIFTI2, readHeader } from 'nifti-reader-js';
import type { PixelArray } from '../../shared/imaging/picture.ts';
import { LIMITS, unreadable } from './dicom/refuse.ts';
import { swapBytes } from './dicom/stored-values.ts';
import type { Frame, OpenedFile } from './frame.ts';
import type { Plane } from './reading-words.ts';

/** Largest volume, unpacked. */
const MAX_BYTES = 2 ** 29;

type Reader = (buffer: ArrayBuffer) => PixelArray;
/** By the header's code: bytes a value, values a voxel, and how they are read. */
const TYPES: Record<number, { bytes: number; channels: 1 | 3; read: Reader } | undefined> = {
  2: { bytes: 1, channels: 1, read: (b) => new Uint8Array(b) },
  4: { bytes: 2, channels: 1, read: (b) => new Int16Array(b) },
  8: { bytes: 4, channels: 1, read: (b) => new Int32Array(b) },
  16: { bytes: 4, channels: 1, read: (b) => new Float32Array(b) },
  64: { bytes: 8, channels: 1, read: (b) => new Float64Array(b) },
  128: { bytes: 1, channels: 3, read: (b) => new Uint8Array(b) },
  256: { bytes: 1, channels: 1, read: (b) => new Int8Array(b) },
  512: { bytes: 2, channels: 1, read: (b) => new Uint16Array(b) },
  768: { bytes: 4, channels: 1, read: (b) => new Uint32Array(b) },
  1024: { bytes: 8, channels: 1, read: (b) => Float64Array.from(new BigInt64Array(b), Number) },
  1280: { bytes: 8, channels: 1, read: (b) => Float64Array.from(new BigUint64Array(b), Number) },
};

/** Whether bytes begin like NIfTI, plain or in gzip. */
export function looksLikeNifti(head: Uint8Array): boolean {
  if (head.length < 8) return false;
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  // The size of the header, in either byte order; what else would be a gzip file is decided by the name.
  return [348, 540].some((size) => view.getInt32(0, true) === size || view.getInt32(0, false) === size);
}

/** For each axis of the patient (to the right, to the front, to the head): the axis of the array, and whether it is turned around. */
export type Orientation = readonly (readonly [axis: number, flipped: boolean])[];

/**
 * The array axis nearest to each of the patient's axes, the strongest pair first: nibabel's `io_orientation` for affines
 * without shear.
 */
export function orientationOf(affine: readonly (readonly number[])[]): Orientation {
  const lengths = [0, 1, 2].map((j) => Math.hypot(affine[0][j], affine[1][j], affine[2][j]) || 1);
  const out: [number, boolean][] = [];
  const taken = new Set<number>();
  for (const j of [0, 1, 2]) {
    const column = [0, 1, 2].map((i) => (taken.has(i) ? 0 : affine[i][j] / lengths[j]));
    const i = column.reduce((best, x, k) => (Math.abs(x) > Math.abs(column[best]) ? k : best), [0, 1, 2].find((k) => !taken.has(k))!); // prettier-ignore
    taken.add(i);
    out[i] = [j, column[i] < 0];
  }
  return out;
}

/** @throws {FedError} IMAGE_UNREADABLE: damaged, cut off, a type that is not read, or larger than the limit. */
export function openNifti(file: Uint8Array, plane: Plane): OpenedFile {
  const bytes = unzipped(file);
  const header = headerOf(bytes);
  const type = TYPES[header.datatypeCode] ?? unreadable(`voxels of NIfTI type ${header.datatypeCode} are not read`);
  const dims = header.dims.slice(1, 1 + header.dims[0]);
  if (!Number.isFinite(header.vox_offset)) return unreadable('its voxels begin nowhere');
  if (dims.length < 2 || dims.length > 7 || dims.some((n) => !Number.isInteger(n) || n < 1 || n > 65_535))
    return unreadable('its dimensions are impossible');
  const [nx, ny, nz = 1] = dims;
  const volumes = dims.slice(3).reduce((a, b) => a * b, 1);
  const voxels = nx * ny * nz;
  // Some writers leave the offset out; then the voxels follow the header.
  const start = header.vox_offset > 0 ? header.vox_offset : isNIFTI1(bytes) ? 352 : 544;
  const volumeBytes = voxels * type.bytes * type.channels;
  if (!Number.isInteger(start) || !(volumes * volumeBytes <= bytes.byteLength - start))
    return unreadable(`it has ${bytes.byteLength} bytes where ${volumes} volumes of ${volumeBytes} begin at ${start}`);
  const axes = orientationOf(header.affine);
  const shape = [nx, ny, nz];
  const [columnAxis, rowAxis, sliceAxis] = { axial: [0, 1, 2], coronal: [0, 2, 1], sagittal: [1, 2, 0] }[plane].map((a) => axes[a]) as [Orientation[0], Orientation[0], Orientation[0]]; // prettier-ignore
  const [width, height, depth] = [columnAxis, rowAxis, sliceAxis].map(([axis]) => shape[axis]) as [number, number, number]; // prettier-ignore
  if (width * height * type.channels > LIMITS.frameSamples || depth * volumes > LIMITS.frames)
    return unreadable(`${depth * volumes} slices of ${width} × ${height} are more than the limits`);
  const strides = [1, nx, nx * ny];
  const volume = memoOne((t: number) =>
    readVolume(bytes, start + t * volumeBytes, volumeBytes, type, header.littleEndian),
  );
  const spacing = header.pixDims.slice(1, 4).map((x) => (Number.isFinite(x) && x !== 0 ? Math.abs(x) : 1));
  return {
    facts: { packing: 'NIfTI' },
    count: depth * volumes,
    frame: (k) => {
      const data = volume(Math.floor(k / depth));
      const slice = k % depth;
      const out = data.slice(0, width * height * type.channels) as PixelArray;
      // Columns run to the patient's left or to the back, rows to the back or to the feet: against the axes of the patient.
      const at = (i: number, n: number, [axis, flipped]: Orientation[0], against: boolean) =>
        (flipped === against ? i : n - 1 - i) * strides[axis];
      const base = at(slice, depth, sliceAxis, false);
      for (let y = 0, o = 0; y < height; y++) {
        const row = base + at(y, height, rowAxis, true);
        for (let x = 0; x < width; x++) {
          const from = (row + at(x, width, columnAxis, true)) * type.channels;
          for (let c = 0; c < type.channels; c++) out[o++] = data[from + c];
        }
      }
      const aspect = spacing[rowAxis[0]] / spacing[columnAxis[0]];
      return {
        width,
        height,
        channels: type.channels,
        data: scaled(out, header, type.channels),
        inverted: false,
        windows: [],
        aspect,
        ...(type.channels === 3 ? { fullRange: [0, 255] as const } : {}),
      } satisfies Frame;
    },
  };
}

function unzipped(file: Uint8Array): ArrayBuffer {
  let bytes = file;
  if (file[0] === 0x1f && file[1] === 0x8b)
    try {
      bytes = gunzipSync(file, { maxOutputLength: MAX_BYTES });
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      return unreadable(code === 'ERR_BUFFER_TOO_LARGE' ? `it unpacks to more than ${MAX_BYTES} bytes` : 'its gzip is damaged or cut off'); // prettier-ignore
    }
  const { buffer, byteOffset, byteLength } = bytes;
  return buffer instanceof ArrayBuffer && byteOffset === 0 && byteLength === buffer.byteLength
    ? buffer
    : new Uint8Array(bytes).buffer;
}

function headerOf(bytes: ArrayBuffer): NIFTI1 | NIFTI2 {
  try {
    if (isNIFTI(bytes) && !isCompressed(bytes)) return readHeader(bytes);
  } catch {
    // What the library says may quote the header's texts.
  }
  return unreadable('its NIfTI header is damaged, or its voxels are in another file');
}

function readVolume(
  bytes: ArrayBuffer,
  start: number,
  length: number,
  type: { bytes: number; read: Reader },
  littleEndian: boolean,
): PixelArray {
  const raw = new Uint8Array(bytes, start, length);
  return type.read((littleEndian || type.bytes === 1 ? raw.slice() : swapBytes(raw, type.bytes)).buffer as ArrayBuffer);
}

/** Slope and intercept; a slope of 0 means that there are none. */
function scaled(
  data: PixelArray,
  { scl_slope: slope, scl_inter: inter }: NIFTI1 | NIFTI2,
  channels: number,
): PixelArray {
  // prettier-ignore
  const s = Number.isFinite(slope) && slope !== 0 ? slope : 1;
  const b = Number.isFinite(inter) && Number.isFinite(slope) && slope !== 0 ? inter : 0;
  return channels === 3 || (s === 1 && b === 0) ? data : Float32Array.from(data, (x) => x * s + b);
}

/** Keeps the last result: slices are asked for in order. */
function memoOne<T>(make: (k: number) => T): (k: number) => T {
  let last: { k: number; value: T } | undefined;
  return (k) => {
    if (last?.k !== k) last = { k, value: make(k) };
    return last.value;
  };
}

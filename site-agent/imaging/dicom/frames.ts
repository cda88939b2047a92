/** The bytes of one frame: a run of native pixels, or the fragments of an encapsulated one (PS3.5, annex A.4). */
import type { DataSet, Element } from './data-set.ts';
import type { ImageDescription } from './description.ts';
import { LIMITS, unreadable } from './refuse.ts';
import { swapBytes } from './stored-values.ts';

/** Bytes and, for single bits, where in the first byte the frame begins. */
export interface NativeFrame {
  readonly bytes: Uint8Array;
  readonly bitOffset: number;
}

/** Values a pixel in the file: YBR_FULL_422 stores two colour samples for two pixels. */
const storedSamples = (d: ImageDescription): number => (d.photometric === 'YBR_FULL_422' ? 2 : d.samples);

/** Bits of one frame when it is not compressed. */
export const nativeFrameBits = (d: ImageDescription): number => d.rows * d.columns * storedSamples(d) * d.bitsAllocated;

/**
 * @param swapped - the file is big endian and keeps smaller values in 16-bit words (VR OW): neighbours change places.
 * @throws {FedError} IMAGE_UNREADABLE when the file ends before the frame does.
 */
export function nativeFrame(dataSet: DataSet, d: ImageDescription, frame: number, swapped: boolean): NativeFrame {
  const element = dataSet.elements[d.pixels];
  if (element.fragments !== undefined) return unreadable('its pixels are in fragments, against its transfer syntax');
  const bits = nativeFrameBits(d);
  const first = Math.floor((frame * bits) / 8);
  const end = Math.ceil(((frame + 1) * bits) / 8);
  const held = Math.min(element.length, dataSet.byteArray.length - element.dataOffset);
  if (end > held)
    return unreadable(`its pixels have ${held} bytes where frame ${frame + 1} of ${d.frames} ends at ${end}`);
  const bitOffset = (frame * bits) % 8;
  const pixels = dataSet.byteArray.subarray(element.dataOffset, element.dataOffset + held);
  if (!swapped) return { bytes: pixels.subarray(first, end), bitOffset };
  const word = first - (first % 2);
  const bytes = swapBytes(pixels.subarray(word, Math.min(held, end + (end % 2))), 2);
  return { bytes: bytes.subarray(first - word, end - word), bitOffset };
}

/** @throws {FedError} IMAGE_UNREADABLE when fragments are cut off or cannot be told apart by frame. */
export function encapsulatedFrame(dataSet: DataSet, d: ImageDescription, frame: number): Uint8Array {
  const element = dataSet.elements[d.pixels];
  const [from, to] = fragmentsOfFrame(dataSet, element, d.frames, frame);
  const parts = (element.fragments ?? []).slice(from, to).map(({ position, length }) => {
    if (!(length >= 0) || position + length > dataSet.byteArray.length) return unreadable('a fragment is cut off');
    return dataSet.byteArray.subarray(position, position + length);
  });
  return parts.length === 1 ? parts[0] : Buffer.concat(parts);
}

/** The first fragment of a frame, and the one after its last. */
function fragmentsOfFrame(dataSet: DataSet, element: Element, frames: number, frame: number): [number, number] {
  const fragments = element.fragments;
  if (fragments === undefined || fragments.length === 0)
    return unreadable('its compressed pixels are not in fragments');
  if (fragments.length > LIMITS.fragments) return unreadable(`more than ${LIMITS.fragments} fragments`);
  if (frames === 1) return [0, fragments.length];
  if (fragments.length === frames) return [frame, frame + 1];
  if (fragments.length < frames) return unreadable(`${fragments.length} fragments are too few for ${frames} frames`);
  const table = element.basicOffsetTable ?? [];
  const starts =
    table.length === frames
      ? table.map((offset) => fragments.findIndex((fragment) => fragment.offset === offset))
      : fragments.flatMap(({ position }, i) => (startsPicture(dataSet.byteArray, position) ? [i] : []));
  if (starts.length !== frames || starts.some((s, i) => s < 0 || (i > 0 && s <= starts[i - 1])))
    return unreadable(`${fragments.length} fragments of ${frames} frames cannot be told apart`);
  return [starts[frame], starts[frame + 1] ?? fragments.length];
}

/** Whether bytes begin a JPEG or JPEG-LS picture, or a JPEG 2000 code stream. */
const startsPicture = (bytes: Uint8Array, at: number): boolean =>
  bytes[at] === 0xff && (bytes[at + 1] === 0xd8 || bytes[at + 1] === 0x4f);

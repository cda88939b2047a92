/** Updates of whole numbers, as `pooled` sends them: int32 little-endian, one after the other. */
import { FedError } from '../errors.ts';
import { LITTLE_ENDIAN } from '../little-endian.ts';

const BYTES = 4;

/** [d] -> 4·d bytes, little-endian on every machine. */
export function packInt32(values: Int32Array): Uint8Array {
  return toWire(new Uint8Array(values.slice().buffer));
}

/** The inverse of `packInt32`. @throws {FedError} UPDATE_SHAPE when the bytes are not whole values. */
export function unpackInt32(bytes: Uint8Array): Int32Array {
  if (bytes.byteLength % BYTES !== 0) throw new FedError('UPDATE_SHAPE', `${bytes.byteLength} bytes of int32`);
  // A copy: aligned, whatever the bytes are a view of.
  return new Int32Array(toWire(new Uint8Array(bytes)).buffer);
}

/** Bytes of this machine's words of 32 bits to little-endian ones, and back: in place. */
export function toWire(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (!LITTLE_ENDIAN) Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).swap32();
  return bytes;
}

/** Updates of whole numbers, as `pooled` sends them: int32 little-endian, one after the other. */
import { FedError } from '../errors.ts';

const BYTES = 4;

/** [d] -> 4·d bytes, little-endian on every machine. */
export function packInt32(values: Int32Array): Uint8Array {
  const bytes = new Uint8Array(BYTES * values.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) view.setInt32(BYTES * i, values[i], true);
  return bytes;
}

/** The inverse of `packInt32`. @throws {FedError} UPDATE_SHAPE when the bytes are not whole values. */
export function unpackInt32(bytes: Uint8Array): Int32Array {
  if (bytes.byteLength % BYTES !== 0) throw new FedError('UPDATE_SHAPE', `${bytes.byteLength} bytes of int32`);
  const values = new Int32Array(bytes.byteLength / BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < values.length; i++) values[i] = view.getInt32(BYTES * i, true);
  return values;
}

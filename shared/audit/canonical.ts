import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { FedError } from '../errors.ts';
import { LITTLE_ENDIAN } from '../little-endian.ts';

/**
 * The one byte form of a JSON value (RFC 8785): what is hashed, signed and logged.
 * @throws {FedError} PARAMETER_INVALID for what JSON cannot say (undefined, NaN, Infinity, a cycle).
 */
export function canonicalJson(value: unknown): string {
  let text: string | undefined;
  try {
    text = canonicalize(value);
  } catch (cause) {
    throw new FedError('PARAMETER_INVALID', 'value has no canonical JSON form', { cause });
  }
  if (text === undefined) throw new FedError('PARAMETER_INVALID', 'undefined has no canonical JSON form');
  return text;
}

/** SHA-256 of bytes (a string counts as UTF-8), as lower-case hexadecimal. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** SHA-256 of a value's canonical JSON. */
export function hashJson(value: unknown): string {
  return sha256Hex(canonicalJson(value));
}

/** SHA-256 of float64 values as little-endian bytes: the digest of a sum, the same on every machine. */
export function sumDigest(values: Float64Array): string {
  if (LITTLE_ENDIAN) return sha256Hex(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return sha256Hex(Buffer.from(values.slice().buffer).swap64());
}

/**
 * DICOM identifiers of synthetic images: UUIDs under 2.25, worked out from a release and a name, so that nothing of a
 * patient, a hospital or a clock is in them, and the same release has the same ones. @see DICOM PS3.5, section B.2
 */
import { createHash } from 'node:crypto';

/**
 * @param release - digest that names the release; @param name - what within it.
 * @returns at most 44 characters: 2.25. and a UUID of version 8 (RFC 9562, section 5.8) as one decimal number.
 */
export function syntheticUid(release: string, name: string): string {
  const bytes = createHash('sha256').update(`veilgan uid v1\0${release}\0${name}`).digest().subarray(0, 16);
  bytes[6] = (bytes[6] & 0x0f) | 0x80;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return `2.25.${BigInt(`0x${bytes.toString('hex')}`)}`;
}

/** Whether bytes look like bytes that say nothing: the test of a mask or of a cipher, as far as a histogram can tell. */
import { logNormalCdf } from '../dp/special.ts';

export interface UniformVerdict {
  readonly bytes: number;
  /** Of the histogram of byte values against the uniform one: 255 degrees of freedom. */
  readonly chiSquare: number;
  /** Chance of a histogram as uneven as this under uniform bytes. */
  readonly pValue: number;
}

/** Rarer than this: not uniform. */
export const UNIFORM_LEVEL = 1e-6;

export function judgeUniform(bytes: Uint8Array): UniformVerdict {
  const counts = new Float64Array(256);
  for (const b of bytes) counts[b] += 1;
  const expected = bytes.length / 256;
  const chiSquare = counts.reduce((sum, c) => sum + (c - expected) ** 2 / expected, 0);
  return { bytes: bytes.length, chiSquare, pValue: chiSquareTail(chiSquare, 255) };
}

/** Wilson and Hilferty 1931: the cube root of chi-square over its degrees is nearly normal; good to a few per cent here. */
function chiSquareTail(x: number, degrees: number): number {
  const share = 2 / (9 * degrees);
  const z = (Math.cbrt(x / degrees) - (1 - share)) / Math.sqrt(share);
  return Math.exp(logNormalCdf(-z));
}

import { FedError } from '../errors.ts';
import { toBytes } from '../imaging/images.ts';

const LEVELS = 256;

/**
 * Distance of two sets' histograms of pixel intensity, all pixels of a set together: the 1-Wasserstein distance, which is
 * by how many grey levels the average pixel has to move. It knows nothing of where a pixel is: shuffled images pass.
 *
 * @param a - values in [-1, 1]; @param b - values in [-1, 1]; read as 256 grey levels.
 * @returns in grey levels, 0 to 255. @throws {FedError} PARAMETER_INVALID when a set is empty.
 * @see Rubner, Tomasi and Guibas 2000, IJCV 40(2), 99-121; in one dimension Σ |F(x) - G(x)|
 */
export function intensityDistance(a: Float32Array, b: Float32Array): number {
  const [p, q] = [histogram(a), histogram(b)];
  let [ahead, moved] = [0, 0];
  for (let level = 0; level < LEVELS; level++) {
    ahead += p[level] - q[level];
    moved += Math.abs(ahead);
  }
  return moved;
}

/** Share of the values at each grey level. */
function histogram(values: Float32Array): Float64Array {
  if (values.length === 0) throw new FedError('PARAMETER_INVALID', 'a set without pixels has no histogram');
  const counts = new Float64Array(LEVELS);
  for (const byte of toBytes(values)) counts[byte]++;
  return counts.map((count) => count / values.length);
}

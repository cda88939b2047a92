import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { PublicRandom } from '../public-random.ts';
import { innerProducts, rowsOf } from './distance-blocks.ts';
import { meanAndStd } from './statistics.ts';

/** A kernel distance with its spread. */
export interface KernelDistance {
  /** Mean over the blocks. Unbiased: about zero for two samples of one distribution, and then below zero half the time. */
  readonly value: number;
  /** Standard deviation of one block's estimate, 0 of a single block; blocks share images, so it is not that of the mean. */
  readonly std: number;
  readonly blocks: number;
  readonly blockSize: number;
}

/**
 * Squared maximum mean discrepancy under the cubic kernel (x·y / d + 1)³, unbiased, over random blocks of both sets.
 *
 * The name KID belongs to Inception features; on others it is "kernel distance on …".
 *
 * @param a - [n, d] row-major. @param b - [m, d] row-major. @param options.seed - of the blocks; public.
 * @throws {FedError} PARAMETER_INVALID when a set has fewer than two rows, or no block is wanted.
 * @see Bińkowski et al. 2018, section 4 and appendix, https://arxiv.org/abs/1801.01401; blocks as in the authors'
 *   mbinkowski/MMD-GAN, gan/compute_scores.py, polynomial_mmd_averages
 */
export async function kernelDistance(
  engine: Engine,
  a: Float32Array,
  b: Float32Array,
  d: number,
  options: { seed: string; blocks?: number; blockSize?: number; progress?: (share: number) => void },
): Promise<KernelDistance> {
  const [n, m] = [rowsOf(a, d), rowsOf(b, d)];
  const size = Math.min(options.blockSize ?? 1000, n, m);
  if (size < 2) throw new FedError('PARAMETER_INVALID', 'a kernel distance wants two rows of each set');
  // Both sets whole make one block; a second would be the same.
  const blocks = size === n && size === m ? 1 : (options.blocks ?? 50);
  if (!(blocks >= 1)) throw new FedError('PARAMETER_INVALID', `${blocks} blocks`);
  const random = new PublicRandom(`kernel distance ${options.seed}`);
  const program = await innerProducts(engine, size, size, d);
  const cubic = (dot: number): number => {
    const k = dot / d + 1;
    return k * k * k;
  };
  const total = async (x: Float32Array, y: Float32Array, diagonal: boolean) => {
    const { dots } = await program.run({ x, y });
    let sum = 0;
    for (let at = 0; at < dots.length; at++) sum += cubic(dots[at]);
    if (diagonal) return sum / size ** 2;
    for (let i = 0; i < size; i++) sum -= cubic(dots[i * (size + 1)]);
    return sum / (size * (size - 1));
  };
  const values: number[] = [];
  try {
    for (let k = 0; k < blocks; k++) {
      const [x, y] = [pick(a, d, random.permutation(n), size), pick(b, d, random.permutation(m), size)];
      values.push((await total(x, x, false)) + (await total(y, y, false)) - 2 * (await total(x, y, true)));
      options.progress?.((k + 1) / blocks);
    }
  } finally {
    await program.dispose();
  }
  const { mean, std } = meanAndStd(values);
  return { value: mean, std, blocks, blockSize: size };
}

/** The first `size` rows in the given order. */
function pick(rows: Float32Array, d: number, order: Int32Array, size: number): Float32Array {
  const out = new Float32Array(size * d);
  for (let i = 0; i < size; i++) out.set(rows.subarray(order[i] * d, (order[i] + 1) * d), i * d);
  return out;
}

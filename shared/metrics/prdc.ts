import type { Engine } from '../engine/program.ts';
import { FedError } from '../errors.ts';
import { eachDistance, exactSquare } from './distance-blocks.ts';
import { nearestNeighbours } from './neighbours.ts';

/** All in [0, 1], but density, which may exceed 1. */
export interface Prdc {
  /** Share of synthetic images inside the neighbourhood of some real one. One outlier among the real ones swells it. */
  readonly precision: number;
  /** Share of real images inside the neighbourhood of some synthetic one. */
  readonly recall: number;
  /** Real neighbourhoods that a synthetic image lies in, over k: precision that outliers do not swell; 1 is ideal. */
  readonly density: number;
  /** Share of real images with a synthetic one in their neighbourhood: recall that outliers do not swell. */
  readonly coverage: number;
}

/**
 * Precision, recall, density and coverage of `fake` against `real`, by k nearest neighbours in Euclidean distance. Exact:
 * a distance too close to a radius for single precision is measured again in double.
 *
 * Differs from the authors' code in counting a distance equal to a radius as inside, which matters for copies alone.
 *
 * @param real - [n, d] row-major. @param fake - [m, d] row-major.
 * @param k - neighbours; 5 as in the paper.
 * @throws {FedError} PARAMETER_INVALID unless both sets hold more than k rows.
 * @see Naeem et al. 2020, https://arxiv.org/abs/2002.09797, sections 2.2 and 3.1; precision and recall:
 *   Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, section 2
 */
export async function prdc(
  engine: Engine,
  real: Float32Array,
  fake: Float32Array,
  d: number,
  k = 5,
  progress?: (share: number) => void,
): Promise<Prdc> {
  const [n, m] = [real.length / d, fake.length / d];
  if (!(n > k && m > k)) throw new FedError('PARAMETER_INVALID', `prdc wants more than ${k} rows, got ${n} and ${m}`);
  const part = (from: number) => (share: number) => progress?.((from + share) / 3);
  const realRadius = await squaredRadii(engine, real, d, k, part(0));
  const fakeRadius = await squaredRadii(engine, fake, d, k, part(1));
  const inside = new Int32Array(m);
  // A strip's rows are seen block by block: what is known of a real image is kept with it.
  const recalled = new Uint8Array(n);
  const covered = new Uint8Array(n);
  await eachDistance(
    engine,
    real,
    fake,
    d,
    (i, first, count, squares, bound) => {
      const radius = realRadius[i];
      for (let c = 0; c < count; c++) {
        const j = first + c;
        let square = squares[c];
        // Surely outside both neighbourhoods: nearly all are.
        if (square > radius + bound && (recalled[i] === 1 || square > fakeRadius[j] + bound)) continue;
        if (Math.abs(square - radius) <= bound || (recalled[i] === 0 && Math.abs(square - fakeRadius[j]) <= bound))
          square = exactSquare(real, i, fake, j, d);
        if (square <= radius) {
          inside[j]++;
          covered[i] = 1;
        }
        if (square <= fakeRadius[j]) recalled[i] = 1;
      }
    },
    part(2),
  );
  let [precise, dense] = [0, 0];
  for (const times of inside) {
    precise += Number(times > 0);
    dense += times;
  }
  const share = (flags: Uint8Array) => flags.reduce((sum, flag) => sum + flag, 0) / n;
  return { precision: precise / m, recall: share(recalled), density: dense / (k * m), coverage: share(covered) };
}

/** Squared distance of each row to its k-th nearest other row. */
async function squaredRadii(
  engine: Engine,
  rows: Float32Array,
  d: number,
  k: number,
  progress: (share: number) => void,
): Promise<Float64Array> {
  const { indices } = await nearestNeighbours(engine, rows, rows, d, { k, withinOneSet: true, progress });
  return Float64Array.from({ length: rows.length / d }, (_, i) =>
    exactSquare(rows, i, rows, indices[i * k + k - 1], d),
  );
}

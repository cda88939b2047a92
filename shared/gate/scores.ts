/**
 * How near one patient's images are to the synthetic ones: a function of that patient and of public images alone, so
 * that sums over patients have a bounded sensitivity. Pixels are compared, so a copy that is shifted or turned is missed.
 */
import type { Engine } from '../engine/program.ts';
import { imageAt, type LabelledImages, selectImages, valuesPerImage } from '../imaging/images.ts';
import { nearestNeighbours } from '../metrics/neighbours.ts';
import { quantiles } from '../metrics/statistics.ts';
import { PublicRandom } from '../public-random.ts';

/** What one patient is to the synthetic images. Private. */
export interface PatientScore {
  /** Whether an image of the patient's has a copy among them. */
  readonly copied: boolean;
  /** In [-1, 1]: 1 on a synthetic image, -1 at the usual distance of two of them or further; NaN where it cannot be told. */
  readonly nearness: number;
}

/** The synthetic images of one class, and how far two of them usually are from one another. */
interface ClassOfImages {
  /** [n, d] */
  readonly rows: Float32Array;
  readonly usual: number;
}

/** Pairs that a usual distance is the median of. */
const PAIRS = 1000;
/** Images that are searched at once: what a site with many holds twice. */
const CHUNK = 2048;

/** Measures patients against one set of synthetic images, whose classes must not all be empty. */
export class Nearness {
  readonly #engine: Engine;
  readonly #d: number;
  readonly #classes: readonly ClassOfImages[];
  readonly #distance: number;

  /** @param distance - what counts as a copy, in usual distances. */
  constructor(engine: Engine, synthetic: LabelledImages, distance: number) {
    this.#engine = engine;
    this.#d = valuesPerImage(synthetic);
    this.#distance = distance;
    this.#classes = synthetic.classNames.flatMap((name, k) => {
      const members = [...synthetic.labels.keys()].filter((i) => synthetic.labels[i] === k);
      if (members.length === 0) return [];
      const { pixels: rows } = selectImages(synthetic, members);
      return [{ rows, usual: usualDistance(rows, this.#d, name) }];
    });
  }

  /**
   * @param images - of a site. @param patients - rows of each patient that count; at least one each.
   * @returns one score a patient.
   */
  async scores(images: LabelledImages, patients: readonly (readonly number[])[]): Promise<PatientScore[]> {
    const rows = patients.flat();
    const ratios = new Float64Array(rows.length);
    for (let at = 0; at < rows.length; at += CHUNK)
      ratios.set(await this.#ratios(images, rows.slice(at, at + CHUNK)), at);
    let next = 0;
    return patients.map((own) => {
      const nearest = Math.min(...ratios.subarray(next, (next += own.length)));
      // What is no number is no proof of a distance.
      return { copied: !(nearest > this.#distance), nearness: 1 - 2 * Math.min(1, nearest) };
    });
  }

  /** Of each image, the least distance to a synthetic one, over what is usual in that one's class. */
  async #ratios(images: LabelledImages, rows: readonly number[]): Promise<Float64Array> {
    const queries = new Float32Array(rows.length * this.#d);
    rows.forEach((row, i) => queries.set(imageAt(images, row), i * this.#d));
    const least = new Float64Array(rows.length).fill(Infinity);
    for (const { rows: synthetic, usual } of this.#classes) {
      const { distances } = await nearestNeighbours(this.#engine, queries, synthetic, this.#d);
      // A class that is one image again and again has no usual distance; lying on that image is a copy all the same.
      distances.forEach((distance, i) => (least[i] = Math.min(least[i], distance === 0 ? 0 : distance / usual)));
    }
    queries.fill(0);
    return least;
  }
}

/** Median Euclidean distance of random pairs, by public draws; 0 for a single image. */
function usualDistance(rows: Float32Array, d: number, seed: string): number {
  const n = rows.length / d;
  if (n < 2) return 0;
  const random = new PublicRandom(`usual distance ${seed}`);
  const [first, step] = [random.integers(PAIRS, n), random.integers(PAIRS, n - 1)];
  const distances = Float64Array.from(first, (i, k) => {
    const j = (i + 1 + step[k]) % n;
    let sum = 0;
    for (let c = 0; c < d; c++) sum += (rows[i * d + c] - rows[j * d + c]) ** 2;
    return Math.sqrt(sum);
  });
  return quantiles(distances, [0.5])[0];
}

import { FedError } from '../errors.ts';
import { imageAt, type LabelledImages, valuesPerImage } from '../imaging/images.ts';
import { PublicRandom } from '../public-random.ts';
import { meanAndStd } from './statistics.ts';

/** Exponents of the scales, finest first, as Wang, Simoncelli and Bovik fitted them to people's judgement. */
const WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
const WINDOW = 11;
const SIGMA = 1.5;
/** Pixels are in [-1, 1], and moved to [0, 2]. */
const RANGE = 2;
const DARKEST = -1;
const C1 = (0.01 * RANGE) ** 2;
const C2 = (0.03 * RANGE) ** 2;

const GAUSSIAN = (() => {
  const taps = Array.from({ length: WINDOW }, (_, i) => Math.exp(-((i - WINDOW / 2 + 0.5) ** 2) / (2 * SIGMA ** 2)));
  const sum = taps.reduce((a, b) => a + b, 0);
  return Float64Array.from(taps, (tap) => tap / sum);
})();

/**
 * How many of the five scales an image has room for: each must hold the window of 11 pixels, and be half of one of even
 * size. 2 at 28 and 32 pixels (28 and 14; 32 and 16), 3 at 64, all five from 176 on.
 */
export function scalesOf(size: number): number {
  let scales = 0;
  for (let s = size; s >= WINDOW && scales < WEIGHTS.length; s /= 2) {
    scales++;
    if (s % 2 !== 0) break;
  }
  return scales;
}

/**
 * Multi-scale structural similarity of two images, 1 for equal ones; channels one by one, averaged.
 *
 * Images too small for five scales get those that fit, with the exponents of the scales that are left divided by their
 * sum. Figures of 28-pixel images therefore compare with each other alone, never with published ones. A structure that is
 * opposite counts as 0, as in TensorFlow's ssim_multiscale.
 *
 * The luminance term is defined for images that are nowhere negative (Wang et al. 2004, section III.B), so pixels count from
 * black: around a mean of zero it would call two greys a hair apart opposite.
 *
 * @param a - [channels, size, size] in [-1, 1]. @param b - the same.
 * @throws {FedError} PARAMETER_INVALID below 11 pixels.
 * @see Wang, Simoncelli and Bovik 2003, equation 7, https://doi.org/10.1109/ACSSC.2003.1292216
 */
export function msSsim(a: Float32Array, b: Float32Array, shape: Pick<LabelledImages, 'channels' | 'size'>): number {
  const scales = scalesOf(shape.size);
  if (scales === 0) throw new FedError('PARAMETER_INVALID', `${shape.size} pixels hold no window of ${WINDOW}`);
  const weights = WEIGHTS.slice(0, scales);
  const sum = weights.reduce((x, y) => x + y, 0);
  let mean = 0;
  for (let c = 0; c < shape.channels; c++) {
    let size = shape.size;
    let [x, y]: Float64Array[] = [a, b].map((image) =>
      Float64Array.from(image.subarray(c * size * size, (c + 1) * size * size), (pixel) => pixel - DARKEST),
    );
    let product = 1;
    for (let s = 0; s < scales; s++) {
      const { ssim, contrast } = similarity(x, y, size);
      product *= Math.max(0, s === scales - 1 ? ssim : contrast) ** (weights[s] / sum);
      if (s < scales - 1) [x, y, size] = [halved(x, size), halved(y, size), size / 2];
    }
    mean += product / shape.channels;
  }
  return mean;
}

/** Mean over all places of the window: luminance times contrast and structure, and the latter two alone. */
function similarity(x: Float64Array, y: Float64Array, size: number): { ssim: number; contrast: number } {
  const [mx, my] = [blurred(x, size), blurred(y, size)];
  const square = (p: Float64Array, q: Float64Array) => {
    const out = new Float64Array(p.length);
    for (let i = 0; i < out.length; i++) out[i] = p[i] * q[i];
    return blurred(out, size);
  };
  const [xx, yy, xy] = [square(x, x), square(y, y), square(x, y)];
  let [ssim, contrast] = [0, 0];
  for (let i = 0; i < mx.length; i++) {
    const [mean2, means] = [mx[i] * my[i], mx[i] * mx[i] + my[i] * my[i]];
    const cs = (2 * (xy[i] - mean2) + C2) / (xx[i] + yy[i] - means + C2);
    contrast += cs;
    ssim += (cs * (2 * mean2 + C1)) / (means + C1);
  }
  return { ssim: ssim / mx.length, contrast: contrast / mx.length };
}

/** The Gaussian window at every place where all of it lies inside: [size - 10, size - 10]. */
function blurred(image: Float64Array, size: number): Float64Array {
  const inner = size - WINDOW + 1;
  const rows = new Float64Array(size * inner);
  for (let r = 0; r < size; r++)
    for (let c = 0; c < inner; c++) {
      let sum = 0;
      for (let k = 0; k < WINDOW; k++) sum += GAUSSIAN[k] * image[r * size + c + k];
      rows[r * inner + c] = sum;
    }
  const out = new Float64Array(inner * inner);
  for (let r = 0; r < inner; r++)
    for (let c = 0; c < inner; c++) {
      let sum = 0;
      for (let k = 0; k < WINDOW; k++) sum += GAUSSIAN[k] * rows[(r + k) * inner + c];
      out[r * inner + c] = sum;
    }
  return out;
}

/** Means of 2 × 2 pixels. */
function halved(image: Float64Array, size: number): Float64Array {
  const half = size / 2;
  const out = new Float64Array(half * half);
  for (let r = 0; r < half; r++)
    for (let c = 0; c < half; c++) {
      const at = 2 * r * size + 2 * c;
      out[r * half + c] = (image[at] + image[at + 1] + image[at + size] + image[at + size + 1]) / 4;
    }
  return out;
}

/** How alike images of one class are among themselves. */
export interface ClassSimilarity {
  readonly name: string;
  /** Mean MS-SSIM of pairs; NaN where a class has fewer than two images. Near 1: one picture again and again. */
  readonly similarity: number;
  /**
   * Of that mean, at most: pairs share images, so few images say little however many pairs are drawn. NaN of two images,
   * which make one pair.
   */
  readonly standardError: number;
  readonly pairs: number;
}

/**
 * Mean MS-SSIM of random pairs of different images within each class: a measure of diversity that sees a collapse within a
 * class, which accuracy and class balance do not. Only beside the same figure of real images does it mean anything.
 *
 * @param options.pairs - a class; 200 when left out. @param options.seed - of the pairs; public.
 * @throws {FedError} PARAMETER_INVALID when pixels are not one row an image, or no pair is wanted.
 * @see Odena, Olah and Shlens 2017, section 4.2, https://arxiv.org/abs/1610.09585; for the standard error Hoeffding 1948,
 *   theorem 5.2, Ann. Math. Statist. 19(3), 293-325: the mean of all pairs of n images varies by no more than 2 / n of what a pair does
 */
export function withinClassSimilarity(
  images: LabelledImages,
  options: { readonly seed: string; readonly pairs?: number },
): ClassSimilarity[] {
  const { pairs = 200, seed } = options;
  if (images.pixels.length !== images.n * valuesPerImage(images))
    throw new FedError('PARAMETER_INVALID', 'pixels are not one row an image');
  if (!(pairs >= 1)) throw new FedError('PARAMETER_INVALID', `${pairs} pairs of a class`);
  return images.classNames.map((name, label) => {
    const members = [...images.labels.keys()].filter((i) => images.labels[i] === label);
    if (members.length < 2) return { name, similarity: NaN, standardError: NaN, pairs: 0 };
    const random = new PublicRandom(`pairs of ${name} ${seed}`);
    const first = random.integers(pairs, members.length);
    const further = random.integers(pairs, members.length - 1);
    const values = Float64Array.from(first, (i, k) => {
      const j = (i + 1 + further[k]) % members.length;
      return msSsim(imageAt(images, members[i]), imageAt(images, members[j]), images);
    });
    const { mean, std } = meanAndStd(values);
    // The pairs of one set differ by (1 - 2 / n) of the variance of any two, at least: hence n - 2.
    const standardError = members.length > 2 ? std * Math.sqrt(1 / pairs + 2 / (members.length - 2)) : NaN;
    return { name, similarity: mean, standardError, pairs };
  });
}

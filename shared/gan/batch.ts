/**
 * Batches of fakes: latent vectors and labels, all public. Nothing here takes a real image or a real label, so fakes can
 * copy neither.
 */
import { FedError } from '../errors.ts';
import { PublicRandom } from '../public-random.ts';

/** What a batch of fakes is generated from. */
export interface FakeInputs {
  /** [n, latent], independent N(0, 1). */
  readonly latents: Float32Array;
  /** [n], class of each. */
  readonly labels: Int32Array;
}

/**
 * @param distribution - probability of each class: public, from the policy.
 * @param seed - public; the same seed gives the same batch on every machine.
 */
export function drawFakeInputs(n: number, latent: number, distribution: readonly number[], seed: string): FakeInputs {
  const draws = new PublicRandom(`fakes ${seed}`);
  return { labels: draws.categorical(n, distribution), latents: draws.gaussians(n * latent) };
}

/**
 * [n, latent] for images whose labels are chosen already.
 * @param classes - how many there are; the draws are those behind an even batch of fakes.
 */
export const drawLatents = (n: number, latent: number, classes: number, seed: string): Float32Array =>
  drawFakeInputs(n, latent, Array<number>(classes).fill(1 / classes), seed).latents;

/** [n] to [n, classes], zero but for a one at each label. @throws {FedError} PARAMETER_INVALID on a label out of range. */
export function oneHot(labels: Int32Array, classes: number): Float32Array {
  const rows = new Float32Array(labels.length * classes);
  labels.forEach((label, i) => {
    if (!(label >= 0 && label < classes)) throw new FedError('PARAMETER_INVALID', `label ${label} of ${classes}`);
    rows[i * classes + label] = 1;
  });
  return rows;
}

/** How a site's part of the generator's objective is drawn and weighted; every number here is public. */
export interface ClassWeights {
  /** Probability of each class among this site's fakes: 0 where it declares none. */
  readonly distribution: readonly number[];
  /** What the loss of a fake of each class is multiplied by. */
  readonly weights: readonly number[];
}

/**
 * A site sees the classes it declares, and no other: a discriminator that never saw a class calls all its fakes fake.
 *
 * Guarantee: summed over sites, the expected gradient is that of Σ over declared classes c of distribution[c] × the mean
 * over the declarers of c of their loss on class c.
 *
 * @param declared - classes of this site.
 * @param declarers - how many invited sites declare each class.
 * @throws {FedError} PARAMETER_INVALID when a site declares nothing that is drawn, or a class that nobody declares.
 */
export function classWeights(
  distribution: readonly number[],
  declared: readonly number[],
  declarers: readonly number[],
): ClassWeights {
  const mine = distribution.map((p, c) => (declared.includes(c) ? p : 0));
  const total = mine.reduce((sum, p) => sum + p, 0);
  if (!(total > 0)) throw new FedError('PARAMETER_INVALID', `no class among ${declared.join()} is drawn`);
  const weights = mine.map((p, c) => {
    if (p > 0 && !(declarers[c] > 0)) throw new FedError('PARAMETER_INVALID', `nobody declares class ${c}`);
    return p > 0 ? total / declarers[c] : 0;
  });
  return { distribution: mine.map((p) => p / total), weights };
}

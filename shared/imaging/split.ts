import { createHash } from 'node:crypto';
import { FedError } from '../errors.ts';
import { groupByPatient, imageAt, type LabelledImages, selectImages } from './images.ts';
import { type Seeded, seeded } from './seeded.ts';

/**
 * How patients are dealt to sites in a demo or simulation: evenly; by Dirichlet(alpha) shares per class (smaller is more
 * skewed; 0.5 is common); or so that site s never sees class s mod the number of classes.
 */
export type Skew = { kind: 'iid' } | { kind: 'dirichlet'; alpha: number } | { kind: 'missing-class' };

export interface SiteSplit {
  readonly sites: readonly LabelledImages[];
  /** Patients at no site, declared public: what a demo evaluates on. */
  readonly test: LabelledImages;
}

/**
 * Deals patients, never single images, to `sites` sites after holding out a test part.
 *
 * Guarantee: every image is in exactly one part, no patient is in two, and the same seed gives the same split.
 * A patient counts for the class of their first image. Meant for phantoms and public sets: the shares follow
 * the labels, so that on private data the split itself would be a release.
 *
 * @param p.testFraction - of the patients of each class, rounded.
 * @throws {FedError} PARAMETER_INVALID; DATASET_INVALID when a site would have no patient.
 */
export function splitBySite(
  images: LabelledImages,
  p: { sites: number; seed: string; skew?: Skew; testFraction?: number },
): SiteSplit {
  const { sites, seed, skew = { kind: 'iid' }, testFraction = 0 } = p;
  if (!(Number.isInteger(sites) && sites >= 1)) throw new FedError('PARAMETER_INVALID', `sites=${sites}`);
  if (!(testFraction >= 0 && testFraction < 1)) throw new FedError('PARAMETER_INVALID', `testFraction=${testFraction}`);
  if (skew.kind === 'dirichlet' && !(skew.alpha > 0)) throw new FedError('PARAMETER_INVALID', `alpha=${skew.alpha}`);
  if (skew.kind === 'missing-class' && sites < 2)
    throw new FedError('PARAMETER_INVALID', 'missing-class needs two sites');

  const random = seeded(`split\0${seed}`);
  const ofClass: (readonly number[])[][] = images.classNames.map(() => []);
  for (const patient of groupByPatient(images)) ofClass[images.labels[patient.images[0]]].push(patient.images);

  const test: number[] = [];
  const parts: number[][] = Array.from({ length: sites }, () => []);
  ofClass.forEach((patients, c) => {
    const order = random.fork(`class ${c}`).shuffled(patients);
    const held = Math.round(order.length * testFraction);
    test.push(...order.slice(0, held).flat());
    const rest = order.slice(held);
    const ends = shareEnds(
      rest.length,
      classShares(skew, c, images.classNames.length, sites, random.fork(`shares ${c}`)),
    );
    ends.forEach((end, s) => parts[s].push(...rest.slice(s === 0 ? 0 : ends[s - 1], end).flat()));
  });
  const empty = parts.findIndex((part) => part.length === 0);
  if (empty >= 0) throw new FedError('DATASET_INVALID', `site ${empty} of ${sites} would have no patient`);
  const ascending = (part: number[]) =>
    selectImages(
      images,
      part.toSorted((a, b) => a - b),
    );
  return { sites: parts.map(ascending), test: ascending(test) };
}

/** [sites] shares of one class, at least 0, summing to 1. */
function classShares(skew: Skew, c: number, classes: number, sites: number, random: Seeded): number[] {
  const shares = Array.from({ length: sites }, (_, s) => {
    if (skew.kind === 'dirichlet') return random.gamma(skew.alpha);
    return skew.kind === 'missing-class' && s % classes === c ? 0 : 1;
  });
  const sum = shares.reduce((a, b) => a + b, 0);
  // One class and every site missing it, or an alpha so small that all draws underflow: deal evenly.
  return sum > 0 ? shares.map((x) => x / sum) : shares.map(() => 1 / sites);
}

/** Where each site's run of `n` patients ends; the rounding errors do not add up. */
function shareEnds(n: number, shares: readonly number[]): number[] {
  let sum = 0;
  return shares.map((share) => Math.round((sum += share) * n - 1e-9));
}

/**
 * Leaves out every image whose pixels repeat an earlier one's, whatever its label: the copy that stays is the first.
 * Do this before a split, or the same picture is at two sites and in the test part.
 */
export function dropDuplicates(images: LabelledImages): { images: LabelledImages; dropped: number[] } {
  const seen = new Set<string>();
  const keep: number[] = [];
  const dropped: number[] = [];
  for (let i = 0; i < images.n; i++) {
    const digest = createHash('sha256').update(imageAt(images, i)).digest('base64');
    (seen.has(digest) ? dropped : keep).push(i);
    seen.add(digest);
  }
  return dropped.length === 0 ? { images, dropped } : { images: selectImages(images, keep), dropped };
}

/**
 * Gives every `size` consecutive images of a class one made-up patient, for trying out per-patient privacy on sets
 * that name no patients. The result says nothing about real patients, and whoever shows it must say so.
 */
export function groupAsPatients(images: LabelledImages, size: number): LabelledImages {
  if (!(Number.isInteger(size) && size >= 1)) throw new FedError('PARAMETER_INVALID', `size=${size}`);
  const seen = new Int32Array(images.classNames.length);
  const patients = Array.from(images.labels, (c) => `made-up-${c}-${Math.floor(seen[c]++ / size)}`);
  return { ...images, patients };
}

/** Which pictures a study asks about. Pure: the same sets and seed, the same pictures. */
import { createHash } from 'node:crypto';
import { FedError } from '../../shared/errors.ts';
import { imageAt, type LabelledImages, toBytes } from '../../shared/imaging/images.ts';
import { encodePng, interleave } from '../../shared/imaging/png.ts';
import { seeded, type Seeded } from '../../shared/imaging/seeded.ts';
import { type Item, itemId, type Kind, type Study } from './study.ts';

/** The sets that pictures are taken of; without real ones, nobody is asked which are. */
export interface StudySets {
  readonly synthetic: LabelledImages;
  readonly real?: LabelledImages;
}

export interface Choice {
  readonly items: Item[];
  /** Pictures of each kind and class, in the order of classes. */
  readonly perClass: readonly number[];
}

/**
 * Takes as many of each class from both sets, so that no class is commoner among the real ones than among the others, and at
 * most one image of a patient.
 *
 * @param p.count - of each kind, in all; fewer where a class has fewer.
 * @param p.practice - of each kind, beyond those.
 * @throws {FedError} DATASET_INVALID when no class is in both sets.
 */
export function chooseItems(
  sets: StudySets,
  p: { readonly count: number; readonly practice: number; readonly seed: string; readonly secret: string },
): Choice {
  const random = seeded(`study items ${p.seed}`);
  const stacks = present(sets).map(([kind, images]) => [kind, stackByClass(images, random.fork(kind))] as const);
  const available = sets.synthetic.classNames.map((_, k) => Math.min(...stacks.map(([, stack]) => stack[k].length)));
  const perClass = evenQuotas(available, p.count, random.fork('scored'));
  if (perClass.every((n) => n === 0)) throw new FedError('DATASET_INVALID', 'no class has pictures in both sets');
  const left = available.map((n, k) => n - perClass[k]);
  const practice = evenQuotas(left, p.practice, random.fork('practice'));
  const items = stacks.flatMap(([kind, stack]) =>
    stack.flatMap((indices, label) =>
      indices.slice(0, perClass[label] + practice[label]).map((index, i) => ({
        id: itemId(p.secret, kind, index),
        kind,
        label,
        index,
        pixelsSha256: digestOf(shownBytes(sets[kind]!, index)),
        practice: i >= perClass[label],
      })),
    ),
  );
  return { items: items.toSorted((a, b) => (a.id < b.id ? -1 : 1)), perClass };
}

const present = (sets: StudySets): [Kind, LabelledImages][] => [
  ['synthetic', sets.synthetic],
  ...(sets.real === undefined ? [] : ([['real', sets.real]] as [Kind, LabelledImages][])),
];

/** Images of each class in random order, the first that is met of each patient alone. */
function stackByClass(images: LabelledImages, random: Seeded): number[][] {
  const stacks = images.classNames.map((): number[] => []);
  const met = new Set<string>();
  for (const i of random.shuffled(Array.from({ length: images.n }, (_, k) => k))) {
    if (met.has(images.patients[i])) continue;
    met.add(images.patients[i]);
    stacks[images.labels[i]].push(i);
  }
  return stacks;
}

/** Splits `count` as evenly as the classes allow; what does not divide goes to classes by lot. */
export function evenQuotas(available: readonly number[], count: number, random: Seeded): number[] {
  const quotas = available.map(() => 0);
  for (let left = count; left > 0;) {
    const open = random.shuffled([...available.keys()].filter((k) => quotas[k] < available[k]));
    if (open.length === 0) break;
    for (const k of open.slice(0, left)) quotas[k]++;
    left -= Math.min(left, open.length);
  }
  return quotas;
}

/** [size, size, channels], the very bytes a reader sees: both kinds go this one way. */
const shownBytes = (images: LabelledImages, index: number): Uint8Array =>
  interleave(toBytes(imageAt(images, index)), images.channels);

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * The pictures of a study as PNG files, by item.
 *
 * Guarantee: all have the same number of bytes, and differ in nothing but pixels and their checksums.
 * @throws {FedError} STUDY_DIFFERS when a set does not hold what it held when the study was begun.
 */
export function picturesOf(study: Study, sets: StudySets): Map<string, Buffer> {
  const pictures = new Map<string, Buffer>();
  for (const { id, kind, index, pixelsSha256 } of study.items) {
    const images = sets[kind];
    const isThere = images !== undefined && index < images.n && images.size === study.size && images.channels === study.channels; // prettier-ignore
    const bytes = isThere ? shownBytes(images, index) : undefined;
    if (bytes === undefined || digestOf(bytes) !== pixelsSha256)
      throw new FedError('STUDY_DIFFERS', `the ${kind} images are not those it was begun with: give the same files, read in the same way, or begin another in a new folder`); // prettier-ignore
    pictures.set(id, encodePng(bytes, study.size, study.size, study.channels, { packed: false }));
  }
  return pictures;
}

/** What the sites of a demonstration hold: phantoms, each site with a scanner of its own, or a public set dealt out. */
import { setImmediate } from 'node:timers/promises';
import { FedError } from '../../shared/errors.ts';
import {
  concatImages,
  countByClass,
  groupByPatient,
  type LabelledImages,
  selectImages,
  toBytes,
  valuesPerImage,
} from '../../shared/imaging/images.ts';
import { encodeNpy } from '../../shared/imaging/npy.ts';
import { DEFAULT_PHANTOM_CLASSES, phantomImages } from '../../shared/imaging/phantom.ts';
import { interleave } from '../../shared/imaging/png.ts';
import { pickEvenly } from '../../shared/imaging/source.ts';
import { dropDuplicates, type Skew, splitBySite } from '../../shared/imaging/split.ts';
import { encodeNpz } from '../../shared/imaging/write-dataset.ts';
import { readDataset } from '../../site-agent/imaging/read-dataset.ts';

export interface DemoData {
  readonly sites: ReadonlyMap<string, LabelledImages>;
  /** At no site; what is measured and shown. */
  readonly test: LabelledImages;
  /** What pooling all images would give a classifier to learn from; a demonstration's images are public. */
  readonly train: LabelledImages;
  /** False: no patient is named, and the unit of privacy is an image. */
  readonly patientsKnown: boolean;
  /** In two or three words, under a picture. */
  readonly testName: string;
}

export interface DealOptions {
  readonly sites: number;
  readonly skew: Skew;
  readonly seed: string;
}

/** Images a classifier is trained with, at most. */
const TRAIN_AT_MOST = 3000;
const TEST_PATIENTS = 400;
const TEST_FRACTION = 0.2;

export const siteNames = (n: number): string[] => Array.from({ length: n }, (_, i) => `site-${i + 1}`);

/**
 * Draws `patients` phantoms a site, on average, one to four images each.
 *
 * Every site has its own scanner: gain, contrast, sharpness and noise differ. The test set is from one that no site has.
 */
export async function phantomData(
  o: DealOptions & { patients: number; imagesPerPatient: number; progress: (share: number) => void },
): Promise<DemoData> {
  const { seed } = o;
  const shape = { size: 28, channels: 1, imagesPerPatient: [1, o.imagesPerPatient] } as const;
  const counts = dealCounts(o);
  const sites = new Map<string, LabelledImages>();
  for (const [s, site] of siteNames(o.sites).entries()) {
    const parts: LabelledImages[] = [];
    for (const [c, name] of DEFAULT_PHANTOM_CLASSES.entries()) {
      // Drawing takes seconds in all: let a signal, and the bar, in between.
      await setImmediate();
      o.progress((s + c / DEFAULT_PHANTOM_CLASSES.length) / o.sites);
      const patients = counts[s][c];
      if (patients === 0) continue;
      const drawn = phantomImages({ ...shape, patients, classes: [name], seed: `${seed} ${name}`, site });
      const ids = drawn.patients.map((id) => `${name}-${id}`);
      const labels = new Int32Array(drawn.n).fill(c);
      parts.push({ ...drawn, labels, patients: ids, classNames: DEFAULT_PHANTOM_CLASSES });
    }
    sites.set(site, concatImages(parts));
  }
  const test = phantomImages({ ...shape, imagesPerPatient: 1, patients: TEST_PATIENTS, seed: `${seed} test` });
  return { sites, test, train: pooled(sites), patientsKnown: true, testName: 'phantoms' };
}

/** How many patients of each class each site gets. [sites][classes] */
function dealCounts({ sites, skew, seed, patients }: DealOptions & { patients: number }): Int32Array[] {
  const classNames = DEFAULT_PHANTOM_CLASSES;
  const n = sites * patients;
  // Stand-ins without pixels go through the very split that real sets go through.
  const standIns: LabelledImages = {
    n,
    channels: 1,
    size: 28,
    pixels: new Float32Array(),
    labels: Int32Array.from({ length: n }, (_, i) => i % classNames.length),
    classNames,
    patients: Array.from({ length: n }, (_, i) => String(i)),
  };
  return splitBySite(standIns, { sites, skew, seed }).sites.map(countByClass);
}

export interface OwnDataOptions extends DealOptions {
  readonly data: string;
  readonly labels?: string;
  /** Names for label numbers; absent: as the data have them. */
  readonly classes?: readonly string[];
  readonly size: 28 | 32 | 64;
  readonly channels: 1 | 3;
  readonly maxImages: number;
}

/**
 * Reads a public set, holds a fifth of its patients out for the test, and deals the others to the sites.
 * @throws {FedError} DATASET_INVALID
 */
export async function ownData(o: OwnDataOptions): Promise<DemoData> {
  const { size, channels, maxImages } = o;
  const read = await readDataset(o.data, {
    size,
    channels,
    maxImages,
    onBadFile: 'refuse',
    ...(o.labels === undefined ? {} : { labels: o.labels }),
    ...(o.classes === undefined ? {} : { classes: o.classes }),
  });
  const { images } = dropDuplicates(read.images);
  const split = splitBySite(images, { ...o, testFraction: TEST_FRACTION });
  if (split.test.n === 0)
    throw new FedError('DATASET_INVALID', `${images.n} images are too few to hold a test set out`);
  const names = siteNames(o.sites);
  const sites = new Map(split.sites.map((part, i) => [names[i], part]));
  const { patientsKnown } = read;
  return { sites, test: split.test, train: pooled(sites), patientsKnown, testName: 'held out' };
}

function pooled(sites: ReadonlyMap<string, LabelledImages>): LabelledImages {
  const all = concatImages([...sites.values()]);
  return selectImages(all, pickEvenly(all.n, TRAIN_AT_MOST));
}

/** A site's images as the .npz its agent reads: `images`, `labels`, `classes`, and `patients` where they are known. */
export async function siteNpz(images: LabelledImages, patientsKnown: boolean): Promise<Buffer> {
  const { n, size, channels, labels, classNames, patients } = images;
  const d = valuesPerImage(images);
  const bytes = toBytes(images.pixels);
  if (channels === 3) for (let i = 0; i < n; i++) bytes.set(interleave(bytes.slice(i * d, (i + 1) * d), 3), i * d);
  return encodeNpz({
    images: encodeNpy(bytes, channels === 3 ? [n, size, size, 3] : [n, size, size]),
    labels: encodeNpy(labels, [n]),
    classes: encodeNpy(classNames, [classNames.length]),
    ...(patientsKnown ? { patients: encodeNpy(patients, [n]) } : {}),
  });
}

/** What the policy of a demonstration states about a site. Its images are public, so it may be counted. */
export interface SiteFacts {
  readonly siteId: string;
  readonly patients: number;
  readonly classes: readonly string[];
}

export function factsOf(data: DemoData): SiteFacts[] {
  return [...data.sites].map(([siteId, images]) => {
    const counts = countByClass(images);
    const classes = images.classNames.filter((_, k) => counts[k] > 0);
    return { siteId, patients: groupByPatient(images).length, classes };
  });
}

/** Most images of one patient, over all sites. */
export const mostImagesOfAPatient = (data: DemoData): number =>
  Math.max(...[...data.sites.values()].flatMap((s) => groupByPatient(s).map((p) => p.images.length)));

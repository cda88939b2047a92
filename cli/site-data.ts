/** Which images a site command reads, and how. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type BurnedIn, stricterBurnedIn } from '../shared/imaging/recipe-names.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import { imagingKey, patientKeyOf } from '../site-agent/imaging/decode-cache.ts';
import type { DatasetOptions } from '../site-agent/imaging/read-dataset.ts';
import type { LabelTag, Plane } from '../site-agent/imaging/reading-words.ts';

/** How a folder of images is read: what the site's operator says. */
export interface FolderReading {
  readonly labels?: string;
  readonly labelTag?: readonly LabelTag[];
  readonly patientFolders?: boolean;
  readonly burnedIn?: BurnedIn;
  readonly plane?: Plane;
  readonly perFile?: number;
  readonly everyPixel?: boolean;
}

export interface DataOptions extends FolderReading {
  readonly data: string;
  readonly split?: 'train' | 'val' | 'test';
  readonly onBadFile: 'refuse' | 'skip';
  /** False: nothing decoded is kept between starts. */
  readonly cache?: boolean;
}

/** What a site's operator says of a folder, in the words of the reader. @param burnedIn - what the policy says. */
export function folderReading(o: FolderReading, burnedIn?: BurnedIn) {
  return {
    burnedIn: stricterBurnedIn(burnedIn, o.burnedIn),
    ...(o.labels === undefined ? {} : { labels: o.labels }),
    ...(o.labelTag === undefined ? {} : { labelTags: o.labelTag }),
    ...(o.patientFolders === undefined ? {} : { patientFolders: o.patientFolders }),
    ...(o.plane === undefined ? {} : { plane: o.plane }),
    ...(o.perFile === undefined ? {} : { perFile: o.perFile }),
    ...(o.everyPixel === undefined ? {} : { everyPixel: o.everyPixel }),
  };
}

/**
 * Size, channels, classes and recipe come from the policy; where the images lie, from the site's operator. Of burned-in text
 * the stricter of both holds.
 */
export function datasetOptions(policy: CheckedPolicy, o: Omit<DataOptions, 'data'>): DatasetOptions {
  const { imageSize: size, channels, classes } = policy.model;
  return {
    size,
    channels,
    classes,
    onBadFile: o.onBadFile,
    ...folderReading(o, policy.imaging?.burnedIn),
    ...(policy.imaging === undefined ? {} : { recipe: policy.imaging.recipe }),
    ...(o.split === undefined ? {} : { split: o.split }),
  };
}

/**
 * Where a site keeps what it decoded of a folder, and its key, in its own folder. Patients are hashed with that key also
 * where nothing is kept: one who was withdrawn is known again at the next start.
 */
export function decodedCache(
  dir: string,
  o: Pick<DataOptions, 'data' | 'cache'>,
): Pick<DatasetOptions, 'cache'> & { readonly patientKey: Uint8Array } {
  const key = imagingKey(join(dir, 'imaging.key'));
  const patientKey = patientKeyOf(key);
  const isFolder = existsSync(o.data) && statSync(o.data).isDirectory();
  if (o.cache === false || !isFolder) return { patientKey };
  return { patientKey, cache: { path: join(dir, 'images.sqlite'), key } };
}

/** The two sets of a study, read in one way: same size, channels, fit and classes, whatever the files are. */
import { open, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import sharp from 'sharp';
import { isArrayDataset } from '../shared/imaging/array-dataset.ts';
import { FedError } from '../shared/errors.ts';
import { IMAGE_SIZES } from '../shared/imaging/images.ts';
import { npzSource } from '../shared/imaging/npz-source.ts';
import { fileSource } from '../shared/imaging/zip-read.ts';
import { hasRasterExtension } from '../site-agent/imaging/formats.ts';
import { type DatasetOptions, readDataset, readPrivateImages } from '../site-agent/imaging/read-dataset.ts';
import type { StudySets } from '../site-agent/study/choose-items.ts';
import type { Study } from '../site-agent/study/study.ts';
import { readPolicy } from './options.ts';
import { note } from './output.ts';
import { progress } from './progress.ts';
import { byReason } from './site-check.ts';
import { datasetOptions, folderReading } from './site-data.ts';
import type { StudyOptions } from './study.ts';

type Shape = Pick<DatasetOptions, 'size' | 'channels'>;

/** @throws {FedError} PARAMETER_INVALID, DATASET_INVALID */
export async function readSets(o: StudyOptions, known: Study | undefined): Promise<StudySets> {
  const { synthetic } = o;
  if (synthetic === undefined) throw new FedError('PARAMETER_INVALID', 'no images are named: --synthetic');
  const policy = o.policy === undefined ? undefined : readPolicy(o.policy);
  const reading: Partial<DatasetOptions> = policy === undefined ? folderReading(o) : datasetOptions(policy, { ...o, onBadFile: 'skip' }); // prettier-ignore
  const { size, channels } = known ?? (policy ? { size: policy.model.imageSize, channels: policy.model.channels } : await shapeOf(synthetic, o)); // prettier-ignore
  const shape: Shape = { size, channels };
  const classes = known?.classes ?? policy?.model.classes;
  const made = await withBar('synthetic images', (onProgress) =>
    readDataset(synthetic, { ...shape, ...(classes && { classes }), onBadFile: 'refuse', onProgress }),
  );
  if (o.real === undefined) return { synthetic: made.images };
  const real = await withBar(
    'real images',
    (onProgress) =>
    readPrivateImages(o.real!, { ...reading, ...shape, classes: made.images.classNames, onBadFile: 'skip', onProgress, ...(o.split && { split: o.split }) }), // prettier-ignore
  );
  // What is left out may be of one kind: whoever runs the study is to know.
  for (const { reason, files } of byReason(real.bad))
    note(`Left out of the real images, ${files} ${files === 1 ? 'file' : 'files'}: ${reason}`);
  return { synthetic: made.images, real: real.images };
}

async function withBar<T>(
  label: string,
  read: (onProgress: (done: number, of: number) => void) => Promise<T>,
): Promise<T> {
  // prettier-ignore
  const bar = progress(label);
  try {
    return await read((done, of) => bar.update(done / of, `${done} of ${of}`));
  } finally {
    bar.stop();
  }
}

/** As was said, else as the synthetic pictures are: those must not be resized, or their maker would be judged by it. */
async function shapeOf(synthetic: string, o: StudyOptions): Promise<Shape> {
  const found = o.size === undefined || o.channels === undefined ? await firstPicture(synthetic) : undefined;
  const size = Number(o.size ?? found?.width);
  const known = IMAGE_SIZES.find((edge) => edge === size);
  if (known === undefined) throw new FedError('PARAMETER_INVALID', `how large the synthetic images are cannot be told, or it is none of ${IMAGE_SIZES.join(', ')}: give --size and --channels`); // prettier-ignore
  const channels = o.channels === undefined ? found?.channels : Number(o.channels);
  return { size: known, channels: channels === 3 ? 3 : 1 };
}

async function firstPicture(synthetic: string): Promise<{ width: number; channels: number } | undefined> {
  if (/\.npz$/i.test(synthetic)) return firstOfNpz(synthetic);
  if (isArrayDataset(synthetic)) return undefined;
  const names = await readdir(synthetic, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === 'ENOTDIR' ? 'it is no .npz, no idx file and no folder' : `it cannot be read (${error.code})`; // prettier-ignore
    throw new FedError('PARAMETER_INVALID', `--synthetic ${synthetic}: ${why}`);
  });
  const first = names.toSorted().find(hasRasterExtension);
  if (first === undefined) return undefined;
  const { width, channels } = await sharp(join(synthetic, first)).metadata().catch(() => ({ width: NaN, channels: NaN })); // prettier-ignore
  return { width, channels: channels >= 3 ? 3 : 1 };
}

async function firstOfNpz(file: string): Promise<{ width: number; channels: number } | undefined> {
  await using handle = await open(file).catch((error: NodeJS.ErrnoException) => {
    throw new FedError('PARAMETER_INVALID', `--synthetic ${file}: it cannot be read (${error.code})`);
  });
  const { size } = await handle.stat();
  const source = await npzSource(fileSource(handle, size), basename(file), { size: 28, channels: 1, onBadFile: 'skip' }); // prettier-ignore
  const [first] = await source.decode(0);
  return 'picture' in first ? first.picture : undefined;
}

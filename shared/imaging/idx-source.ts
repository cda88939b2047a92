/**
 * MNIST's idx files, plain or gzipped: `train-images-idx3-ubyte(.gz)` beside `train-labels-idx1-ubyte(.gz)`.
 *
 * @see http://yann.lecun.com/exdb/mnist/ (its last section: the IDX file format)
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { constants, gunzipSync } from 'node:zlib';
import { FedError } from '../errors.ts';
import { DEFAULT_MAX_BYTES, type ImageSource, type ReadOptions } from './source.ts';

const IMAGES_FILE = /^(.*)images([-.])idx3([-.])ubyte(\.gz)?$/;
const PARTS = { train: 'train', test: 't10k', val: undefined } as const;

export interface IdxArray {
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** True for the name of an idx file, images or labels. */
export const isIdxName = (file: string): boolean => /idx[1-4][-.]ubyte(\.gz)?$/.test(file);

/**
 * Parses unsigned bytes in idx, gunzipping first where needed.
 *
 * Guarantee: the size that the header claims is checked before the rest is unpacked, and never exceeded.
 *
 * @throws {FedError} DATASET_INVALID, with `file` and what is wrong.
 */
export function parseIdx(bytes: Uint8Array, file: string, maxBytes = DEFAULT_MAX_BYTES): IdxArray {
  const refuse = (why: string): never => {
    throw new FedError('DATASET_INVALID', `${file}: ${why}`);
  };
  const unzip = (part: Uint8Array, options: { maxOutputLength: number; finishFlush?: number }): Uint8Array => {
    try {
      return gunzipSync(part, options);
    } catch (error) {
      return refuse(`cannot be decompressed: ${(error as Error).message}`);
    }
  };
  const gzipped = bytes[0] === 0x1f && bytes[1] === 0x8b;
  // Flushing early gives the header without the whole; 4 KiB unpack to at most 4 MiB.
  const head = gzipped
    ? unzip(bytes.subarray(0, 4096), { maxOutputLength: 2 ** 23, finishFlush: constants.Z_SYNC_FLUSH })
    : bytes;
  if (head.length < 4 || head[0] !== 0 || head[1] !== 0)
    refuse('not an idx file (it does not begin with two zero bytes)');
  if (head[2] !== 8) refuse(`idx type 0x${head[2].toString(16)} is not read here, only unsigned bytes`);
  const dims = head[3];
  const start = 4 + 4 * dims;
  if (dims < 1 || dims > 4 || head.length < start) refuse('the idx header is cut off');
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const shape = Array.from({ length: dims }, (_, k) => view.getUint32(4 + 4 * k));
  const count = shape.reduce((product, n) => product * BigInt(n), 1n);
  if (count > BigInt(maxBytes)) refuse(`shape (${shape.join(', ')}) is more than the limit of ${maxBytes} bytes`);
  const total = start + Number(count);
  const all = gzipped ? unzip(bytes, { maxOutputLength: total }) : bytes;
  if (all.length !== total) refuse(`shape (${shape.join(', ')}) needs ${total} bytes, ${all.length} are there`);
  return { shape, data: all.subarray(start) };
}

/** The images file that a path means: itself, or the one of the wanted part in a folder. */
async function imagesFile(target: string, split: ReadOptions['split']): Promise<string> {
  const isFolder = (await stat(target)).isDirectory();
  const folder = isFolder ? target : path.dirname(target);
  const names = isFolder ? (await readdir(target)).toSorted() : [path.basename(target)];
  const found = names.filter((name) => IMAGES_FILE.test(name));
  const part = PARTS[split ?? 'train'];
  const wanted =
    found.length > 1 || split ? found.filter((name) => part !== undefined && name.startsWith(part)) : found;
  if (wanted.length === 0)
    throw new FedError('DATASET_INVALID', `${target}: no idx images for the part "${split ?? 'train'}"`);
  return path.join(folder, wanted[0]);
}

/**
 * Opens a pair of idx files from the folder or from the name of the images file.
 *
 * @throws {FedError} DATASET_INVALID: no pair, damaged, or counts that differ.
 */
export async function idxSource(target: string, options: ReadOptions): Promise<ImageSource> {
  const imagesPath = await imagesFile(target, options.split);
  const file = path.basename(imagesPath);
  const [, stem, dash1, dash2] = IMAGES_FILE.exec(file)!;
  const labelsStem = `${stem}labels${dash1}idx1${dash2}ubyte`;
  const beside = await readdir(path.dirname(imagesPath));
  const labelsFile = [labelsStem, `${labelsStem}.gz`].find((name) => beside.includes(name));
  if (!labelsFile) throw new FedError('DATASET_INVALID', `${file}: its labels ${labelsStem}(.gz) are not beside it`);

  const images = parseIdx(await readFile(imagesPath), file, options.maxBytes);
  const labels = parseIdx(
    await readFile(path.join(path.dirname(imagesPath), labelsFile)),
    labelsFile,
    options.maxBytes,
  );
  const [count, height, width] = images.shape;
  if (images.shape.length !== 3 || !count || !height || !width)
    throw new FedError('DATASET_INVALID', `${file}: shape (${images.shape.join(', ')}) is not (n, h, w)`);
  if (labels.shape.length !== 1 || labels.shape[0] !== count)
    throw new FedError(
      'DATASET_INVALID',
      `${labelsFile}: shape (${labels.shape.join(', ')}), but there are ${count} images`,
    );
  const each = width * height;
  return {
    count,
    name: (i) => `${file}#${i}`,
    label: (i) => labels.data[i],
    patient: () => undefined,
    decode: (i) => [
      {
        picture: {
          width,
          height,
          channels: 1,
          data: images.data.subarray(i * each, (i + 1) * each),
          range: options.valueRange ?? [0, 255],
          outside: 'cut',
        },
      },
    ],
  };
}

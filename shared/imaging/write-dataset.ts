import { createHash } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { crc32, deflateRaw } from 'node:zlib';
import { FedError } from '../errors.ts';
import { checkImages, imageAt, type LabelledImages, toBytes } from './images.ts';
import { encodeNpy } from './npy.ts';
import { encodePng, interleave } from './png.ts';

export interface WrittenFile {
  /** Relative to the folder, with forward slashes. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface WriteOptions {
  /** Name of the array file. Default `synthetic.npz`. */
  readonly npzName?: string;
  /** Called after every block of files. */
  readonly progress?: (done: number, total: number) => void;
}

const WRITTEN_AT_ONCE = 64;

/**
 * Writes a dataset folder: `<class>/000001.png` for every image, `labels.csv` (file, label), and an .npz with the keys
 * `images` [n, h, w] or [n, h, w, 3] u8, `labels` [n] and `classes`. `readDataset` reads both back.
 *
 * Patient ids are not written. Files carry no dates, so that the same images give the same bytes.
 *
 * @returns every file in a fixed order with its hash, for the manifest.
 * @throws {FedError} DATASET_INVALID when the folder is not empty or the images are inconsistent.
 */
export async function writeDataset(
  folder: string,
  images: LabelledImages,
  options: WriteOptions = {},
): Promise<WrittenFile[]> {
  checkImages(images);
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) throw new FedError('DATASET_INVALID', `${folder} is not empty`);
  const folders = folderNames(images.classNames);
  for (const name of folders) await mkdir(path.join(folder, name));
  const write = async (relative: string, body: Uint8Array): Promise<WrittenFile> => {
    await writeFile(path.join(folder, relative), body, { flag: 'wx' });
    return { path: relative, bytes: body.length, sha256: createHash('sha256').update(body).digest('hex') };
  };

  const next = folders.map(() => 0);
  const names = Array.from(images.labels, (label) => `${folders[label]}/${String(++next[label]).padStart(6, '0')}.png`);
  const written: WrittenFile[] = [];
  for (let start = 0; start < images.n; start += WRITTEN_AT_ONCE) {
    const block = names.slice(start, start + WRITTEN_AT_ONCE);
    written.push(...(await Promise.all(block.map((name, k) => write(name, imagePng(images, start + k))))));
    options.progress?.(written.length, images.n);
  }
  const rows = names.map((name, i) => `${csvCell(name)},${csvCell(images.classNames[images.labels[i]])}\n`);
  written.push(await write('labels.csv', Buffer.from(`file,label\n${rows.join('')}`)));
  written.push(await write(options.npzName ?? 'synthetic.npz', await encodeImagesNpz(images)));
  return written;
}

/** Image i as a PNG file, grey or colour. */
export const imagePng = (images: LabelledImages, i: number): Buffer =>
  encodePng(interleave(toBytes(imageAt(images, i)), images.channels), images.size, images.size, images.channels);

/** Quotes what CSV needs quoted. */
export const csvCell = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** Class names as folder names that every file system takes, and that cannot leave the dataset folder. */
export function folderNames(classNames: readonly string[]): string[] {
  const names = classNames.map(
    (name, i) => name.replaceAll(/[^A-Za-z0-9_-]+/g, '_').replace(/^_+$/, '') || `class_${i}`,
  );
  const taken = new Set<string>();
  return names.map((name, i) => {
    let free = name;
    // Compared in lower case, since some file systems do not tell "Hand" from "hand".
    while (taken.has(free.toLowerCase())) free = `${free}_${i}`;
    taken.add(free.toLowerCase());
    return free;
  });
}

/** The images as an .npz that numpy and `readDataset` open. */
export async function encodeImagesNpz(images: LabelledImages): Promise<Buffer> {
  const { n, size, channels, labels, classNames } = images;
  const bytes = toBytes(images.pixels);
  const d = channels * size * size;
  if (channels === 3) for (let i = 0; i < n; i++) bytes.set(interleave(bytes.slice(i * d, (i + 1) * d), 3), i * d);
  return encodeNpz({
    images: encodeNpy(bytes, channels === 3 ? [n, size, size, 3] : [n, size, size]),
    labels: encodeNpy(labels, [n]),
    classes: encodeNpy(classNames, [classNames.length]),
  });
}

const deflate = promisify(deflateRaw);

/**
 * Packs encoded arrays into an .npz, dated 1980-01-01.
 *
 * @param packing - `stored` as numpy.savez does: then the bytes follow from the arrays alone, whatever the machine.
 * @throws {FedError} PARAMETER_INVALID above 4 GiB, since no Zip64 is written.
 */
export async function encodeNpz(
  arrays: Readonly<Record<string, Uint8Array>>,
  packing: 'deflated' | 'stored' = 'deflated',
): Promise<Buffer> {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [key, body] of Object.entries(arrays)) {
    const packed = packing === 'stored' ? Buffer.from(body) : await deflate(body, { level: 6 });
    const name = Buffer.from(`${key}.npy`);
    if (offset + packed.length >= 0xfffffffe || body.length >= 0xffffffff)
      throw new FedError('PARAMETER_INVALID', 'an npz above 4 GiB');
    // The fields that local header and directory share: version, UTF-8 flag, method, time, date, CRC, sizes, name length.
    const common = Buffer.alloc(26);
    [20, 0x800, packing === 'stored' ? 0 : 8, 0, 0x21].forEach((value, k) => common.writeUInt16LE(value, 2 * k));
    [crc32(body), packed.length, body.length].forEach((value, k) => common.writeUInt32LE(value, 10 + 4 * k));
    common.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, name, packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, tail, name]));
    parts.push(local);
    offset += local.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 0, 'latin1');
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, listing, end]);
}

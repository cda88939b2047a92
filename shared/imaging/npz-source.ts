/**
 * Image sets in NumPy's .npz: MedMNIST keys (`train_images`, `train_labels`, `val_*`, `test_*`) or plain ones
 * (`images`, `labels`, and optionally `classes`, `patients`). Images are [n, h, w] or [n, h, w, 3].
 *
 * @see https://github.com/MedMNIST/MedMNIST
 */
import { FedError } from '../errors.ts';
import { type NpyArray, parseNpy } from './npy.ts';
import { DEFAULT_MAX_BYTES, type ImageSource, type ReadOptions } from './source.ts';
import { type ByteSource, listZip, readMember } from './zip-read.ts';

const refuse = (why: string): never => {
  throw new FedError('DATASET_INVALID', why);
};

/**
 * Opens an npz; reads the arrays it needs and no others.
 *
 * @param file - the name to use in messages.
 * @throws {FedError} DATASET_INVALID, with the file, the array, and what is wrong.
 */
export async function npzSource(bytes: ByteSource, file: string, options: ReadOptions): Promise<ImageSource> {
  try {
    return await open(bytes, file, options);
  } catch (error) {
    if (error instanceof FedError)
      throw new FedError(error.code, `${file}: ${error.message.replace(/^[A-Z_]+: /, '')}`);
    throw error;
  }
}

async function open(bytes: ByteSource, file: string, options: ReadOptions): Promise<ImageSource> {
  const members = new Map((await listZip(bytes)).map((m) => [m.name.replace(/\.npy$/, ''), m]));
  const keys = [...members.keys()].join(', ');
  const array = async (key: string): Promise<NpyArray | undefined> => {
    const member = members.get(key);
    if (!member) return undefined;
    const raw = await readMember(bytes, member, options.maxBytes ?? DEFAULT_MAX_BYTES);
    try {
      return parseNpy(raw);
    } catch (error) {
      throw error instanceof FedError ? new FedError(error.code, `${key}: ${error.message}`) : error;
    }
  };

  const split = options.split ?? 'train';
  const parts = members.has(`${split}_images`);
  if (!parts && (!members.has('images') || options.split === 'val' || options.split === 'test'))
    refuse(`no ${split}_images${options.split ? '' : ' and no images'} among its arrays (${keys})`);
  const prefix = parts ? `${split}_` : '';
  const images = (await array(`${prefix}images`))!;
  const labels = (await array(`${prefix}labels`)) ?? refuse(`no ${prefix}labels among its arrays (${keys})`);
  const classNames = strings(await array('classes'), 'classes');
  const patients = await array(`${prefix}patients`);

  const { count, width, height, channels, data } = imageShape(images);
  const labelOf = labelReader(labels, count, `${prefix}labels`);
  const patientOf = patients === undefined ? undefined : vector(patients, count, `${prefix}patients`);
  const range = options.valueRange ?? defaultRange(images.dtype);
  const each = width * height * channels;
  return {
    count,
    ...(classNames ? { classNames } : {}),
    name: (i) => `${file}#${i}`,
    label: labelOf,
    patient: (i) => (patientOf ? String(patientOf[i]) : undefined),
    decode: (i) => [
      {
        picture: {
          width,
          height,
          channels,
          data: data.subarray(i * each, (i + 1) * each),
          range,
          outside: options.valueRange ? 'cut' : 'refuse',
        },
      },
    ],
  };
}

function imageShape({ shape, dtype, data }: NpyArray) {
  const [count, height, width, last] = shape;
  const channels: 1 | 3 | undefined = shape.length === 3 || last === 1 ? 1 : last === 3 ? 3 : undefined;
  if ((shape.length !== 3 && shape.length !== 4) || !channels || !count || !height || !width)
    return refuse(`images have shape (${shape.join(', ')}), not (n, h, w) or (n, h, w, 3)`);
  if (Array.isArray(data) || data instanceof BigInt64Array || data instanceof BigUint64Array)
    return refuse(`images have type ${dtype}; 8, 16 and 32-bit integers and floats are read`);
  return { count, height, width, channels: channels, data: data };
}

function defaultRange(dtype: string): readonly [number, number] {
  if (dtype === 'u1') return [0, 255];
  if (dtype === 'u2') return [0, 65_535];
  if (dtype.startsWith('f') || dtype === 'b1') return [0, 1];
  return refuse(`images of type ${dtype} need a value range: which values are black and white?`);
}

/** A [n] or [n, 1] array. */
function vector({ shape, data }: NpyArray, count: number, key: string): ArrayLike<number | bigint | string> {
  if (shape[0] !== count || !(shape.length === 1 || (shape.length === 2 && shape[1] === 1)))
    refuse(`${key} has shape (${shape.join(', ')}); one for each of ${count} images is needed`);
  return data;
}

function labelReader(labels: NpyArray, count: number, key: string): (i: number) => string | number {
  const values = vector(labels, count, key);
  return (i) => {
    const v = values[i];
    return typeof v === 'bigint' ? Number(v) : v;
  };
}

function strings(array: NpyArray | undefined, key: string): string[] | undefined {
  if (array === undefined) return undefined;
  if (!Array.isArray(array.data) || array.shape.length !== 1) return refuse(`${key} is not a list of strings`);
  return array.data;
}

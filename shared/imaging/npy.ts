/**
 * NumPy's .npy format, versions 1.0 to 3.0: plain numbers, booleans and strings, either byte order, C or Fortran order.
 * Pickled objects are refused, since reading one means running it.
 *
 * @see https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
import { FedError } from '../errors.ts';

export type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/** An array in C order and this machine's byte order. */
export interface NpyArray {
  readonly shape: readonly number[];
  /** Kind and bytes per item as in the file, without byte order: `u1`, `f4`, `U9`, ... */
  readonly dtype: string;
  readonly data: NumberArray | string[];
}

/** What a header says; nothing of the data has been read. */
export interface NpyHeader {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly bigEndian: boolean;
  readonly fortranOrder: boolean;
  /** Bytes of one item. */
  readonly itemBytes: number;
  /** Offset of the first item, in bytes. */
  readonly dataOffset: number;
  readonly dataBytes: number;
}

const NUMBERS = {
  b1: Uint8Array,
  u1: Uint8Array,
  i1: Int8Array,
  u2: Uint16Array,
  i2: Int16Array,
  u4: Uint32Array,
  i4: Int32Array,
  u8: BigUint64Array,
  i8: BigInt64Array,
  f4: Float32Array,
  f8: Float64Array,
} as const;

const MAX_HEADER_BYTES = 65_536;
const refuse = (why: string): never => {
  throw new FedError('DATASET_INVALID', why);
};

/**
 * Reads the header alone.
 *
 * @throws {FedError} DATASET_INVALID, saying what is wrong: not npy, cut off, or a type that is not read here.
 */
export function parseNpyHeader(bytes: Uint8Array): NpyHeader {
  if (bytes.length < 10 || String.fromCharCode(...bytes.subarray(1, 6)) !== 'NUMPY' || bytes[0] !== 0x93)
    refuse('not an npy array (its magic bytes are missing)');
  const major = bytes[6];
  if (major < 1 || major > 3) refuse(`npy version ${major}.${bytes[7]} is not known`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = major === 1 ? 10 : 12;
  if (bytes.length < start) refuse('the npy header is cut off');
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > MAX_HEADER_BYTES) refuse(`the npy header claims ${length} bytes`);
  if (bytes.length < start + length) refuse('the npy header is cut off');
  const text = Buffer.from(bytes.subarray(start, start + length)).toString(major === 3 ? 'utf8' : 'latin1');

  const descr = /'descr'\s*:\s*'([<>|=])([a-zA-Z])(\d*)'/.exec(text);
  if (!descr)
    refuse(`the npy header has no plain type (records and objects are not read): ${text.trim().slice(0, 80)}`);
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(text);
  const shapeText = /'shape'\s*:\s*\(([\d,\sL]*)\)/.exec(text);
  if (!fortran || !shapeText) refuse('the npy header lacks fortran_order or shape');
  const shape = shapeText![1].split(',').flatMap((s) => (s.trim() === '' ? [] : [Number.parseInt(s, 10)]));
  if (!shape.every(Number.isSafeInteger)) refuse(`shape (${shapeText![1].slice(0, 80)}) is impossible`);
  if (shape.length > 8) refuse(`${shape.length} dimensions`);

  const [, order, kind, digits] = descr!;
  const dtype = `${kind}${digits}`;
  const isText = kind === 'U' || kind === 'S';
  if (!isText && !(dtype in NUMBERS))
    refuse(`npy type ${dtype} is not read here${kind === 'O' ? ' (pickled objects could run code)' : ''}`);
  const itemBytes = Number(digits) * (kind === 'U' ? 4 : 1);
  if (itemBytes > 1e6) refuse(`npy type ${dtype} is too long`);
  // Multiplied as BigInt: a hostile shape must not wrap around to a small number.
  const dataBytes = shape.reduce((product, n) => product * BigInt(n), BigInt(itemBytes));
  if (dataBytes > BigInt(Number.MAX_SAFE_INTEGER)) refuse(`shape (${shape.join(', ')}) is impossible`);
  return {
    shape,
    dtype,
    bigEndian: order === '>',
    fortranOrder: fortran![1] === 'True',
    itemBytes,
    dataOffset: start + length,
    dataBytes: Number(dataBytes),
  };
}

/**
 * Reads a whole array.
 *
 * Guarantee: memory stays within a few times `bytes.length`, because the size that the header claims is compared
 * with the bytes present before anything is allocated.
 *
 * @throws {FedError} DATASET_INVALID.
 */
export function parseNpy(bytes: Uint8Array): NpyArray {
  const header = parseNpyHeader(bytes);
  const { shape, dtype, itemBytes, dataBytes } = header;
  const present = bytes.length - header.dataOffset;
  if (present !== dataBytes)
    refuse(`shape (${shape.join(', ')}) of ${dtype} needs ${dataBytes} bytes, ${present} are there`);
  // Zero-length strings take no bytes, so that any number of them fits into any file.
  const count = shape.reduce((product, n) => product * n, 1);
  if (itemBytes === 0 && count > 0) refuse(`npy type ${dtype} holds nothing`);
  // A copy: typed arrays need aligned offsets, and the caller's bytes are left as they are.
  const raw = Buffer.from(bytes.subarray(header.dataOffset));
  const data =
    dtype.startsWith('U') || dtype.startsWith('S') ? readStrings(raw, header, count) : readNumbers(raw, header, count);
  return { shape, dtype, data: header.fortranOrder && shape.length > 1 ? fromFortranOrder(data, shape) : data };
}

function readNumbers(raw: Buffer, { dtype, itemBytes, bigEndian }: NpyHeader, count: number): NumberArray {
  if (bigEndian && itemBytes === 2) raw.swap16();
  if (bigEndian && itemBytes === 4) raw.swap32();
  if (bigEndian && itemBytes === 8) raw.swap64();
  const aligned = raw.byteOffset % itemBytes === 0 ? raw : Uint8Array.from(raw);
  return new NUMBERS[dtype as keyof typeof NUMBERS](aligned.buffer as ArrayBuffer, aligned.byteOffset, count);
}

function readStrings(raw: Buffer, { dtype, itemBytes, bigEndian }: NpyHeader, count: number): string[] {
  const wide = dtype.startsWith('U');
  return Array.from({ length: count }, (_, i) => {
    const item = raw.subarray(i * itemBytes, (i + 1) * itemBytes);
    if (!wide) return item.toString('utf8').replace(/\0+$/, '');
    const points: number[] = [];
    for (let at = 0; at < itemBytes; at += 4) {
      const point = bigEndian ? item.readUInt32BE(at) : item.readUInt32LE(at);
      if (point > 0x10ffff) refuse('a string is not valid Unicode');
      points.push(point);
    }
    while (points.at(-1) === 0) points.pop();
    return String.fromCodePoint(...points);
  });
}

/** Column-major to row-major. */
function fromFortranOrder<T extends NumberArray | string[]>(data: T, shape: readonly number[]): T {
  const out = data.slice() as T;
  const index = new Array<number>(shape.length).fill(0);
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((a, b) => a * b, 1));
  let from = 0;
  for (let to = 0; to < out.length; to++) {
    out[to] = data[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/**
 * Writes an array as npy 1.0, little endian, C order: what `numpy.load` and `parseNpy` read.
 *
 * @throws {FedError} PARAMETER_INVALID when `shape` does not fit the data.
 */
export function encodeNpy(data: NumberArray | readonly string[], shape: readonly number[]): Uint8Array {
  const count = shape.reduce((a, b) => a * b, 1);
  if (count !== data.length)
    throw new FedError('PARAMETER_INVALID', `${data.length} items are not shape (${shape.join(', ')})`);
  const [dtype, body] = Array.isArray(data)
    ? encodeStrings(data as readonly string[])
    : encodeNumbers(data as NumberArray);
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const header = `{'descr': '${dtype}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The data starts at a multiple of 64 bytes, as numpy writes it.
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
  const prefix = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, padded.length & 255, padded.length >> 8]);
  return Buffer.concat([prefix, Buffer.from(padded, 'latin1'), body]);
}

function encodeNumbers(data: NumberArray): [string, Buffer] {
  const kind = Object.entries(NUMBERS).find(([name, type]) => name !== 'b1' && data instanceof type)![0];
  return [
    `${kind.endsWith('1') ? '|' : '<'}${kind}`,
    Buffer.from(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength),
  ];
}

function encodeStrings(data: readonly string[]): [string, Buffer] {
  const points = data.map((s) => Array.from(s, (c) => c.codePointAt(0)!));
  const width = Math.max(1, ...points.map((p) => p.length));
  const body = Buffer.alloc(width * 4 * data.length);
  points.forEach((p, i) => p.forEach((point, k) => body.writeUInt32LE(point, (i * width + k) * 4)));
  return [`<U${width}`, body];
}

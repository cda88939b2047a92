/**
 * Reads members of a zip archive from a file, one at a time, without trusting the sizes it declares.
 * Stored and deflated members, also Zip64 (which numpy writes); no encryption, no archives in several parts.
 *
 * @see https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT sections 4.3 to 4.5
 */
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { crc32, inflateRaw } from 'node:zlib';
import { FedError } from '../errors.ts';

const inflate = promisify(inflateRaw);

/** Bytes at a position: an open file, or a buffer. */
export interface ByteSource {
  readonly size: number;
  /** Exactly `length` bytes. @throws {FedError} DATASET_INVALID when the end comes first. */
  read(offset: number, length: number): Promise<Buffer>;
}

export interface ZipMember {
  readonly name: string;
  readonly method: number;
  readonly crc: number;
  readonly compressedBytes: number;
  readonly bytes: number;
  readonly headerOffset: number;
}

const refuse = (why: string): never => {
  throw new FedError('DATASET_INVALID', why);
};

const MAX_MEMBERS = 100_000;
/** Deflate cannot do better than 1032:1 (zlib's technical notes), so that a larger claim is a lie. */
const MAX_DEFLATE_RATIO = 1032;

/** An open file as bytes at a position; the caller closes it. */
export function fileSource(handle: FileHandle, size: number): ByteSource {
  return {
    size,
    async read(offset, length) {
      if (offset < 0 || length < 0 || offset + length > size) refuse('the file is cut off');
      const out = Buffer.allocUnsafe(length);
      for (let at = 0; at < length;) {
        const { bytesRead } = await handle.read(out, at, Math.min(length - at, 2 ** 30), offset + at);
        if (bytesRead === 0) refuse('the file is cut off');
        at += bytesRead;
      }
      return out;
    },
  };
}

/** The members that the central directory lists, in its order. @throws {FedError} DATASET_INVALID. */
export async function listZip(source: ByteSource): Promise<ZipMember[]> {
  const tailBytes = Math.min(source.size, 22 + 65_535);
  const tail = await source.read(source.size - tailBytes, tailBytes);
  const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0 || tail.length - end < 22) refuse('not a zip archive, or its end is cut off');
  let entries = tail.readUInt16LE(end + 10);
  let size = tail.readUInt32LE(end + 12);
  let offset = tail.readUInt32LE(end + 16);
  if (entries === 0xffff || size === 0xffffffff || offset === 0xffffffff) {
    const locator = await source.read(source.size - tailBytes + end - 20, 20);
    if (locator.readUInt32LE(0) !== 0x07064b50) refuse('the Zip64 locator is missing');
    const record = await source.read(Number(locator.readBigUInt64LE(8)), 56);
    if (record.readUInt32LE(0) !== 0x06064b50) refuse('the Zip64 record is missing');
    entries = Number(record.readBigUInt64LE(32));
    size = Number(record.readBigUInt64LE(40));
    offset = Number(record.readBigUInt64LE(48));
  }
  if (entries > MAX_MEMBERS || size > source.size)
    refuse(`the zip directory claims ${entries} members in ${size} bytes`);
  return parseDirectory(await source.read(offset, size), entries);
}

function parseDirectory(directory: Buffer, entries: number): ZipMember[] {
  const members: ZipMember[] = [];
  for (let at = 0; members.length < entries;) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== 0x02014b50) refuse('the zip directory is damaged');
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((k) => directory.readUInt16LE(at + k)) as [
      number,
      number,
      number,
    ];
    const next = at + 46 + nameBytes + extraBytes + commentBytes;
    if (next > directory.length) refuse('the zip directory is damaged');
    const name = directory.toString('utf8', at + 46, at + 46 + nameBytes);
    if (directory.readUInt16LE(at + 8) & 1) refuse(`${name} is encrypted`);
    const extra = directory.subarray(at + 46 + nameBytes, at + 46 + nameBytes + extraBytes);
    const wide = zip64Sizes(extra);
    const narrow = (k: number): number => {
      const value = directory.readUInt32LE(at + k);
      return value === 0xffffffff ? (wide.shift() ?? refuse(`${name} lacks its Zip64 sizes`)) : value;
    };
    // Zip64 sizes stand in this order, and only those that did not fit into 32 bits.
    const bytes = narrow(24);
    const compressedBytes = narrow(20);
    const headerOffset = narrow(42);
    members.push({
      name,
      method: directory.readUInt16LE(at + 10),
      crc: directory.readUInt32LE(at + 16),
      compressedBytes,
      bytes,
      headerOffset,
    });
    at = next;
  }
  return members;
}

function zip64Sizes(extra: Buffer): number[] {
  for (let at = 0; at + 4 <= extra.length;) {
    const [id, length] = [extra.readUInt16LE(at), extra.readUInt16LE(at + 2)];
    if (at + 4 + length > extra.length) break;
    if (id === 1)
      return Array.from({ length: Math.floor(length / 8) }, (_, k) => Number(extra.readBigUInt64LE(at + 4 + k * 8)));
    at += 4 + length;
  }
  return [];
}

/**
 * One member's bytes, checked against its CRC.
 *
 * Guarantee: never more than `maxBytes` are produced, and no more than the archive declares.
 *
 * @throws {FedError} DATASET_INVALID, naming the member: too large, cut off, damaged, or another compression.
 */
export async function readMember(source: ByteSource, member: ZipMember, maxBytes: number): Promise<Buffer> {
  const { name, method, bytes, compressedBytes } = member;
  if (bytes > maxBytes) refuse(`${name} declares ${bytes} bytes, more than the limit of ${maxBytes}`);
  if (method !== 0 && method !== 8) refuse(`${name} uses zip method ${method}; only stored and deflated are read`);
  if (method === 0 ? bytes !== compressedBytes : bytes > compressedBytes * MAX_DEFLATE_RATIO + 1024)
    refuse(`${name} declares ${bytes} bytes from ${compressedBytes}, which is impossible`);
  const local = await source.read(member.headerOffset, 30);
  if (local.readUInt32LE(0) !== 0x04034b50) refuse(`${name} is not where the zip directory says`);
  const start = member.headerOffset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
  const packed = await source.read(start, compressedBytes);
  const out = method === 0 ? packed : await unpack(name, packed, bytes);
  if (out.length !== bytes) refuse(`${name} holds ${out.length} bytes instead of ${bytes}`);
  if (crc32(out) !== member.crc) refuse(`${name} does not match its CRC`);
  return out;
}

async function unpack(name: string, packed: Buffer, bytes: number): Promise<Buffer> {
  try {
    return await inflate(packed, { maxOutputLength: Math.max(1, bytes) });
  } catch (error) {
    throw new FedError('DATASET_INVALID', `${name} cannot be decompressed: ${(error as Error).message}`);
  }
}

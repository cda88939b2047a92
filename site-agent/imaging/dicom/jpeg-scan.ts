/**
 * The parts of JPEG (ISO 10918-1) that its lossless and its sequential DCT processes share: segments, Huffman tables, the
 * bits of a scan. Decoded here because DICOM's 12-bit and lossless processes have no library that is well kept and small.
 */
import { unreadable } from './refuse.ts';

export interface Component {
  readonly id: number;
  readonly h: number;
  readonly v: number;
  readonly quantisation: number;
  dc: Huffman | undefined;
  ac: Huffman | undefined;
}

export interface Frame {
  readonly process: number;
  readonly precision: number;
  readonly width: number;
  readonly height: number;
  readonly components: Component[];
}

export interface Scan {
  readonly frame: Frame;
  readonly components: readonly Component[];
  /** Ss: the predictor of the lossless process. */
  readonly start: number;
  /** Al: the point transform of the lossless process. */
  readonly pointTransform: number;
  /** In units of the process: MCUs, or samples. 0 for none. */
  readonly restartInterval: number;
  readonly quantisation: readonly (Uint16Array | undefined)[];
  readonly bits: BitReader;
}

const damaged = (): never => unreadable('its JPEG picture is damaged or cut off');

/** A Huffman table, looked up by eight bits at a time: (length << 8 | value), or -1 where a code is longer. */
export class Huffman {
  readonly #fast = new Int32Array(256).fill(-1);
  readonly #maxCode = new Int32Array(18).fill(-1);
  readonly #offset = new Int32Array(18);
  readonly #values: Uint8Array;

  /** @param counts - [16], codes of each length; `values` in their order. */
  constructor(counts: Uint8Array, values: Uint8Array) {
    this.#values = values;
    for (let length = 1, code = 0, k = 0; length <= 16; length++, code <<= 1) {
      this.#offset[length] = k - code;
      for (let i = 0; i < counts[length - 1]; i++, code++, k++) {
        if (code >= 1 << length) damaged();
        if (length <= 8) this.#fast.fill((length << 8) | values[k], code << (8 - length), (code + 1) << (8 - length));
      }
      this.#maxCode[length] = counts[length - 1] > 0 ? code - 1 : -1;
    }
  }

  next(bits: BitReader): number {
    const found = this.#fast[bits.peek8()];
    if (found >= 0) {
      bits.skip(found >> 8);
      return found & 255;
    }
    for (let length = 1, code = 0; length <= 16; length++) {
      code = (code << 1) | bits.read(1);
      if (code <= this.#maxCode[length]) return this.#values[code + this.#offset[length]];
    }
    return damaged();
  }
}

/** Bits of entropy-coded data, without stuffed bytes. Beyond the end come three bytes of zeros, and then a refusal. */
export class BitReader {
  readonly #bytes: Uint8Array;
  #at: number;
  #held = 0;
  #count = 0;
  #beyond = 0;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  #fill(): void {
    let byte = 0;
    if (this.#at < this.#bytes.length && !(this.#bytes[this.#at] === 0xff && this.#bytes[this.#at + 1] !== 0)) {
      byte = this.#bytes[this.#at];
      this.#at += byte === 0xff ? 2 : 1;
    } else if (++this.#beyond > 3) damaged();
    this.#held = ((this.#held << 8) | byte) & 0xffffff;
    this.#count += 8;
  }

  peek8(): number {
    while (this.#count < 8) this.#fill();
    return (this.#held >> (this.#count - 8)) & 255;
  }

  skip(n: number): void {
    this.#count -= n;
  }

  /** @param n - 0 to 16. */
  read(n: number): number {
    while (this.#count < n) this.#fill();
    this.#count -= n;
    return (this.#held >> this.#count) & ((1 << n) - 1);
  }

  /** A difference of n bits with its sign (F.2.2.1). */
  signed(n: number): number {
    if (n === 0) return 0;
    const x = this.read(n);
    return x < 1 << (n - 1) ? x - (1 << n) + 1 : x;
  }

  /** Drops what is left of the byte and passes a restart marker, which must be next. */
  restart(): void {
    this.#held = this.#count = this.#beyond = 0;
    // A marker may have fill bytes before it.
    while (this.#bytes[this.#at] === 0xff && this.#bytes[this.#at + 1] === 0xff) this.#at++;
    const marker = this.#bytes[this.#at + 1];
    if (this.#bytes[this.#at] !== 0xff || marker < 0xd0 || marker > 0xd7) damaged();
    this.#at += 2;
  }

  /** Where the marker after this scan is looked for. */
  get position(): number {
    return this.#at;
  }
}

/**
 * Reads the segments and hands every scan to `decode`, which reads its bits.
 * @param process - the one frame marker that is read.
 */
export function readScans(bytes: Uint8Array, process: readonly number[], decode: (scan: Scan) => void): void {
  const tables: { dc: (Huffman | undefined)[]; ac: (Huffman | undefined)[] } = { dc: [], ac: [] };
  const quantisation: (Uint16Array | undefined)[] = [];
  let frame: Frame | undefined;
  let restartInterval = 0;
  let scans = 0;
  for (let at = 2; at + 4 <= bytes.length;) {
    if (bytes[at] !== 0xff) {
      // After a scan there may be bytes that no sample needed.
      if (scans === 0) damaged();
      at++;
      continue;
    }
    const marker = bytes[at + 1];
    if (marker === 0xd9) break;
    if (marker === 0xff || marker === 0 || (marker >= 0xd0 && marker <= 0xd7)) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    if (length < 2 || at + 2 + length > bytes.length) damaged();
    const segment = bytes.subarray(at + 4, at + 2 + length);
    at += 2 + length;
    if (marker === 0xc4) readHuffman(segment, tables);
    else if (marker === 0xdb) readQuantisation(segment, quantisation);
    else if (marker === 0xdd) restartInterval = (segment[0] << 8) | segment[1];
    else if (process.includes(marker)) frame = frame === undefined ? readFrame(marker, segment) : damaged();
    else if (marker === 0xda) {
      if (frame === undefined || ++scans > 16) return damaged();
      const bits = new BitReader(bytes, at);
      decode({ frame, ...readScanHead(segment, frame, tables), restartInterval, quantisation, bits });
      at = bits.position;
    }
  }
  if (scans === 0) damaged();
}

function readHuffman(segment: Uint8Array, tables: { dc: (Huffman | undefined)[]; ac: (Huffman | undefined)[] }): void {
  for (let at = 0; at + 17 <= segment.length;) {
    const counts = segment.subarray(at + 1, at + 17);
    const total = counts.reduce((a, b) => a + b, 0);
    if (at + 17 + total > segment.length || (segment[at] & 15) > 3) return damaged();
    const table = new Huffman(counts, segment.slice(at + 17, at + 17 + total));
    (segment[at] >> 4 === 0 ? tables.dc : tables.ac)[segment[at] & 15] = table;
    at += 17 + total;
  }
}

function readQuantisation(segment: Uint8Array, tables: (Uint16Array | undefined)[]): void {
  for (let at = 0; at < segment.length;) {
    const wide = segment[at] >> 4 !== 0;
    const id = segment[at++] & 15;
    if (id > 3 || at + (wide ? 128 : 64) > segment.length) return damaged();
    const from = at;
    tables[id] = Uint16Array.from({ length: 64 }, (_, i) => wide ? (segment[from + 2 * i] << 8) | segment[from + 2 * i + 1] : segment[from + i]); // prettier-ignore
    at += wide ? 128 : 64;
  }
}

function readFrame(process: number, s: Uint8Array): Frame {
  const count = s[5];
  if (s.length < 6 + 3 * count || (count !== 1 && count !== 3)) return damaged();
  const components = Array.from({ length: count }, (_, c) => {
    const [id, hv, quantisation] = s.subarray(6 + 3 * c, 9 + 3 * c);
    return { id, h: hv >> 4, v: hv & 15, quantisation, dc: undefined, ac: undefined };
  });
  if (components.some(({ h, v }) => h < 1 || h > 4 || v < 1 || v > 4)) return damaged();
  return { process, precision: s[0], height: (s[1] << 8) | s[2], width: (s[3] << 8) | s[4], components };
}

function readScanHead(
  s: Uint8Array,
  frame: Frame,
  tables: { dc: (Huffman | undefined)[]; ac: (Huffman | undefined)[] },
): Pick<Scan, 'components' | 'start' | 'pointTransform'> {
  const count = s[0];
  if (count < 1 || count > frame.components.length || s.length < 4 + 2 * count) return damaged();
  const components = Array.from({ length: count }, (_, c) => {
    const component = frame.components.find(({ id }) => id === s[1 + 2 * c]) ?? damaged();
    component.dc = tables.dc[s[2 + 2 * c] >> 4];
    component.ac = tables.ac[s[2 + 2 * c] & 15];
    return component;
  });
  if (new Set(components).size !== count) return damaged();
  return { components, start: s[1 + 2 * count], pointTransform: s[3 + 2 * count] & 15 };
}

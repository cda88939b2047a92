/** What a compressed frame says of its own size, read before a codec may allocate anything. */
import { unreadable } from './refuse.ts';

export interface StreamHead {
  readonly width: number;
  readonly height: number;
  readonly components: number;
  readonly precision: number;
  /** JPEG: the number of the frame marker (0xC0 baseline, 0xC3 lossless, 0xF7 JPEG-LS); 0 for JPEG 2000. */
  readonly process: number;
  /** Where the code stream begins: after the boxes of a JP2 file. */
  readonly start: number;
}

const damaged = (): never => unreadable('its compressed pixels have no usable header');

/** The frame header (SOFn) of a JPEG or JPEG-LS picture. */
export function jpegHead(bytes: Uint8Array): StreamHead {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return damaged();
  for (let at = 2; at + 9 < bytes.length;) {
    if (bytes[at] !== 0xff) return damaged();
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    if (length < 2) return damaged();
    const isFrame = (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) || marker === 0xf7; // prettier-ignore
    if (isFrame)
      return {
        precision: bytes[at + 4],
        height: (bytes[at + 5] << 8) | bytes[at + 6],
        width: (bytes[at + 7] << 8) | bytes[at + 8],
        components: bytes[at + 9],
        process: marker,
        start: 0,
      };
    at += 2 + length;
  }
  return damaged();
}

const SOC_SIZ = [0xff, 0x4f, 0xff, 0x51] as const;
/** Boxes before a code stream are few and small. */
const SEARCHED = 4096;

/** The image size (SIZ) of a JPEG 2000 or HTJ2K code stream (ISO 15444-1, A.5.1). */
export function jpeg2000Head(bytes: Uint8Array): StreamHead {
  let start = 0;
  while (start < SEARCHED && !SOC_SIZ.every((byte, i) => bytes[start + i] === byte)) start++;
  if (start === SEARCHED || start + 46 > bytes.length) return damaged();
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, bytes.length - start);
  const [xSize, ySize, xOffset, yOffset, xTile, yTile] = [8, 12, 16, 20, 24, 28].map((at) => view.getUint32(at)) as [number, number, number, number, number, number]; // prettier-ignore
  const components = view.getUint16(40);
  const width = xSize - xOffset;
  const height = ySize - yOffset;
  if (width < 1 || height < 1 || xTile < 1 || yTile < 1 || components < 1 || components > 4) return damaged();
  if (start + 42 + 3 * components > bytes.length) return damaged();
  // Every tile costs a decoder memory, whatever the picture's size.
  if (Math.ceil(xSize / xTile) * Math.ceil(ySize / yTile) > 65_535) return damaged();
  for (let c = 0; c < components; c++) {
    const [precision, dx, dy] = [42, 43, 44].map((at) => view.getUint8(at + 3 * c)) as [number, number, number];
    if (dx !== 1 || dy !== 1) return unreadable('colour that is sampled more coarsely is not read in JPEG 2000');
    if (precision !== view.getUint8(42)) return unreadable('components of different depth are not read');
  }
  return { width, height, components, precision: (view.getUint8(42) & 0x7f) + 1, process: 0, start };
}

/** How often a JPEG 2000 picture can be halved: the least over its coding styles (COD and COC, A.6.1 and A.6.2). */
export function decompositions(bytes: Uint8Array, head: StreamHead): number {
  const wide = head.components < 257 ? 1 : 2;
  let least = 32;
  for (let at = head.start + 2; at + 12 < bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    // The first tile: the main header is over.
    if (marker === 0x90) return least;
    if (marker === 0x52) least = Math.min(least, bytes[at + 9]);
    if (marker === 0x53) least = Math.min(least, bytes[at + 5 + wide]);
    at += 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
  }
  return 0;
}

/** Refuses a code stream whose size is not the one the file states. */
export function requireSize(head: StreamHead, d: { columns: number; rows: number; samples: number }): void {
  if (head.width !== d.columns || head.height !== d.rows || head.components !== d.samples)
    unreadable(`its compressed pixels are ${head.width} × ${head.height} × ${head.components}, not ${d.columns} × ${d.rows} × ${d.samples}`); // prettier-ignore
}

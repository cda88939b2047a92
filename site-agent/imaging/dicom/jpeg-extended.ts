/** The sequential DCT process of JPEG with 12 bits (ISO 10918-1, annex F): DICOM's "extended". 8 bits go to libjpeg. */
import { jpegHead, requireSize } from './code-stream-head.ts';
import type { ImageDescription } from './description.ts';
import { type BitReader, type Component, readScans, type Scan } from './jpeg-scan.ts';
import { unreadable } from './refuse.ts';
import type { Unpacked } from './stored-values.ts';

const SEQUENTIAL = [0xc0, 0xc1] as const;
const ZIGZAG = Uint8Array.from([
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47,
  55, 62, 63,
]);
/** [u, x]: C(u) / 2 · cos((2x + 1) u π / 16), the one-dimensional inverse DCT (A.3.3). */
const COSINES = Float64Array.from({ length: 64 }, (_, i) => {
  const [u, x] = [i >> 3, i & 7];
  return ((u === 0 ? Math.SQRT1_2 : 1) / 2) * Math.cos(((2 * x + 1) * u * Math.PI) / 16);
});

/** @throws {FedError} IMAGE_UNREADABLE: another process or size, damaged, or cut off. */
export function decodeJpegExtended(bytes: Uint8Array, d: ImageDescription): Unpacked {
  const head = jpegHead(bytes);
  requireSize(head, d);
  if (head.process !== 0xc0 && head.process !== 0xc1) return unreadable('its JPEG picture is not sequential');
  if (head.precision !== 12) return unreadable(`${head.precision} bits are no depth of the extended process`);
  const out = new Uint16Array(d.rows * d.columns * d.samples);
  let decoded = 0;
  readScans(bytes, SEQUENTIAL, (scan) => {
    if (scan.frame.components.some(({ h, v }) => h !== 1 || v !== 1) && scan.frame.components.length > 1)
      unreadable('colour that is sampled more coarsely is not read in 12-bit JPEG');
    decodeScan(scan, d, out);
    decoded += scan.components.length;
  });
  if (decoded !== d.samples) return unreadable('its JPEG picture lacks a component');
  return { bytes: new Uint8Array(out.buffer), width: d.columns, height: d.rows, bits: 16, planar: false };
}

function decodeScan(scan: Scan, d: ImageDescription, out: Uint16Array): void {
  const { bits, restartInterval, components } = scan;
  const blocksAcross = Math.ceil(d.columns / 8);
  const blocks = blocksAcross * Math.ceil(d.rows / 8);
  const dc = components.map(() => 0);
  const coefficients = new Float64Array(64);
  for (let block = 0; block < blocks; block++) {
    if (restartInterval > 0 && block > 0 && block % restartInterval === 0) {
      bits.restart();
      dc.fill(0);
    }
    components.forEach((component, k) => {
      const table = scan.quantisation[component.quantisation] ?? unreadable('its JPEG picture lacks a table');
      dc[k] = readBlock(bits, component, table, dc[k], coefficients);
      const samples = inverseDct(coefficients);
      const [x0, y0] = [(block % blocksAcross) * 8, Math.floor(block / blocksAcross) * 8];
      const lane = scan.frame.components.indexOf(component);
      for (let y = 0; y < 8 && y0 + y < d.rows; y++)
        for (let x = 0; x < 8 && x0 + x < d.columns; x++) {
          const value = Math.round(samples[y * 8 + x]) + 2048;
          out[((y0 + y) * d.columns + x0 + x) * d.samples + lane] = value < 0 ? 0 : value > 4095 ? 4095 : value;
        }
    });
  }
}

/** Reads and dequantises one block; returns its DC value before dequantising. */
function readBlock(bits: BitReader, c: Component, table: Uint16Array, lastDc: number, out: Float64Array): number {
  if (c.dc === undefined || c.ac === undefined) return unreadable('its JPEG picture lacks a Huffman table');
  out.fill(0);
  const size = c.dc.next(bits);
  if (size > 15) return unreadable('its JPEG picture is damaged or cut off');
  const dc = lastDc + bits.signed(size);
  out[0] = dc * table[0];
  for (let k = 1; k < 64; k++) {
    const symbol = c.ac.next(bits);
    const [run, length] = [symbol >> 4, symbol & 15];
    if (length === 0) {
      if (run !== 15) break;
      k += 15;
      continue;
    }
    k += run;
    if (k > 63) return unreadable('its JPEG picture is damaged or cut off');
    out[ZIGZAG[k]] = bits.signed(length) * table[k];
  }
  return dc;
}

const columnsPass = new Float64Array(64);
const block = new Float64Array(64);
function inverseDct(f: Float64Array): Float64Array {
  for (let v = 0; v < 8; v++)
    for (let x = 0; x < 8; x++) {
      let sum = 0;
      for (let u = 0; u < 8; u++) sum += f[v * 8 + u] * COSINES[u * 8 + x];
      columnsPass[v * 8 + x] = sum;
    }
  for (let y = 0; y < 8; y++)
    for (let x = 0; x < 8; x++) {
      let sum = 0;
      for (let v = 0; v < 8; v++) sum += columnsPass[v * 8 + x] * COSINES[v * 8 + y];
      block[y * 8 + x] = sum;
    }
  return block;
}

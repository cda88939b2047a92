/** The lossless process of JPEG (ISO 10918-1, annex H), 2 to 16 bits, all seven predictors. */
import { jpegHead, requireSize } from './code-stream-head.ts';
import type { ImageDescription } from './description.ts';
import { readScans, type Scan } from './jpeg-scan.ts';
import { unreadable } from './refuse.ts';
import type { Unpacked } from './stored-values.ts';

const SOF3 = 0xc3;

/** @throws {FedError} IMAGE_UNREADABLE: another process or size, damaged, or cut off. */
export function decodeJpegLossless(bytes: Uint8Array, d: ImageDescription): Unpacked {
  const head = jpegHead(bytes);
  requireSize(head, d);
  if (head.process !== SOF3) return unreadable('its JPEG picture is not of the lossless process');
  if (head.precision < 2 || head.precision > 16) return unreadable(`${head.precision} bits are no depth of JPEG`);
  const out = new Uint16Array(d.rows * d.columns * d.samples);
  let decoded = 0;
  readScans(bytes, [SOF3], (scan) => {
    decodeScan(scan, d, out);
    decoded += scan.components.length;
  });
  if (decoded !== d.samples) return unreadable('its JPEG picture lacks a component');
  return d.bitsAllocated === 8
    ? { bytes: Uint8Array.from(out), width: d.columns, height: d.rows, bits: 8, planar: false }
    : { bytes: new Uint8Array(out.buffer), width: d.columns, height: d.rows, bits: 16, planar: false };
}

function decodeScan(scan: Scan, d: ImageDescription, out: Uint16Array): void {
  const { frame, bits, pointTransform, restartInterval, start: predictor } = scan;
  if (predictor < 1 || predictor > 7 || pointTransform >= frame.precision) unreadable('its JPEG predictor is not one of seven'); // prettier-ignore
  if (scan.components.some(({ h, v }) => h !== frame.components[0].h || v !== frame.components[0].v))
    unreadable('colour that is sampled more coarsely is not read in JPEG lossless');
  const { columns: width, rows: height, samples } = d;
  const initial = 1 << (frame.precision - pointTransform - 1);
  const lanes = scan.components.map((c) => ({ offset: frame.components.indexOf(c), table: c.dc ?? unreadable('its JPEG picture lacks a Huffman table') })); // prettier-ignore
  let left = restartInterval;
  let firstRow = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (restartInterval > 0 && left === 0) {
        // Intervals are whole rows: the prediction begins anew with the row.
        if (x !== 0) unreadable('a JPEG restart in the middle of a row is not read');
        bits.restart();
        left = restartInterval;
        firstRow = y;
      }
      left--;
      for (const { offset, table } of lanes) {
        const at = (y * width + x) * samples + offset;
        const a = x > 0 ? out[at - samples] : 0;
        const b = y > firstRow ? out[at - width * samples] : 0;
        const c = x > 0 && y > firstRow ? out[at - (width + 1) * samples] : 0;
        const p = y === firstRow ? (x === 0 ? initial : a) : x === 0 ? b : predict(predictor, a, b, c);
        const size = table.next(bits);
        if (size > 16) unreadable('its JPEG picture is damaged or cut off');
        out[at] = p + (size === 16 ? 32_768 : bits.signed(size));
      }
    }
  }
  if (pointTransform > 0)
    for (const { offset } of lanes) for (let i = offset; i < out.length; i += samples) out[i] <<= pointTransform;
}

/** Table H.1: a is to the left, b above, c above a. */
function predict(predictor: number, a: number, b: number, c: number): number {
  if (predictor === 1) return a;
  if (predictor === 2) return b;
  if (predictor === 3) return c;
  if (predictor === 4) return a + b - c;
  if (predictor === 5) return a + ((b - c) >> 1);
  if (predictor === 6) return b + ((a - c) >> 1);
  return (a + b) >> 1;
}

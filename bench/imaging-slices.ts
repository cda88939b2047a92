/** CT slices of the size and weight that scanners make, as JPEG 2000 lossless DICOM files: phantoms, since real ones are nobody's to ship. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { imageAt } from '../shared/imaging/images.ts';
import { phantomImages } from '../shared/imaging/phantom.ts';
import { seeded } from '../shared/imaging/seeded.ts';

const EDGE = 512;
/** Standard deviation of noise, in Hounsfield units: an abdomen at usual dose. */
const NOISE = 12;
const { resolve } = createRequire(import.meta.url);

interface Encoder {
  getDecodedBuffer(info: { width: number; height: number; bitsPerSample: number; componentCount: number; isSigned: boolean }): Uint8Array; // prettier-ignore
  getEncodedBuffer(): Uint8Array;
  encode(): void;
  delete(): void;
}

/**
 * Writes `count` files, of `distinct` different slices, into one class folder.
 * @returns bytes of all of them.
 */
export async function writeSlices(folder: string, count: number, distinct: number): Promise<number> {
  const factory = (await import(resolve('@cornerstonejs/codec-openjpeg/wasmjs'))) as { default: (options: object) => Promise<{ J2KEncoder: new () => Encoder }> }; // prettier-ignore
  const wasmBinary = await readFile(resolve('@cornerstonejs/codec-openjpeg/wasm'));
  const module = await factory.default({ wasmBinary, print: () => undefined, printErr: () => undefined });
  const phantoms = phantomImages({
    size: 64,
    channels: 1,
    patients: distinct,
    classes: ['head-ct'],
    seed: 'bench imaging',
  });
  mkdirSync(path.join(folder, 'head-ct'), { recursive: true });
  const files = Array.from({ length: distinct }, (_, k) => {
    const encoder = new module.J2KEncoder();
    const info = { width: EDGE, height: EDGE, bitsPerSample: 16, componentCount: 1, isSigned: true };
    const pixels = slice(imageAt(phantoms, k), 64, `slice ${k}`);
    encoder.getDecodedBuffer(info).set(new Uint8Array(pixels.buffer));
    encoder.encode();
    const stream = encoder.getEncodedBuffer().slice();
    encoder.delete();
    return dicom(stream, k);
  });
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const file = files[i % distinct];
    bytes += file.length;
    writeFileSync(path.join(folder, 'head-ct', `${i}.dcm`), file);
  }
  return bytes;
}

/** A phantom in Hounsfield units, enlarged on straight lines, with noise. */
function slice(small: Float32Array, edge: number, seed: string): Int16Array {
  const random = seeded(seed);
  const out = new Int16Array(EDGE * EDGE);
  const at = (i: number): [number, number] => {
    const x = Math.min(edge - 1.001, Math.max(0, ((i + 0.5) * edge) / EDGE - 0.5));
    return [Math.floor(x), x - Math.floor(x)];
  };
  for (let y = 0; y < EDGE; y++) {
    const [y0, v] = at(y);
    for (let x = 0; x < EDGE; x++) {
      // Scanners reconstruct a circle; outside of it there is nothing, not even noise.
      if (Math.hypot(x - EDGE / 2, y - EDGE / 2) > EDGE / 2) {
        out[y * EDGE + x] = -1024;
        continue;
      }
      const [x0, u] = at(x);
      const p = (dy: number, dx: number) => small[(y0 + dy) * edge + x0 + dx];
      const value = (p(0, 0) * (1 - u) + p(0, 1) * u) * (1 - v) + (p(1, 0) * (1 - u) + p(1, 1) * u) * v;
      out[y * EDGE + x] = Math.round((value + 1) * 1000 - 1000 + random.normal(0, NOISE));
    }
  }
  return out;
}

function dicom(stream: Uint8Array, k: number): Buffer {
  const element = (group: number, el: number, vr: string, value: Buffer): Buffer => {
    const padded = value.length % 2 === 0 ? value : Buffer.concat([value, Buffer.from(vr === 'UI' ? '\0' : ' ')]);
    const head = Buffer.alloc(8);
    head.writeUInt16LE(group, 0);
    head.writeUInt16LE(el, 2);
    head.write(vr, 4, 'latin1');
    head.writeUInt16LE(padded.length, 6);
    return Buffer.concat([head, padded]);
  };
  const u16 = (...values: number[]): Buffer => Buffer.from(Uint16Array.from(values).buffer);
  const item = (bytes: Uint8Array): Buffer => {
    const padded = bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]);
    const head = Buffer.from([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0]);
    head.writeUInt32LE(padded.length, 4);
    return Buffer.concat([head, padded]);
  };
  const meta = element(2, 0x10, 'UI', Buffer.from('1.2.840.10008.1.2.4.90'));
  return Buffer.concat([
    Buffer.alloc(128),
    Buffer.from('DICM'),
    element(2, 0, 'UL', Buffer.from(Uint32Array.of(meta.length).buffer)),
    meta,
    element(8, 0x60, 'CS', Buffer.from('CT')),
    element(0x10, 0x20, 'LO', Buffer.from(`patient-${k}`)),
    element(0x28, 2, 'US', u16(1)),
    element(0x28, 4, 'CS', Buffer.from('MONOCHROME2')),
    element(0x28, 0x10, 'US', u16(EDGE)),
    element(0x28, 0x11, 'US', u16(EDGE)),
    element(0x28, 0x100, 'US', u16(16)),
    element(0x28, 0x101, 'US', u16(16)),
    element(0x28, 0x102, 'US', u16(15)),
    element(0x28, 0x103, 'US', u16(1)),
    Buffer.from([0xe0, 0x7f, 0x10, 0x00, 0x4f, 0x42, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    item(new Uint8Array(0)),
    item(stream),
    Buffer.from([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]),
  ]);
}

/**
 * JPEG-LS, JPEG 2000 and HTJ2K by CharLS, OpenJPEG and OpenJPH in WebAssembly. A module is loaded when first needed and
 * dropped after a failure, or once its memory has grown: WebAssembly memory never shrinks.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { decompositions, jpeg2000Head, jpegHead, requireSize } from './code-stream-head.ts';
import type { ImageDescription } from './description.ts';
import { unreadable } from './refuse.ts';
import type { Unpacked } from './stored-values.ts';

const MAX_IDLE_BYTES = 128 * 2 ** 20;
const { resolve } = createRequire(import.meta.url);

const LOADERS = {
  'jpeg-2000': async () => start((await import('@cornerstonejs/codec-openjpeg/decodewasmjs')).default, '@cornerstonejs/codec-openjpeg/decodewasm'), // prettier-ignore
  htj2k: async () => start((await import('@cornerstonejs/codec-openjph/wasmjs')).default, '@cornerstonejs/codec-openjph/wasm'), // prettier-ignore
  'jpeg-ls': async () => start((await import('@cornerstonejs/codec-charls/decodewasmjs')).default, '@cornerstonejs/codec-charls/decodewasm'), // prettier-ignore
} as const;
type Codec = keyof typeof LOADERS;

/** What a codec prints may quote the file, and goes nowhere. */
const silent = (): void => undefined;
async function start(factory: EmscriptenFactory, wasm: string): Promise<EmscriptenModule> {
  return factory({ wasmBinary: await readFile(resolve(wasm)), print: silent, printErr: silent });
}

const modules = new Map<Codec, EmscriptenModule>();

async function withDecoder<T>(codec: Codec, use: (decoder: EmscriptenDecoder) => T): Promise<T> {
  const module = modules.get(codec) ?? (await LOADERS[codec]());
  modules.delete(codec);
  const decoder = codec === 'jpeg-2000' ? new module.J2KDecoder() : codec === 'htj2k' ? new module.HTJ2KDecoder() : new module.JpegLSDecoder(); // prettier-ignore
  let result: T;
  try {
    result = use(decoder);
  } catch (error) {
    // Exceptions come as numbers, strings or traps, and leave the module's memory in any state: it is not used again.
    if (error instanceof Error && error.name === 'FedError') throw error;
    return unreadable('its compressed pixels are damaged or cut off');
  }
  decoder.delete();
  if (module.HEAPU8.length <= MAX_IDLE_BYTES) modules.set(codec, module);
  return result;
}

/** A copy of what was decoded, `level` times halved. `storedValues` checks that it is long enough. */
function unpack(
  decoder: EmscriptenDecoder,
  d: ImageDescription,
  o: { planar: boolean; signed?: boolean; level: number },
): Unpacked {
  // prettier-ignore
  const { bitsPerSample, componentCount } = decoder.getFrameInfo();
  if (componentCount !== d.samples) return unreadable('its compressed pixels have other components than it states');
  if (bitsPerSample > 16) return unreadable(`${bitsPerSample} bits in a code stream are not read`);
  const [width, height] = [d.columns, d.rows].map((edge) => Math.ceil(edge / 2 ** o.level)) as [number, number];
  const bytes = decoder.getDecodedBuffer().slice();
  const { planar, signed } = o;
  return {
    bytes,
    width,
    height,
    bits: bitsPerSample <= 8 ? 8 : 16,
    planar,
    ...(signed === undefined ? {} : { signed }),
  };
}

/** @throws {FedError} IMAGE_UNREADABLE */
export function decodeJpegLs(bytes: Uint8Array, d: ImageDescription): Promise<Unpacked> {
  requireSize(jpegHead(bytes), d);
  return withDecoder('jpeg-ls', (decoder) => {
    decoder.getEncodedBuffer(bytes.length).set(bytes);
    decoder.decode();
    // Mode 0: one scan a component, and the planes stay apart.
    return unpack(decoder, d, { planar: d.samples > 1 && decoder.getInterleaveMode() === 0, level: 0 });
  });
}

/**
 * @param halvings - how often the size may be halved: the finest wavelet levels are then not decoded at all.
 * @throws {FedError} IMAGE_UNREADABLE
 */
export function decodeJpeg2000(
  codec: 'jpeg-2000' | 'htj2k',
  bytes: Uint8Array,
  d: ImageDescription,
  halvings: number,
): Promise<Unpacked> {
  const head = jpeg2000Head(bytes);
  requireSize(head, d);
  const stream = head.start === 0 ? bytes : bytes.subarray(head.start);
  return withDecoder(codec, (decoder) => {
    decoder.getEncodedBuffer(stream.length).set(stream);
    decoder.readHeader();
    const level = Math.min(halvings, decompositions(bytes, head));
    decoder.decodeSubResolution(level, 0);
    const { isSigned = false } = decoder.getFrameInfo();
    return unpack(decoder, d, { planar: false, signed: isSigned, level });
  });
}

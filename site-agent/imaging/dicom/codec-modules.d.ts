/** The parts we use of the Emscripten builds of `@cornerstonejs`, which come without types. */
interface FrameInfo {
  readonly width: number;
  readonly height: number;
  readonly bitsPerSample: number;
  readonly componentCount: number;
  readonly isSigned?: boolean;
}
interface EmscriptenDecoder {
  /** A view of the codec's memory, of the given length, to write the code stream to. */
  getEncodedBuffer(bytes: number): Uint8Array;
  /** A view of the codec's memory: copy it before the next call. */
  getDecodedBuffer(): Uint8Array;
  readHeader(): void;
  decode(): void;
  decodeSubResolution(level: number, layers: number): void;
  getFrameInfo(): FrameInfo;
  getInterleaveMode(): number;
  delete(): void;
}
interface EmscriptenModule {
  readonly HEAPU8: Uint8Array;
  readonly J2KDecoder: new () => EmscriptenDecoder;
  readonly HTJ2KDecoder: new () => EmscriptenDecoder;
  readonly JpegLSDecoder: new () => EmscriptenDecoder;
}
type EmscriptenFactory = (options: {
  wasmBinary: Uint8Array;
  print: (line: string) => void;
  printErr: (line: string) => void;
}) => Promise<EmscriptenModule>;

declare module '@cornerstonejs/codec-openjpeg/decodewasmjs' {
  const factory: EmscriptenFactory;
  export default factory;
}
declare module '@cornerstonejs/codec-openjph/wasmjs' {
  const factory: EmscriptenFactory;
  export default factory;
}
declare module '@cornerstonejs/codec-charls/decodewasmjs' {
  const factory: EmscriptenFactory;
  export default factory;
}

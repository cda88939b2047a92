/**
 * What we ask of Microsoft SEAL, and all of it: make a key, encrypt, add, open. Pure computation on bytes; it runs inside
 * a worker thread (`worker.ts`). Every object of SEAL lives in wasm memory that nothing collects, so every one is bound
 * with `using` and freed when its block ends; `test/semantics/seal-memory.test.ts` watches the memory stay flat.
 */
import { readFile } from 'node:fs/promises';
import initialize from 'node-seal';
import type { BatchEncoder, Ciphertext, ComprModeType, MainModule, SEALContext, SecretKey } from 'node-seal';
import { FedError } from '../../errors.ts';
import { type CheckPlace, checkNumbers, innerProduct, REFUSED, summedNumbers, tagVector } from './checks.ts';
import type { TagVector } from './checks.ts';
import { MIN_NOISE_BUDGET } from './parameters.ts';
import type { BfvParameters } from './parameters.ts';
import { packChunk, unpackChunk } from './packing.ts';

/** What the holders of the consortium key hold: SEAL's secret key, serialised by SEAL, and the secret of the checks. */
export interface ConsortiumKey {
  readonly secretKey: Uint8Array;
  readonly checkSecret: Uint8Array;
}

/** One ciphertext as SEAL wrote it, and its tag. */
export interface Frame {
  readonly tag: bigint;
  readonly seal: Uint8Array;
}

/** A ciphertext of two polynomials, saved without compression: where its coefficients begin, and how long it is. */
const COEFFICIENTS_AT = 113;
const ciphertextBytes = (p: BfvParameters): number => COEFFICIENTS_AT + 16 * p.polyModulusDegree;

/** SEAL with one set of parameters. */
export class SealCore {
  readonly #seal: MainModule;
  readonly #memory: WebAssembly.Memory;
  readonly #p: BfvParameters;
  readonly #context: SEALContext;
  readonly #encoder: BatchEncoder;
  #vector: { readonly name: string; readonly value: TagVector } | null = null;

  private constructor(seal: MainModule, memory: WebAssembly.Memory, p: BfvParameters) {
    this.#seal = seal;
    this.#memory = memory;
    this.#p = p;
    this.#context = contextOf(seal, p);
    this.#encoder = new seal.BatchEncoder(this.#context);
  }

  /**
   * Loads the wasm module, of this package's own files.
   * @throws {FedError} PARAMETER_INVALID when SEAL does not find the parameters 128 bits secure.
   */
  static async open(p: BfvParameters): Promise<SealCore> {
    const { seal, memory } = await loadSeal();
    return new SealCore(seal, memory, p);
  }

  /** Bytes of wasm memory: it grows when something is not freed, and never shrinks. */
  heapBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /** A fresh secret key. SEAL draws it from `crypto.getRandomValues`. @returns SEAL's serialisation. */
  createSecretKey(): Uint8Array {
    using generator = new this.#seal.KeyGenerator(this.#context);
    using key = generator.secretKey();
    return saved(key, this.#seal.ComprModeType.zstd);
  }

  /**
   * Encrypts values, chunk after chunk, each with its check slot and its tag.
   * @param values - of the chunks from `first` on: full chunks but for the last.
   */
  encrypt(key: ConsortiumKey, place: CheckPlace, siteId: string, first: number, values: Uint32Array): Frame[] {
    const p = this.#p;
    const count = Math.ceil(values.length / p.valuesPerChunk);
    const { masks, slots } = checkNumbers(key.checkSecret, p, place, siteId, first, count);
    const vector = this.#tagVector(key, place);
    using secret = this.#secretKey(key);
    using generator = new this.#seal.KeyGenerator(this.#context, secret);
    // The constructor wants one; symmetric encryption does not use it.
    using unused = generator.createPublicKey();
    using encryptor = new this.#seal.Encryptor(this.#context, unused, secret);
    using plaintext = new this.#seal.Plaintext();
    using ciphertext = new this.#seal.Ciphertext();
    return masks.map((mask, i) => {
      const part = values.subarray(i * p.valuesPerChunk, (i + 1) * p.valuesPerChunk);
      this.#encoder.encode(packChunk(p, part, slots[i]), plaintext);
      using seeded = encryptor.encryptSymmetricSerializable(plaintext);
      const seal = saved(seeded, this.#seal.ComprModeType.zstd);
      // The tag is over both polynomials: the second has to be grown from its seed.
      ciphertext.loadFromArray(this.#context, seal);
      return { tag: (this.#product(vector, ciphertext) + mask) % p.coeffModulus, seal };
    });
  }

  /** Whether these bytes are a ciphertext a site could have made under these parameters. @throws {FedError} UPDATE_SHAPE */
  checkFrames(frames: readonly Frame[]): void {
    using ciphertext = new this.#seal.Ciphertext();
    for (const frame of frames) this.#load(ciphertext, frame);
  }

  /**
   * Adds ciphertexts and their tags, without any key.
   * @param sites - [sites][chunks]
   * @returns [chunks]
   * @throws {FedError} UPDATE_SHAPE
   */
  add(sites: readonly (readonly Frame[])[]): Frame[] {
    const { coeffModulus } = this.#p;
    using evaluator = new this.#seal.Evaluator(this.#context);
    using sum = new this.#seal.Ciphertext();
    using one = new this.#seal.Ciphertext();
    return sites[0].map((_, chunk) => {
      let tag = 0n;
      sites.forEach((frames, i) => {
        this.#load(i === 0 ? sum : one, frames[chunk]);
        if (i > 0) evaluator.addInplace(sum, one);
        tag = (tag + frames[chunk].tag) % coeffModulus;
      });
      return { tag, seal: saved(sum, this.#seal.ComprModeType.zstd) };
    });
  }

  /**
   * One key holder's part of opening a sum; with one key for all it is the whole. First the tag is checked, of every
   * chunk, then noise and check slot of each.
   * @param sites - those whose sum this is said to be.
   * @param lengths - values of each chunk. [chunks]
   * @returns the sums, one after the other.
   * @throws {FedError} SUM_REFUSED: it is not that sum. Nothing more is said.
   */
  openPart(
    key: ConsortiumKey,
    place: CheckPlace,
    sites: readonly string[],
    first: number,
    frames: readonly Frame[],
    lengths: readonly number[],
  ): Uint32Array {
    const p = this.#p;
    const wanted = summedNumbers(key.checkSecret, p, place, sites, first, frames.length);
    const vector = this.#tagVector(key, place);
    using ciphertext = new this.#seal.Ciphertext();
    const isTagged = (frame: Frame, i: number): boolean => {
      this.#load(ciphertext, frame);
      return (this.#product(vector, ciphertext) + wanted.masks[i]) % p.coeffModulus === frame.tag;
    };
    try {
      // Of all before any: no part of a false sum is decrypted.
      if (!frames.every(isTagged)) throw new FedError('SUM_REFUSED', REFUSED);
      using secret = this.#secretKey(key);
      using decryptor = new this.#seal.Decryptor(this.#context, secret);
      using plaintext = new this.#seal.Plaintext();
      const sums = frames.map((frame, i) => {
        this.#load(ciphertext, frame);
        if (decryptor.invariantNoiseBudget(ciphertext) < MIN_NOISE_BUDGET) throw new FedError('SUM_REFUSED', REFUSED);
        decryptor.decrypt(ciphertext, plaintext);
        const slots = this.#encoder.decodeBigUint64(plaintext) as BigUint64Array;
        if (slots[0] !== wanted.slots[i]) throw new FedError('SUM_REFUSED', REFUSED);
        return unpackChunk(p, slots, lengths[i]);
      });
      return joined(sums);
    } catch {
      throw new FedError('SUM_REFUSED', REFUSED);
    }
  }

  dispose(): void {
    this.#encoder.delete();
    this.#context.delete();
  }

  #secretKey(key: ConsortiumKey): SecretKey {
    const secret = new this.#seal.SecretKey();
    try {
      secret.loadFromArray(this.#context, key.secretKey);
    } catch {
      secret.delete();
      throw new FedError('MESSAGE_INVALID', 'the consortium key is not a key under these parameters');
    }
    return secret;
  }

  /** SEAL itself checks that every coefficient is below q, and that the parameters are these. */
  #load(into: Ciphertext, { seal, tag }: Frame): void {
    try {
      into.loadFromArray(this.#context, seal);
    } catch {
      throw new FedError('UPDATE_SHAPE', 'not a ciphertext under these parameters');
    }
    if (into.size() !== 2 || into.isTransparent() || tag >= this.#p.coeffModulus)
      throw new FedError('UPDATE_SHAPE', 'not a ciphertext that a site would make');
  }

  #product(vector: TagVector, ciphertext: Ciphertext): bigint {
    const bytes = saved(ciphertext, this.#seal.ComprModeType.none);
    if (bytes.length !== ciphertextBytes(this.#p))
      throw new FedError('UPDATE_SHAPE', `a ciphertext of ${bytes.length} bytes`);
    return innerProduct(vector, bytes.subarray(COEFFICIENTS_AT));
  }

  /** Kept from one call to the next: an attempt has one. */
  #tagVector(key: ConsortiumKey, place: CheckPlace): TagVector {
    const name = `${Buffer.from(key.checkSecret).toString('hex')} ${place.runId} ${place.round} ${place.attempt}`;
    if (this.#vector?.name !== name) this.#vector = { name, value: tagVector(key.checkSecret, this.#p, place) };
    return this.#vector.value;
  }
}

/** The module, and its memory, which it does not show otherwise. */
async function loadSeal(): Promise<{ seal: MainModule; memory: WebAssembly.Memory }> {
  const wasm = await readFile(new URL('seal_throws.wasm', import.meta.resolve('node-seal')));
  return new Promise((resolve, reject) => {
    let memory: WebAssembly.Memory | undefined;
    const instantiateWasm = (imports: WebAssembly.Imports, done: (...made: unknown[]) => void) => {
      WebAssembly.instantiate(wasm, imports).then(({ instance, module }) => {
        memory = Object.values(instance.exports).find((value) => value instanceof WebAssembly.Memory);
        done(instance, module);
      }, reject);
      return {};
    };
    initialize({ instantiateWasm }).then((seal) => {
      if (memory) resolve({ seal, memory });
      else reject(new FedError('ENGINE_MISSING', 'node-seal shows no memory'));
    }, reject);
  });
}

/** The parameters as SEAL takes them; it states its own verdict on their security. */
function contextOf(seal: MainModule, p: BfvParameters): SEALContext {
  using parameters = new seal.EncryptionParameters(seal.SchemeType.bfv);
  using moduli = new seal.VectorModulus();
  using q = new seal.Modulus(p.coeffModulus);
  using t = new seal.Modulus(p.plainModulus);
  moduli.push_back(q);
  parameters.setPolyModulusDegree(p.polyModulusDegree);
  parameters.setCoeffModulus(moduli);
  parameters.setPlainModulus(t);
  const context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
  if (!context.parametersSet()) {
    context.delete();
    throw new FedError('PARAMETER_INVALID', 'SEAL does not find the parameters of bfv 128 bits secure');
  }
  return context;
}

/** A copy outside of wasm memory. */
const saved = (object: { saveToArray(mode: ComprModeType): unknown }, mode: ComprModeType): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(object.saveToArray(mode) as Uint8Array);

function joined(parts: readonly Uint32Array[]): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

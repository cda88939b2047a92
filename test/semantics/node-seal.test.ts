/** What node-seal 7 (Microsoft SEAL 4.1) does, as scheme `bfv` relies on it. */
import initialize from 'node-seal';
import type { Ciphertext, MainModule, SEALContext } from 'node-seal';
import { beforeAll, describe, expect, test } from 'vitest';
import { bfvParameters, FRESH_NOISE_BUDGET } from '../../shared/aggregation/bfv/parameters.ts';

const { coeffModulus, plainModulus, polyModulusDegree: N } = bfvParameters({ bits: 16, maxSites: 8 });
let seal: MainModule;
let rig: ReturnType<typeof rigOf>;

function contextOf(bits: number, security: 'tc128' | 'none' = 'tc128', degree = N): SEALContext {
  const parameters = new seal.EncryptionParameters(seal.SchemeType.bfv);
  parameters.setPolyModulusDegree(degree);
  parameters.setCoeffModulus(seal.CoeffModulus.Create(degree, Int32Array.from([bits])));
  parameters.setPlainModulus(seal.PlainModulus.Batching(degree, 33));
  return new seal.SEALContext(parameters, true, seal.SecLevelType[security]);
}

function rigOf(context: SEALContext) {
  const generator = new seal.KeyGenerator(context);
  const secret = generator.secretKey();
  const encryptor = new seal.Encryptor(context, generator.createPublicKey(), secret);
  const encoder = new seal.BatchEncoder(context);
  const decryptor = new seal.Decryptor(context, secret);
  const encode = (slots: BigUint64Array) => {
    const plaintext = new seal.Plaintext();
    encoder.encode(slots, plaintext);
    return plaintext;
  };
  return {
    context,
    secret,
    encryptor,
    decryptor,
    encode,
    evaluator: new seal.Evaluator(context),
    load: (bytes: Uint8Array) => {
      const ciphertext = new seal.Ciphertext();
      ciphertext.loadFromArray(context, bytes);
      return ciphertext;
    },
    /** As a site encrypts: symmetric, seeded. */
    encrypt: (slots: BigUint64Array, mode: 'none' | 'zlib' | 'zstd' = 'zstd') =>
      encryptor.encryptSymmetricSerializable(encode(slots)).saveToArray(seal.ComprModeType[mode]) as Uint8Array,
    decrypt: (ciphertext: Ciphertext, by = decryptor) => {
      const plaintext = new seal.Plaintext();
      by.decrypt(ciphertext, plaintext);
      return encoder.decodeBigUint64(plaintext) as BigUint64Array;
    },
  };
}
const slotsOf = (f: (i: number) => number) => BigUint64Array.from({ length: N }, (_, i) => BigInt(f(i)));

beforeAll(async () => {
  seal = await initialize();
  rig = rigOf(contextOf(54));
});

describe('parameters', () => {
  test('the moduli are the ones SEAL chooses', () => {
    const parameters = rig.context.keyContextData().parms();
    expect(parameters.coeffModulus().get(0)!.value()).toBe(coeffModulus);
    expect(parameters.plainModulus().value()).toBe(plainModulus);
    expect(rig.context.parametersSet()).toBe(true);
    expect(rig.context.firstContextData().qualifiers().usingBatching).toBe(true);
  });

  test('54 bits are the most that 128 bits of security allow; one more is refused, unless nobody asks', () => {
    expect(seal.CoeffModulus.MaxBitCount(N, seal.SecLevelType.tc128)).toBe(54);
    expect(contextOf(55, 'tc128').parametersSet()).toBe(false);
    expect(contextOf(55, 'none').parametersSet()).toBe(true);
    expect(contextOf(54, 'tc128', 1024).parametersSet()).toBe(false);
  });
});

describe('noise', () => {
  test('a fresh symmetric ciphertext has 16 bits of budget, one under the public key 10', () => {
    const slots = slotsOf((i) => i);
    expect(rig.decryptor.invariantNoiseBudget(rig.load(rig.encrypt(slots)))).toBe(FRESH_NOISE_BUDGET);
    const open = new seal.Ciphertext();
    rig.encryptor.encrypt(rig.encode(slots), open);
    expect(rig.decryptor.invariantNoiseBudget(open)).toBe(10);
  });

  test('the sum of 128 decrypts exactly, with room to spare', () => {
    const sum = rig.load(rig.encrypt(slotsOf((i) => i)));
    for (let s = 1; s < 128; s++) rig.evaluator.addInplace(sum, rig.load(rig.encrypt(slotsOf((i) => i + s))));
    expect(rig.decryptor.invariantNoiseBudget(sum)).toBeGreaterThanOrEqual(FRESH_NOISE_BUDGET - 7);
    expect(rig.decrypt(sum)).toEqual(slotsOf((i) => 128 * i + (127 * 128) / 2));
  });

  test('sums wrap at the plain modulus, silently: that they stay below it is for the parameters to see to', () => {
    const top = BigUint64Array.from({ length: N }, () => plainModulus - 1n);
    const sum = rig.load(rig.encrypt(top));
    rig.evaluator.addInplace(sum, rig.load(rig.encrypt(slotsOf(() => 3))));
    expect(rig.decrypt(sum)[5]).toBe(2n);
  });
});

describe('serialisation', () => {
  test('zstd, zlib and none hold the same ciphertext; zstd is the smallest', () => {
    const slots = slotsOf((i) => (31 * i) % 65_536);
    const sizes = (['none', 'zlib', 'zstd'] as const).map((mode) => {
      const bytes = rig.encrypt(slots, mode);
      expect(rig.decrypt(rig.load(bytes))).toEqual(slots);
      return bytes.length;
    });
    expect(sizes[0]).toBe(16_578);
    expect(sizes[1]).toBeLessThan(15_700);
    expect(sizes[2]).toBeLessThan(sizes[1]);
  });

  test('a seeded ciphertext is half of a full one, and grows to it when it is loaded', () => {
    const seeded = rig.encrypt(
      slotsOf((i) => i),
      'none',
    );
    const full = rig.load(seeded).saveToArray(seal.ComprModeType.none) as Uint8Array;
    expect([seeded.length, full.length]).toEqual([16_578, 113 + 2 * N * 8]);
    expect(rig.load(seeded).size()).toBe(2);
    // The first polynomial is there in the clear, the second comes from the seed: the same every time.
    expect(rig.load(seeded).saveToArray(seal.ComprModeType.none)).toEqual(full);
  });

  test('what is cut short, changed in its header, or of other parameters is refused', () => {
    const bytes = rig.encrypt(slotsOf((i) => i));
    expect(() => rig.load(bytes.slice(0, -1))).toThrow();
    expect(() => rig.load(bytes.map((b, i) => (i === 0 ? b ^ 1 : b)))).toThrow();
    const other = rigOf(contextOf(53));
    expect(() => other.load(bytes)).toThrow();
  });

  test('a coefficient that is not below the modulus is refused', () => {
    const full = rig.load(rig.encrypt(slotsOf((i) => i))).saveToArray(seal.ComprModeType.none) as Uint8Array;
    const changed = Uint8Array.from(full);
    new DataView(changed.buffer).setBigUint64(113, coeffModulus, true);
    expect(() => rig.load(full)).not.toThrow();
    expect(() => rig.load(changed)).toThrow();
  });
});

describe('keys', () => {
  test('no two encryptions are alike', () => {
    const slots = slotsOf((i) => i);
    expect(rig.encrypt(slots)).not.toEqual(rig.encrypt(slots));
  });

  test('randomness is the one of the operating system, by way of crypto.getRandomValues', () => {
    const real = crypto.getRandomValues.bind(crypto);
    let drawn = 0;
    crypto.getRandomValues = ((view: Uint8Array) => {
      drawn += view.byteLength;
      return real(view as Uint8Array<ArrayBuffer>);
    }) as typeof crypto.getRandomValues;
    try {
      new seal.KeyGenerator(rig.context).delete();
      rig.encrypt(slotsOf((i) => i));
    } finally {
      crypto.getRandomValues = real;
    }
    // A seed of 64 bytes for the key, and one or more for the ciphertext.
    expect(drawn).toBeGreaterThanOrEqual(128);
  });

  test('another key decrypts to noise, without an error, and the budget says so', () => {
    const slots = slotsOf((i) => i);
    const ciphertext = rig.load(rig.encrypt(slots));
    const other = new seal.Decryptor(rig.context, new seal.KeyGenerator(rig.context).secretKey());
    expect(other.invariantNoiseBudget(ciphertext)).toBe(0);
    const found = rig.decrypt(ciphertext, other);
    expect(found.filter((v, i) => v === slots[i]).length).toBeLessThan(5);
  });
});

/** Memory of wasm is not collected: what is not freed stays. Two hundred rounds must leave it as it was. */
import { randomBytes } from 'node:crypto';
import initialize from 'node-seal';
import { expect, test } from 'vitest';
import { bfvParameters } from '../../shared/aggregation/bfv/parameters.ts';
import { SealCore } from '../../shared/aggregation/bfv/seal-core.ts';

const p = bfvParameters({ bits: 16, maxSites: 8 });

test('two hundred rounds leave the memory of wasm as the tenth found it', async () => {
  const core = await SealCore.open(p);
  const sites = ['a', 'b', 'c'];
  const values = Uint32Array.from({ length: p.valuesPerChunk }, (_, i) => i);
  const heap: number[] = [];
  for (let round = 0; round < 200; round++) {
    const place = { runId: 'a run', round, attempt: 0 };
    const key = { secretKey: core.createSecretKey(), checkSecret: randomBytes(32) };
    const frames = sites.map((siteId) => core.encrypt(key, place, siteId, 0, values));
    core.checkFrames(frames[0]);
    const sum = core.add(frames);
    core.openPart(key, place, sites, 0, sum, [values.length]);
    // What is refused must not leave anything behind either.
    if (round % 4 === 0) expect(() => core.openPart(key, place, ['a'], 0, sum, [values.length])).toThrow();
    expect(() => core.checkFrames([{ tag: 0n, seal: sum[0].seal.subarray(0, 100) }])).toThrow();
    heap.push(core.heapBytes());
  }
  core.dispose();
  expect(heap.at(-1)).toBe(heap[10]);
});

test('positive control: ciphertexts that nobody frees make it grow', async () => {
  const { memory, seal } = await withMemory();
  const parameters = new seal.EncryptionParameters(seal.SchemeType.bfv);
  parameters.setPolyModulusDegree(2048);
  parameters.setCoeffModulus(seal.CoeffModulus.Create(2048, Int32Array.from([54])));
  parameters.setPlainModulus(seal.PlainModulus.Batching(2048, 33));
  const context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
  const secret = new seal.KeyGenerator(context).secretKey();
  const encryptor = new seal.Encryptor(context, new seal.KeyGenerator(context).createPublicKey(), secret);
  const before = memory().buffer.byteLength;
  for (let i = 0; i < 600; i++) encryptor.encryptZeroSerializable();
  expect(memory().buffer.byteLength).toBeGreaterThan(before);
});

async function withMemory() {
  let memory: WebAssembly.Memory | undefined;
  const { instantiate } = WebAssembly;
  WebAssembly.instantiate = (async (...args: Parameters<typeof instantiate>) => {
    const made = (await instantiate(...args)) as unknown as WebAssembly.WebAssemblyInstantiatedSource;
    memory = Object.values(made.instance.exports).find((value) => value instanceof WebAssembly.Memory);
    return made;
  }) as unknown as typeof instantiate;
  try {
    return { seal: await initialize(), memory: () => memory! };
  } finally {
    WebAssembly.instantiate = instantiate;
  }
}

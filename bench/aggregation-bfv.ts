/** What encryption costs: a site, the coordinator, the sites that open a sum, and the memory of wasm. One thread. */
import { randomBytes } from 'node:crypto';
import { packBits } from '../shared/aggregation/bit-pack.ts';
import { writeEnvelope } from '../shared/aggregation/bfv/envelope.ts';
import { bfvParameters, chunksOf } from '../shared/aggregation/bfv/parameters.ts';
import type { BfvParameters } from '../shared/aggregation/bfv/parameters.ts';
import { SealCore } from '../shared/aggregation/bfv/seal-core.ts';
import type { Frame } from '../shared/aggregation/bfv/seal-core.ts';
import { createQuantiser, dequantiseSum, quantise, stepOf } from '../shared/aggregation/quantise.ts';
import { secureBytes } from '../shared/random.ts';
import type { BenchRow } from './run.ts';

const MILLION = 1_000_000;
const SITES = Array.from({ length: 8 }, (_, i) => `site-${i}`);
type Report = (row: BenchRow) => void;

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];
/** Wall time, and processor time, which a machine that does other things as well does not stretch as much. */
function timed<T>(work: () => T): { result: T; ms: number; cpuMs: number } {
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  const result = work();
  const { user, system } = process.cpuUsage(cpu);
  return { result, ms: performance.now() - start, cpuMs: (user + system) / 1000 };
}
function updateOf(site: number): Float32Array {
  const update = new Float32Array(MILLION);
  for (let i = 0; i < MILLION; i++) update[i] = Math.sin(i * 0.37 + site) * 0.9;
  return update;
}

/** One million values, 8 sites. */
export async function bfvCases(report: Report): Promise<void> {
  for (const [bits, most] of [
    [16, 2],
    [13, 1],
  ] as const)
    await sumOfMillion(bfvParameters({ bits, maxSites: 8 }), most, report);
  await memoryOver(200, report);
}

async function sumOfMillion(p: BfvParameters, most: number, report: Report): Promise<void> {
  const what = `bfv, 8 sites, 1M values of ${p.bits} bits`;
  const core = await SealCore.open(p);
  const setUp = timed(() => ({ secretKey: core.createSecretKey(), checkSecret: randomBytes(32) }));
  const key = setUp.result;
  const place = { runId: 'bench', round: 0, attempt: 0 };
  const quantiser = createQuantiser(p.bits, 1);
  const quantising: number[] = [];
  const encrypting: { ms: number; cpuMs: number }[] = [];
  const updates: Frame[][] = SITES.map((siteId, i) => {
    const whole = timed(() => quantise(updateOf(i), quantiser, secureBytes));
    quantising.push(whole.ms);
    const encrypted = timed(() => core.encrypt(key, place, siteId, 0, whole.result));
    encrypting.push(encrypted);
    return encrypted.result;
  });
  const ratio = writeEnvelope('update', p, MILLION, updates[0]).length / (4 * MILLION);
  const bytes = { target: `<= ${most.toFixed(1)}`, holds: ratio <= most };
  report({ case: `${what}: bytes a site sends, over float32`, value: ratio, unit: 'x', ...bytes });
  const [first, ...rest] = encrypting;
  const limit = (ms: number) => ({ value: ms, unit: 'ms', target: '<= 1500', holds: ms <= 1500 });
  const encrypt = `${what}: encrypt, tags included, processor time`;
  report({ case: `${encrypt}, median after the first`, ...limit(median(rest.map((r) => r.cpuMs))) });
  report({ case: '  wall clock of it', value: median(rest.map((r) => r.ms)), unit: 'ms' });
  report({ case: `${encrypt}, the first time in a process`, value: first.cpuMs, unit: 'ms' });
  report({ case: '  quantise before it', value: median(quantising), unit: 'ms' });
  report({ case: '  make the key', value: setUp.ms, unit: 'ms' });

  const checked = timed(() => core.checkFrames(updates[0]));
  const added = timed(() => core.add(updates));
  report({ case: `${what}: coordinator, check one upload, processor time`, value: checked.cpuMs, unit: 'ms' });
  report({ case: `${what}: coordinator, add all 8, processor time`, value: added.cpuMs, unit: 'ms' });
  const sum = added.result;
  const lengths = Array.from({ length: chunksOf(p, MILLION) }, (_, i) =>
    Math.min(p.valuesPerChunk, MILLION - i * p.valuesPerChunk),
  );
  const opened = timed(() => core.openPart(key, place, SITES, 0, sum, lengths));
  report({ case: `${what}: an opener, check and decrypt the sum, processor time`, value: opened.cpuMs, unit: 'ms' });
  const shown = writeEnvelope('sum', p, MILLION, sum).length;
  report({ case: `${what}: bytes an opener is shown (3 of 8 sites), over float32`, value: shown / 4e6, unit: 'x' });
  const back = packBits(opened.result, p.sumBits).length;
  report({ case: `${what}: bytes an opener sends back, over float32`, value: back / 4e6, unit: 'x' });
  report({
    case: `${what}: largest error of the sum, in steps a site`,
    value: errorOf(opened.result, p.bits),
    unit: '',
  });
  core.dispose();
}

/** In steps of the quantiser and sites: below 1. */
function errorOf(sums: Uint32Array, bits: number): number {
  const quantiser = createQuantiser(bits, 1);
  const found = dequantiseSum(sums, quantiser, SITES.length);
  const exact = new Float64Array(found.length);
  for (let k = 0; k < SITES.length; k++) {
    const update = updateOf(k);
    for (let i = 0; i < found.length; i++) exact[i] += update[i];
  }
  let worst = 0;
  for (let i = 0; i < found.length; i++) worst = Math.max(worst, Math.abs(found[i] - exact[i]));
  return worst / stepOf(quantiser) / SITES.length;
}

/** Rounds of three sites, one ciphertext each: memory of wasm after the tenth and at the end. */
async function memoryOver(rounds: number, report: Report): Promise<void> {
  const p = bfvParameters({ bits: 16, maxSites: 8 });
  const core = await SealCore.open(p);
  const values = new Uint32Array(p.valuesPerChunk);
  const sites = SITES.slice(0, 3);
  let tenth = 0;
  for (let round = 0; round < rounds; round++) {
    const place = { runId: 'bench', round, attempt: 0 };
    const key = { secretKey: core.createSecretKey(), checkSecret: randomBytes(32) };
    const sum = core.add(sites.map((siteId) => core.encrypt(key, place, siteId, 0, values)));
    core.openPart(key, place, sites, 0, sum, [values.length]);
    if (round === 9) tenth = core.heapBytes();
  }
  const growth = core.heapBytes() - tenth;
  report({ case: `bfv: memory of wasm after ${rounds} rounds`, value: core.heapBytes() / 2 ** 20, unit: 'MiB' });
  report({
    case: `bfv: growth of it from round 10 to ${rounds}`,
    value: growth,
    unit: 'bytes',
    target: '0',
    holds: growth === 0,
  });
  core.dispose();
}

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FedError } from '../shared/errors.ts';
import { writeSlices } from './imaging-slices.ts';
import type { Bench, BenchRow } from './run.ts';

const FILES = 1000;
const DISTINCT = 25;
const THREADS = 2;
const MIB = 2 ** 20;

interface Measured {
  readonly images: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

/**
 * 1,000 CT slices of 512 × 512, JPEG 2000 lossless, to 64 × 64 tensors in two threads, in a fresh process each time: as a site
 * does it, with every pixel decoded, and out of the encrypted cache. The peak is of the whole process, tensors included.
 * @param args - a number of files; 1,000 without one.
 */
async function run(args: string[], report: (row: BenchRow) => void): Promise<void> {
  const count = args[0] === undefined ? FILES : Number(args[0]);
  if (args.length > 1 || !Number.isInteger(count) || count < DISTINCT)
    throw new FedError('PARAMETER_INVALID', `bench imaging takes a number of files, at least ${DISTINCT}`);
  const folder = mkdtempSync(path.join(tmpdir(), 'veilgan-bench-imaging-'));
  try {
    const bytes = await writeSlices(path.join(folder, 'ct'), count, DISTINCT);
    report({ case: `${count} files written`, value: Math.round(bytes / count / 1000), unit: 'kB a file' });
    const cache = path.join(folder, 'cache.sqlite');
    const first = await read({ folder, cache, everyPixel: false });
    rows('decoded', first, count, report, true);
    rows('out of the cache', await read({ folder, cache, everyPixel: false }), count, report, false);
    rows('every pixel decoded', await read({ folder, everyPixel: true }), count, report, false);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function rows(name: string, m: Measured, count: number, report: (row: BenchRow) => void, targets: boolean): void {
  const rate = count / m.seconds;
  const byCpu = (THREADS * count) / m.cpuSeconds;
  report({ case: `${name}: files a second, ${THREADS} threads`, value: rate, unit: 'files/s', ...(targets ? { target: '>= 60', holds: rate >= 60 } : {}) }); // prettier-ignore
  // What two processors of one's own would give, when this machine's are shared: processor time, not the clock.
  report({ case: `${name}: by processor time of ${THREADS}`, value: byCpu, unit: 'files/s' });
  const peak = m.peakBytes / MIB;
  report({ case: `${name}: peak RSS`, value: Math.round(peak), unit: 'MiB', ...(targets ? { target: '< 500 MB', holds: m.peakBytes < 5e8 } : {}) }); // prettier-ignore
}

async function read(o: { folder: string; cache?: string; everyPixel: boolean }): Promise<Measured> {
  const child = fork(path.join(import.meta.dirname, 'imaging-reader.ts'), { execArgv: [] });
  child.send({ ...o, threads: THREADS });
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  const [first] = (await Promise.race([once(child, 'message'), ended])) as [Measured | number | null];
  const [code, signal] = await ended;
  if (first === null || typeof first === 'number') throw new Error(`the reader ended with ${code ?? signal}`);
  return first;
}

export const bench: Bench = {
  name: 'imaging',
  summary: 'DICOM to tensors: throughput and memory',
  run,
};

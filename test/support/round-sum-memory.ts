/**
 * Run as a process of its own: sums 30 spooled uploads and prints how far its memory grew, in bytes. With `hold`, it
 * reads them all before adding, which is what the real one must not do.
 */
import { readFileSync } from 'node:fs';
import { clearCoordinator, packFloat32 } from '../../shared/aggregation/clear.ts';
import { openBlob } from '../../shared/protocol/blob-store.ts';
import { FileBlobStore } from '../../shared/protocol/file-blob-store.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';

const [folder, length, mode] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const store = new FileBlobStore(folder);
await store.put('upload', packFloat32(new Float32Array(length).fill(0.5)));
const names = Array.from({ length: 30 }, (_, i) => `s${i}`);
const spooled = async () => ({ body: null, tensor: await openBlob(store, 'upload') });
const answers = new Map(await Promise.all(names.map(async (name) => [name, await spooled()] as const)));

/** Of this process: on Linux a process starts with the maxRSS of the one that forked it. */
const peak = () => {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024;
  return 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
};
const before = peak();
const held: Uint8Array[] = [];
if (mode === 'hold')
  for (const { tensor } of answers.values())
    for await (const piece of tensor.chunks()) held.push(Uint8Array.from(piece));
const plan = {} as RoundPlan;
const result = await clearCoordinator.close({
  plan,
  phase: 0,
  length,
  integers: false,
  answers,
  earlier: async () => new Map(),
});
if (!('sum' in result) || result.sum[length - 1] !== 15) throw new Error('wrong sum');
console.log(peak() - before);

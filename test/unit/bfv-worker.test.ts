import { randomBytes } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { bfvParameters } from '../../shared/aggregation/bfv/parameters.ts';
import { SealWorker } from '../../shared/aggregation/bfv/seal-worker.ts';
import { codeOf } from '../support/wire-rig.ts';

const parameters = bfvParameters({ bits: 16, maxSites: 8 });
const place = { runId: 'a run', round: 0, attempt: 0 };
const workers: SealWorker[] = [];
const open = (p = parameters) => {
  workers.push(new SealWorker(p));
  return workers.at(-1)!;
};
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.dispose();
});
const keyOf = async (worker: SealWorker) => ({
  secretKey: await worker.call('createSecretKey'),
  checkSecret: Uint8Array.from(randomBytes(32)),
});

test('it computes beside this thread, which goes on', async () => {
  const worker = open();
  const key = await keyOf(worker);
  let turns = 0;
  let over = false;
  const count = () => {
    turns += 1;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  const values = new Uint32Array(64 * parameters.valuesPerChunk);
  const frames = await worker.call('encrypt', key, place, 'site-a', 0, values);
  over = true;
  expect(frames).toHaveLength(64);
  // While two hundred milliseconds of work were done elsewhere. In this thread it would have been a turn or two.
  expect(turns).toBeGreaterThan(50);
});

test('calls are answered in order; an error is its caller’s alone, with its code', async () => {
  const worker = open();
  const key = await keyOf(worker);
  const values = Uint32Array.of(1, 2, 3);
  const encrypted = worker.call('encrypt', key, place, 'site-a', 0, values);
  const bad = worker.call('checkFrames', [{ tag: 0n, seal: new Uint8Array(20) }]);
  const frames = await encrypted;
  expect(await codeOf(bad)).toBe('UPDATE_SHAPE');
  const opened = await worker.call('openPart', key, place, ['site-a'], 0, await worker.call('add', [frames]), [3]);
  expect([...opened]).toEqual([1, 2, 3]);
  const foreign = { ...key, secretKey: new Uint8Array(100) };
  expect(await codeOf(worker.call('encrypt', foreign, place, 'site-a', 0, values))).toBe('MESSAGE_INVALID');
  expect(await worker.call('heapBytes')).toBeGreaterThan(2 ** 20);
});

test('the thread is shared, ends with the last that used it, and another is started after it', async () => {
  const [one, two] = [open(), open()];
  await one.call('heapBytes');
  await two.call('heapBytes');
  await one.dispose();
  expect(await two.call('heapBytes')).toBeGreaterThan(0);
  await two.dispose();
  await expect(two.call('heapBytes')).rejects.toThrow(/disposed/);
  expect(await open().call('heapBytes')).toBeGreaterThan(0);
});

test('parameters that SEAL does not find secure are refused by every call', async () => {
  // Behind the back of the check in `parameters.ts`: what SEAL says is asked as well.
  const insecure = { ...parameters, coeffModulus: 36028797018652673n, sha256: '0'.repeat(64) } as typeof parameters;
  const worker = open(insecure);
  expect(await codeOf(worker.call('createSecretKey'))).toBe('PARAMETER_INVALID');
  expect(await codeOf(worker.call('createSecretKey'))).toBe('PARAMETER_INVALID');
});

import { expect, test } from 'vitest';
import { Served } from '../../coordinator/core/served.ts';
import { discriminatorBlob } from '../../coordinator/discriminators.ts';
import { storeGenerator } from '../../coordinator/generators.ts';
import { PooledAhead } from '../../coordinator/pooled-ahead.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { DiscriminatorRecord, RoundRecord } from '../../coordinator/store/store.ts';
import { packFloat32 } from '../../shared/aggregation/clear.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { PooledStubTrainer } from '../support/pooled-stubs.ts';
import { LENGTH, RUN_ID } from '../support/round-rig.ts';

const RUN = { runId: RUN_ID, round: 0, finished: false } as never;
const SITES = ['site-a', 'site-b'];

async function scene() {
  const [store, blobs, served] = [new MemoryStore(), new MemoryBlobStore(), new Served()];
  const trainer = new PooledStubTrainer();
  const generator = await storeGenerator(blobs, RUN_ID, 0, await trainer.initialState(), trainer);
  const after = async (total: number) => {
    const state = packFloat32(new Float32Array(LENGTH).fill(total));
    await blobs.put(discriminatorBlob(RUN_ID, total), state);
    const named = { sha256: sha256Hex(state), bytes: state.length };
    const record: DiscriminatorRecord = { round: 0, attempt: 0, steps: total, total, state: named, weights: named };
    return { state, record };
  };
  const commit = (discriminator: DiscriminatorRecord) =>
    store.transaction((tx) => tx.putRun({ ...(RUN as object), discriminator } as never));
  await store.transaction((tx) => tx.putGenerator(RUN_ID, generator));
  const opened = { plan: { round: 0, attempt: 0 } } as RoundRecord;
  const work = new PooledAhead({ store, blobs, runId: RUN_ID, trainer, served }, opened);
  return { after, commit, served, work };
}

test('the fakes of a discriminator are worked out once, when the last site has it', async () => {
  const { after, commit, served, work } = await scene();
  const first = await after(0);
  await commit(first.record);
  await work.beginWith(SITES);
  served.note('site-a', first.record.weights.sha256);
  served.note('site-b', first.record.weights.sha256);
  const begun = work.fakes();
  expect(await work.on(first.record)).toBe(await begun);
});

test('a site that fetches the discriminator before late sets off nothing that the next step uses', async () => {
  const { after, commit, served, work } = await scene();
  const [first, second] = [await after(0), await after(1)];
  await commit(first.record);
  await work.beginWith(SITES);
  served.note('site-a', first.record.weights.sha256);
  // The sum came in without it: the step is applied and durable, and the store does not say so yet.
  await work.on(first.record);
  work.moved(second.record, second.state);
  served.note('site-b', first.record.weights.sha256);
  const early = await work.fakes();
  await commit(second.record);
  // What went into the next step before: it would have stepped on from the first.
  expect(early.record).toEqual(first.record);
  const used = await work.on(second.record);
  expect(used.record).toEqual(second.record);
  expect(used.state).toBe(second.state);
  expect(used.fakes.of).toBe(second.state);
});

test('what fails is said once: no second try, no other discriminator', async () => {
  const { after, commit, work } = await scene();
  const { record } = await after(7);
  const lost = { ...record, state: { ...record.state, sha256: 'f'.repeat(64) } };
  await commit(lost);
  await expect(work.on(lost)).rejects.toThrow('STORE_CORRUPT');
});

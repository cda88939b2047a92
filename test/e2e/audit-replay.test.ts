/** The generator's steps, taken again from exported sums on real networks; and a monitor that follows the same log. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { exportAudit } from '../../cli/audit/export-folder.ts';
import { type LogClient, Monitor } from '../../cli/audit/monitor.ts';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import { GanGeneratorTrainer } from '../../coordinator/gan-generator-trainer.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { checkpointReply, cosignedNote } from '../../coordinator/witnesses.ts';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { openEngine } from '../../shared/engine/open.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { signRoster } from '../../shared/identity/roster.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { secureBytes } from '../../shared/random.ts';
import { openComputation } from '../../site-agent/open-computation.ts';
import { exportedRun, handedOver } from '../support/audit-rig.ts';
import { phantomSite, refusalOf, tinyPolicy } from '../support/glue-rig.ts';
import { agentOf, castOf, coordinatorOf, RUN_ID, testBounds } from '../support/round-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-replay-'));
let engine: Engine;
beforeAll(async () => {
  engine = await openEngine('cpu', { threads: 1 });
});
afterAll(async () => {
  await engine.dispose();
  rmSync(folder, { recursive: true });
});

test('steps come out of the exported sums, to the last bit; a sum that was touched does not', async () => {
  await using open = new AsyncDisposableStack();
  const policy = tinyPolicy({ training: { rounds: 3 }, warmStart: null });
  const cast = castOf(2);
  const [store, blobs] = [new MemoryStore(), new MemoryBlobStore()];
  const trainer = open.adopt(new GanGeneratorTrainer(engine, policy), (t) => t.dispose());
  const coordinator = coordinatorOf(cast, policy, { store, blobs, trainer, keepSums: true });
  const bounds = { ...testBounds, maxEpsilon: 1e9, maxDelta: 0.1, minNoiseToSampleRate: 0, lifetime: { epsilon: 1e9, delta: 0.1 } }; // prettier-ignore
  const agents = await Promise.all(
    [...cast.sites.keys()].map(async (siteId) => {
      const parts = { engine, policy, siteId, images: phantomSite({ site: siteId }), random: secureBytes };
      const computation = open.adopt(await openComputation(parts), (c) => c.dispose());
      return agentOf(cast, policy, siteId, coordinator, { computation, bounds });
    }),
  );
  await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  const roster = await signRoster(cast.coordinator, cast.roster, 0);
  const out = join(folder, 'run');
  const common = { runId: RUN_ID, store, keys: cast.coordinator, policy, policyText: JSON.stringify(policy), blobs };
  await exportAudit({ ...common, roster, out, manifests: new Map() });
  const report = await verifyFolder(out, { keys: handedOver(cast) });
  expect(report.problems).toEqual([]);
  expect(report.generator).toMatchObject({ replayed: 3, chained: 0, why: null });

  // Positive controls: another sum; and none, which is said and no problem.
  const touched = join(folder, 'touched');
  cpSync(out, touched, { recursive: true });
  const sum = readFileSync(join(touched, 'sums', '1.f64'));
  sum[7] ^= 1;
  writeFileSync(join(touched, 'sums', '1.f64'), sum);
  const wrong = await verifyFolder(touched, { keys: handedOver(cast) });
  expect(wrong.problems.map((p) => p.detail)).toEqual(['round 1: the exported sum is not the one in the log']);
  expect(wrong.generator.replayed).toBe(1);
  rmSync(join(touched, 'sums', '1.f64'));
  const lacking = await verifyFolder(touched, { keys: handedOver(cast) });
  expect([lacking.problems, lacking.generator.why]).toEqual([[], 'no sum of round 1']);
}, 60_000);

/** The log of a store as a coordinator serves it, up to one of its checkpoints. */
const served = (store: MemoryStore, checkpoint: number): LogClient => ({
  checkpoint: () => store.transaction(async (tx) => cosignedNote((await tx.checkpoints(RUN_ID, 0)).at(checkpoint)!)),
  entries: (from) => store.transaction(async (tx) => (await tx.log(RUN_ID, from, 10)).map((e) => canonicalJson(e))),
  proof: (from, to) =>
    store.transaction(async (tx) => [...(await checkpointReply(tx, { runId: RUN_ID, size: to, from })).proof]),
});

test('a monitor follows, goes on after a restart, keeps a folder that verifies, and sees a log that forks or goes back', async () => {
  const { cast, store } = await exportedRun(join(folder, 'monitored'));
  const dir = join(folder, 'watch');
  const monitor = () => new Monitor({ dir, runId: RUN_ID, coordinator: publicPart(cast.coordinator.signing), nowMs: () => 0 }); // prettier-ignore
  const first = (await monitor().look(served(store, 1)))!;
  expect(first).toBeGreaterThan(0);
  const second = (await monitor().look(served(store, -1)))!;
  expect(second).toBeGreaterThan(0);
  expect(await monitor().look(served(store, -1))).toBe(0);
  expect(monitor().size).toBe(first + second);
  expect((await verifyFolder(dir, { keys: handedOver(cast) })).problems).toEqual([]);

  expect(await refusalOf(() => monitor().look(served(store, 0)))).toMatch(/^LOG_REWOUND/);
  const stranger = new Monitor({ dir: join(folder, 'stranger'), runId: RUN_ID, coordinator: publicPart(createSigningKeys().signing), nowMs: () => 0 }); // prettier-ignore
  expect(await refusalOf(() => stranger.look(served(store, -1)))).toMatch(/^(SIGNATURE|LOG)_INVALID/);
  // The same run by the same keys, and another history: it has as many entries, and other ones.
  const other = await exportedRun(join(folder, 'forked'), { cast, rounds: 5 });
  expect(await refusalOf(() => monitor().look(served(other.store, -1)))).toMatch(/^LOG_(FORKED|INVALID)/);
}, 60_000);

/** One process of `pooled.ts`: the coordinator, or a site. Speaks over Node's IPC channel; times are of one clock. */
import { NO_ENTRIES } from '../shared/audit/chain.ts';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Coordinator } from '../coordinator/coordinator.ts';
import { GanPooledTrainer } from '../coordinator/gan-pooled-trainer.ts';
import { IdentityService } from '../coordinator/shell/identity-service.ts';
import { MemoryIdentityStore } from '../coordinator/shell/identity-store.ts';
import { startServer } from '../coordinator/shell/server.ts';
import { selfSignedTls } from '../coordinator/shell/tls.ts';
import { SqliteStore } from '../coordinator/store/sqlite.ts';
import { AVAILABLE_SCHEMES } from '../shared/aggregation/registry.ts';
import { systemClock } from '../shared/clock.ts';
import { collectSeldom } from '../shared/collector.ts';
import { compileLoopsApart } from '../shared/compiler.ts';
import { drawShareNoise } from '../shared/dp/pooled-share.ts';
import { openEngine } from '../shared/engine/open.ts';
import { createSigningKeys, createSiteKeys } from '../shared/identity/keys.ts';
import { type PhantomClass, phantomImages } from '../shared/imaging/phantom.ts';
import { type CheckedPolicy, loadPolicyText } from '../shared/policy/load.ts';
import { FileBlobStore } from '../shared/protocol/file-blob-store.ts';
import { secureBytes } from '../shared/random.ts';
import { SiteAgent } from '../site-agent/agent.ts';
import { asPrivateImages } from '../site-agent/imaging/private-images.ts';
import { PooledSiteComputation } from '../site-agent/pooled-computation.ts';
import { connect } from '../site-agent/shell/connection.ts';
import { joinWithInvite } from '../site-agent/shell/join.ts';
import { Ledger } from '../site-agent/shell/ledger.ts';
import { Outbox } from '../site-agent/shell/outbox.ts';

export interface Busy {
  readonly computing: number;
  readonly beyond: number;
}

/** What a party tells the bench. */
export type Told =
  | { readonly kind: 'invites'; readonly invites: Readonly<Record<string, string>> }
  /** Somebody computed from `start` to `end`, milliseconds; processor time of that, and of all else since the last. */
  | { readonly kind: 'computed'; readonly start: number; readonly end: number; readonly busy: Busy }
  /** A step's sum was applied at this time; `at` of the first is when the round opened. */
  | { readonly kind: 'step'; readonly at: number }
  | { readonly kind: 'noise'; readonly ms: number }
  | { readonly kind: 'done' };

const RUN_ID = '4a4f2a0e-0d52-4e57-9a2a-6b0c2f4f9d11';
const tell = (told: Told): void => void process.send?.(told);
const now = (): number => performance.timeOrigin + performance.now();
/** Of this process, all threads, milliseconds. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
let computedAt = 0;
/** Runs a computation and tells when. */
async function timed<T>(compute: () => Promise<T>): Promise<T> {
  const [start, before] = [now(), processorTime()];
  const made = await compute();
  const after = processorTime();
  const busy = { computing: after - before, beyond: before - computedAt };
  computedAt = after;
  tell({ kind: 'computed', start, end: now(), busy });
  return made;
}

const [role, policyText, rest = ''] = process.argv.slice(2);
const policy: CheckedPolicy = loadPolicyText(policyText, { availableSchemes: AVAILABLE_SCHEMES });
const folder = mkdtempSync(join(tmpdir(), 'veilgan-pooled-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
collectSeldom();
compileLoopsApart();
const engine = await openEngine('cpu', { threads: 1 });
if (role === 'coordinator') await coordinate(rest.split(' '));
else await takePart(role, rest);
await engine.dispose();
process.exit(0);

async function coordinate(sites: readonly string[]): Promise<void> {
  const keys = createSigningKeys();
  const identity = await IdentityService.open(keys, new MemoryIdentityStore(), systemClock);
  const trainer = new GanPooledTrainer(engine, policy);
  const fakesStep = trainer.fakesStep.bind(trainer);
  trainer.fakesStep = (...args) => timed(() => fakesStep(...args));
  const coordinator = new Coordinator({
    policy,
    runId: RUN_ID,
    store: new SqliteStore(join(folder, 'store.sqlite')),
    blobs: new FileBlobStore(join(folder, 'blobs')),
    trainer,
    identity: keys,
    roster: () => identity.roster,
    onEvent: (event) => {
      if (event.kind === 'discriminator-step') tell({ kind: 'step', at: now() });
    },
  });
  const tls = await selfSignedTls('127.0.0.1', Date.now());
  const server = await startServer({ tls, identity, handler: coordinator });
  server.onPresence((siteId, online) => {
    if (!online) coordinator.left(siteId);
  });
  const url = `https://127.0.0.1:${server.port}`;
  const invites: Record<string, string> = {};
  for (const siteId of sites)
    invites[siteId] = (await identity.invite({ siteId, url, tlsFingerprint: server.tlsFingerprint })).invite;
  tell({ kind: 'invites', invites });
  await coordinator.run();
  tell({ kind: 'done' });
  // Sites hear the end before the server goes.
  await new Promise<void>((resolve) => process.once('message', () => resolve()));
  await server.close();
}

async function takePart(siteId: string, invite: string): Promise<void> {
  const keys = createSiteKeys();
  const joined = await joinWithInvite(invite, keys);
  const link = connect({ ...joined, keys });
  const classes = policy.model.classes as readonly PhantomClass[];
  const patients = Math.floor(policy.privacy.expectedBatch / policy.privacy.sampleRate);
  const images = asPrivateImages(
    phantomImages({ size: 28, channels: 1, patients, classes, seed: 'bench', site: siteId }),
    true,
  );
  const computation = await PooledSiteComputation.open({ engine, policy, siteId, images, random: secureBytes });
  const share = computation.share.bind(computation);
  computation.share = (...args) => timed(() => share(...args));
  const privacy = policy.privacy.mechanism === 'dp-sgd' ? policy.privacy : { epsilon: 1, delta: 1e-5 };
  const agent = new SiteAgent({
    siteId,
    keys,
    coordinatorKey: joined.coordinator,
    link,
    policy,
    bounds: {
      maxEpsilon: privacy.epsilon,
      maxDelta: privacy.delta,
      minNoiseToSampleRate: 0,
      maxSteps: policy.privacy.maxSteps,
      maxImagesPerPatient: 10,
      minSites: 1,
      minSurvivors: 1,
      schemes: ['secagg'],
      pooled: { minColluders: 1 },
      allowInsecure: false,
      lifetime: { epsilon: Number.MAX_VALUE, delta: 0.5 },
    },
    ledger: new Ledger(join(folder, 'ledger.sqlite')),
    outbox: new Outbox(join(folder, 'outbox.sqlite')),
    leftOut: () => NO_ENTRIES,
    computation,
  });
  await agent.run();
  // The noise by itself, as it is drawn while the network computes.
  const variance = 4_000_000;
  drawShareNoise(138_000, variance, secureBytes);
  for (let i = 0; i < 9; i++) {
    const start = now();
    drawShareNoise(138_000, variance, secureBytes);
    tell({ kind: 'noise', ms: now() - start });
  }
  await link.close();
  await computation.dispose();
}

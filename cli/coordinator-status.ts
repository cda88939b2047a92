/** Where a run stands, and what it made, read from its folder: also beside a coordinator that is running. */
import { loadGeneratorState } from '../coordinator/generators.ts';
import { SqliteStore } from '../coordinator/store/sqlite.ts';
import type { GateRecord, GeneratorRecord, SiteRecord, Tx } from '../coordinator/store/store.ts';
import { footingOf } from '../coordinator/witnesses.ts';
import type { LogEntry } from '../shared/audit/entry.ts';
import { headOfEntries } from '../shared/audit/log.ts';
import { FedError } from '../shared/errors.ts';
import { type CheckedPolicy, policySha256 } from '../shared/policy/load.ts';
import { roundTermsOf } from '../shared/policy/views.ts';
import { FileBlobStore } from '../shared/protocol/file-blob-store.ts';
import { blobsPath, type CoordinatorFolder, openIdentity, storePath } from './coordinator-folder.ts';
import { showEpsilon } from '../shared/dp/show-epsilon.ts';

export interface StoredStatus {
  readonly runId: string;
  readonly policy: string;
  readonly policySha256: string;
  readonly url: string;
  readonly status: 'not-begun' | 'running' | 'finished';
  readonly outcome: 'completed' | 'stopped' | null;
  readonly roundsDone: number;
  readonly rounds: number;
  readonly logEntries: number;
  /** Which cosignatures the next round lacks; null where it lacks none, or one is open. */
  readonly witnessesMissing: string | null;
  /** The release gate, where the policy has one; its verdict is for `coordinator gate`, which looks again. */
  readonly gate: {
    readonly stage: 'not-asked' | 'asked' | 'judged';
    readonly signed: number;
    readonly needed: number;
  } | null;
  readonly sites: readonly {
    readonly siteId: string;
    readonly roster: 'active' | 'revoked';
    readonly standing: SiteRecord['standing'] | null;
    readonly declined: string | null;
    /** As the site stated it last; null before, and where it is infinite. */
    readonly epsilon: number | null;
  }[];
}

export async function coordinatorStatus(folder: CoordinatorFolder): Promise<StoredStatus> {
  const { file, policy } = folder;
  await using parts = await openIdentity(folder);
  const stored = await reading(storePath(folder.dir), async (tx) => ({
    run: await tx.run(file.runId),
    sites: await tx.sites(file.runId),
    head: await tx.logHead(file.runId),
    latest: await tx.latestRound(file.runId),
  }));
  const { latest } = stored;
  const open = latest?.status === 'collecting' || latest?.status === 'sealed' || stored.run?.status !== 'running';
  const quorum = roundTermsOf(policy).witnessQuorum;
  const lastPlan = latest?.plan.checkpoint.size ?? null;
  const { roster } = parts.identity;
  const footing = await reading(storePath(folder.dir), (tx) =>
    footingOf(tx, { runId: file.runId, lastPlan, roster, quorum }),
  );
  const records = new Map(stored.sites.map((s) => [s.siteId, s]));
  return {
    runId: file.runId,
    policy: `${policy.id} version ${policy.version}`,
    policySha256: policySha256(policy),
    url: file.url,
    status: stored.run?.status ?? 'not-begun',
    outcome: stored.run?.outcome ?? null,
    roundsDone: stored.run?.round ?? 0,
    rounds: roundTermsOf(policy).rounds,
    logEntries: stored.head.size,
    witnessesMissing: open || footing.firm ? null : footing.why,
    gate: gateStatus(policy, stored.run?.gate ?? null),
    sites: roster.sites.map(({ siteId, status }) => ({
      siteId,
      roster: status,
      standing: records.get(siteId)?.standing ?? null,
      declined: records.get(siteId)?.declined ?? null,
      epsilon: records.get(siteId)?.epsilon?.epsilon ?? null,
    })),
  };
}

function gateStatus({ release }: CheckedPolicy, record: GateRecord | null): StoredStatus['gate'] {
  if (release.gate === null) return null;
  const stage = record === null ? 'not-asked' : record.judged ? 'judged' : 'asked';
  return { stage, signed: record?.signOffs.length ?? 0, needed: release.gate.signOff.needed };
}

const GATE_STAGES = {
  'not-asked': 'the sites are asked about the images after the last round',
  asked: 'waiting for the sites',
  judged: 'judged; veilgan coordinator gate has the verdict',
};

export function statusText(s: StoredStatus): string {
  const state = s.status === 'finished' ? `finished, ${s.outcome}` : s.status === 'running' ? 'under way' : 'not begun';
  const rows = s.sites.map(({ siteId, roster, standing, declined, epsilon }) => {
    const how = roster === 'revoked' ? 'revoked' : declined === null ? (standing ?? 'joined') : `declined, ${declined}`;
    return `  ${siteId}: ${how}${epsilon === null ? '' : `, epsilon ${showEpsilon(epsilon)} spent`}`;
  });
  return [
    `run ${s.runId}: ${state}`,
    `policy ${s.policy}, sha256 ${s.policySha256}`,
    `${s.roundsDone} of ${s.rounds} rounds, ${s.logEntries} log entries, at ${s.url}`,
    ...(s.witnessesMissing === null ? [] : [`the next round waits: ${s.witnessesMissing}`]),
    ...(s.gate === null
      ? []
      : [`release gate: ${GATE_STAGES[s.gate.stage]}; ${s.gate.signed} of ${s.gate.needed} needed have signed`]),
    ...(rows.length === 0 ? ['no site has joined'] : rows),
  ].join('\n');
}

/** What a run has made so far. */
export interface StoredRun {
  readonly generator: GeneratorRecord;
  /** As the trainer encodes it. */
  readonly state: Uint8Array;
  /** The whole log; its chain was verified. */
  readonly log: readonly LogEntry[];
  /** Site to what it stated last; infinite without a mechanism. */
  readonly epsilon: ReadonlyMap<string, number>;
  /** Null: it is not over. */
  readonly outcome: 'completed' | 'stopped' | null;
  /** The release gate's question, with its answers and signatures; null before it was asked. */
  readonly gate: GateRecord | null;
}

/** Where a run's durable state lies: in a coordinator's folder, or in that of a simulation. */
export interface StoredAt {
  readonly runId: string;
  /** Path of the SQLite store. */
  readonly store: string;
  /** Folder of its blobs. */
  readonly blobs: string;
}

export const storedAt = ({ dir, file }: CoordinatorFolder): StoredAt => ({
  runId: file.runId,
  store: storePath(dir),
  blobs: blobsPath(dir),
});

/** @throws {FedError} PARAMETER_INVALID before the run has begun; STORE_CORRUPT, LOG_INVALID */
export async function readRun({ runId, store, blobs }: StoredAt): Promise<StoredRun> {
  const { generator, log, sites, outcome, gate } = await reading(store, async (tx) => {
    const run = await tx.run(runId);
    return {
      generator: run === null ? null : await tx.generator(runId, run.round),
      log: await tx.log(runId, 0, Number.MAX_SAFE_INTEGER),
      sites: await tx.sites(runId),
      outcome: run?.outcome ?? null,
      gate: run?.gate ?? null,
    };
  });
  if (generator === null) throw new FedError('PARAMETER_INVALID', `run ${runId} has not begun, and has made nothing`);
  headOfEntries(log);
  const state = await loadGeneratorState(new FileBlobStore(blobs), runId, generator);
  const stated = sites.flatMap(({ siteId, epsilon }) =>
    epsilon ? [[siteId, epsilon.epsilon ?? Infinity] as const] : [],
  );
  return { generator, state, log, epsilon: new Map(stated), outcome, gate };
}

async function reading<T>(path: string, body: (tx: Tx) => Promise<T>): Promise<T> {
  const store = new SqliteStore(path);
  try {
    return await store.transaction(body);
  } finally {
    await store.close();
  }
}

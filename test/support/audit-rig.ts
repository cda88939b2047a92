/** Whole runs for the tests of log and audit: agents, a coordinator, and a clock that is turned whenever all is quiet. */
import { appendFileSync, cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exportAudit } from '../../cli/audit/export-folder.ts';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { CoordinatorScheme } from '../../shared/aggregation/aggregation.ts';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { cosignCheckpoint, signCheckpoint, withCosignatures } from '../../shared/audit/checkpoint.ts';
import { headOf } from '../../shared/audit/log.ts';
import { EMPTY_FRONTIER, appendLeaf, leafHash } from '../../shared/audit/merkle.ts';
import type { KeysFile } from '../../shared/audit/verify/folder-format.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import type { SigningKeys } from '../../shared/identity/keys.ts';
import { signRoster } from '../../shared/identity/roster.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import type { SiteEvent } from '../../site-agent/events.ts';
import type { SiteAgentOptions } from '../../site-agent/agent.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { ManualClock } from './manual-clock.ts';
import { turned } from './quiet.ts';
import { RUN_ID, agentOf, castOf, coordinatorOf, testBounds, testPolicy } from './round-rig.ts';
import type { Cast } from './round-rig.ts';

/** Turns the clock while nothing moves, until `done`. */
export async function until(clock: ManualClock, done: () => boolean, most = 60_000): Promise<void> {
  for (let idle = 0; !done();) {
    if (!(await turned())) continue;
    idle += 1;
    if (idle % 40 === 0) clock.advance(1000);
    if (idle > most) throw new Error('the play does not end');
  }
}

export interface Player {
  readonly siteId: string;
  readonly events: SiteEvent[];
  readonly running: Promise<unknown>;
  readonly stop: () => Promise<void>;
}

/** Starts a site's agent; what happens at it is kept. */
export function enter(
  cast: Cast,
  policy: CheckedPolicy,
  siteId: string,
  coordinator: Coordinator,
  o: Partial<SiteAgentOptions> = {},
): Player {
  const events: SiteEvent[] = [];
  const agent = agentOf(cast, policy, siteId, coordinator, {
    ...o,
    onEvent: (e) => {
      events.push(e);
      o.onEvent?.(e);
    },
  });
  const running = agent.run();
  running.catch(() => undefined);
  return { siteId, events, running, stop: () => agent.stop() };
}

/** The codes with which a site said no. */
export const declinesOf = (p: Player): string[] => p.events.flatMap((e) => (e.kind === 'declined' ? [e.code] : []));
/** The same, outside of rounds. */
export const refusalsOf = (p: Player): string[] => p.events.flatMap((e) => (e.kind === 'refused' ? [e.code] : []));

/** A whole run, and its audit folder: four sites, one of which is outside its own bounds and declines. */
export async function exportedRun(
  out: string,
  o: {
    rounds?: number;
    cast?: Cast;
    agentsOf?: (siteId: string) => Partial<SiteAgentOptions>;
    keepSums?: boolean;
    witnessQuorum?: number;
    aggregation?: Parameters<typeof testPolicy>[0]['aggregation'];
    schemeOf?: (policy: CheckedPolicy, cast: Cast) => CoordinatorScheme;
  } = {},
) {
  const policy = testPolicy({
    ...{ rounds: o.rounds ?? 3, witnessQuorum: o.witnessQuorum ?? 3, minSites: 3, quorum: 3 },
    ...(o.aggregation && { aggregation: o.aggregation }),
  });
  const cast = o.cast ?? castOf(4);
  const [store, blobs, clock] = [new MemoryStore(), new MemoryBlobStore(), new ManualClock()];
  let begun = false;
  const onEvent = () => (begun = true);
  const scheme = o.schemeOf && { scheme: o.schemeOf(policy, cast) };
  const keepSums = o.keepSums ?? false;
  const coordinator = coordinatorOf(cast, policy, { store, blobs, clock, keepSums, onEvent, ...scheme });
  const ids = [...cast.sites.keys()];
  const players = ids.map((id, i) => {
    const strict = i === ids.length - 1 ? { bounds: { ...testBounds, maxEpsilon: 0.5 } } : {};
    return enter(cast, policy, id, coordinator, { clock, ...strict, ...o.agentsOf?.(id) });
  });
  let over = false;
  const all = Promise.all([coordinator.run(), ...players.map((p) => p.running)]).then(() => (over = true));
  await until(clock, () => begun);
  await coordinator.logOperatorAction('watch', 'test');
  await until(clock, () => over);
  await all;
  const roster = await signRoster(cast.coordinator, cast.roster, clock.now());
  const policyText = JSON.stringify(policy);
  const common = { runId: RUN_ID, store, keys: cast.coordinator, policy, policyText, roster, blobs };
  await exportAudit({ ...common, out, manifests: new Map() });
  return { cast, policy, store, blobs, players, coordinator, common };
}

/** The keys that an auditor was handed over by another way. */
export const handedOver = (cast: Cast): KeysFile => ({
  coordinator: { kid: cast.coordinator.kid, key: publicPart(cast.coordinator.signing) },
  sites: [...cast.sites].map(([siteId, { kid, signing }]) => ({ siteId, kid, key: publicPart(signing) })),
});

/** A folder with these lines for a log, under a checkpoint of the coordinator and all its sites. */
export async function exportNewer(o: {
  out: string;
  from: string;
  lines: readonly string[];
  common: { runId: string; keys: SigningKeys };
  cast: Cast;
}): Promise<void> {
  cpSync(o.from, o.out, { recursive: true });
  const frontier = o.lines.reduce((f, line) => appendLeaf(f, leafHash(line)).frontier, EMPTY_FRONTIER);
  const { runId, keys } = o.common;
  const head = headOf(frontier);
  const own = signCheckpoint(runId, head, keys.signing);
  const lines = [...o.cast.sites].map(([id, k]) => cosignCheckpoint(runId, head, id, k.signing, 1e12));
  const note = canonicalJson({ size: head.size, note: withCosignatures(own, lines) });
  appendFileSync(join(o.out, 'checkpoints.jsonl'), `${note}\n`);
  writeFileSync(join(o.out, 'log.jsonl'), o.lines.map((line) => `${line}\n`).join(''));
  writeFileSync(join(o.out, 'leaves.bin'), Buffer.concat(o.lines.map(leafHash)));
}

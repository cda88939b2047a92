/**
 * Any number of sites and a coordinator in one process, for research. Nothing is short-cut but the network: the same
 * coordinator, agents, ledgers, outboxes, signatures, schemes and log; calls go through `directLink`.
 */
import { NO_ENTRIES } from '../shared/audit/chain.ts';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Coordinator, newRunId } from '../coordinator/coordinator.ts';
import { isForGood } from '../coordinator/core/standing.ts';
import type { CoordinatorEvent } from '../coordinator/events.ts';
import type { GanGeneratorTrainer, GeneratorState } from '../coordinator/gan-generator-trainer.ts';
import { type GateVerdict, verdictOf } from '../coordinator/gate-verdict.ts';
import { openTrainer } from '../coordinator/gan-pooled-trainer.ts';
import { loadGeneratorState } from '../coordinator/generators.ts';
import { SqliteStore } from '../coordinator/store/sqlite.ts';
import type { LogEntry } from '../shared/audit/entry.ts';
import type { Engine } from '../shared/engine/program.ts';
import { candidateSimilarity } from '../shared/gate/similarity.ts';
import { FedError } from '../shared/errors.ts';
import { parseJson } from './options.ts';
import { Kid, PrivateSigningKey, publicPart } from '../shared/identity/jwk.ts';
import {
  createSigningKeys,
  createSiteKeys,
  publicKeys,
  type SigningKeys,
  type SiteKeys,
} from '../shared/identity/keys.ts';
import { EMPTY_ROSTER, withSite } from '../shared/identity/roster.ts';
import type { SiteBounds } from '../shared/policy/bounds.ts';
import { type CheckedPolicy, policySha256 } from '../shared/policy/load.ts';
import { directLink } from '../shared/protocol/direct-link.ts';
import { SiteId } from '../shared/protocol/plan.ts';
import { FileBlobStore } from '../shared/protocol/file-blob-store.ts';
import { secureBytes } from '../shared/random.ts';
import { SiteAgent } from '../site-agent/agent.ts';
import type { GateComputation, PooledSteps, SiteComputation } from '../site-agent/core/computation.ts';
import { HOLD_OUT_KEY_BYTES } from '../site-agent/core/hold-out.ts';
import type { SiteEvent } from '../site-agent/events.ts';
import type { PrivateImages } from '../site-agent/imaging/private-images.ts';
import { openComputation } from '../site-agent/open-computation.ts';
import { Ledger } from '../site-agent/shell/ledger.ts';
import { Outbox } from '../site-agent/shell/outbox.ts';

export interface SimulationOptions {
  readonly policy: CheckedPolicy;
  /** Site to its images. Never mixed: each agent sees its own. */
  readonly sites: ReadonlyMap<string, PrivateImages>;
  readonly engine: Engine;
  /** Stores of all parties. A run that was interrupted here goes on where it was. */
  readonly folder: string;
  readonly onEvent?: (event: CoordinatorEvent) => void;
  readonly onSiteEvent?: (siteId: string, event: SiteEvent) => void;
}

export interface SimulationResult {
  readonly runId: string;
  readonly generator: GeneratorState;
  readonly log: readonly LogEntry[];
  /** Epsilon each site stated last; infinite without a mechanism. */
  readonly epsilon: ReadonlyMap<string, number>;
  /** Of the policy's release gate; null where it has none. */
  readonly verdict: GateVerdict | null;
}

/** What a folder remembers beside the stores: who takes part, under which policy. */
const Identity = z.strictObject({
  runId: z.uuid(),
  policySha256: z.string(),
  coordinator: z.strictObject({ signing: PrivateSigningKey, kid: Kid }),
  sites: z.record(SiteId, z.unknown()),
});

/**
 * Runs to the end, or goes on with the run of the folder.
 * @throws {FedError} POLICY_MISMATCH when the folder belongs to another policy or to other sites; ROUND_VOID where so many
 *   declined for good that no round can open, as after an interruption that was paid for, with no entry to spare.
 */
export async function simulate(o: SimulationOptions): Promise<SimulationResult> {
  mkdirSync(o.folder, { recursive: true });
  const { runId, coordinatorKeys, siteKeys } = identities(o);
  const roster = [...siteKeys].reduce((r, [id, keys]) => withSite(r, id, publicKeys(keys)), EMPTY_ROSTER);
  const paths = storePaths(o.folder);
  const store = new SqliteStore(paths.store);
  const blobs = new FileBlobStore(paths.blobs);
  const trainer = openTrainer(o.engine, o.policy);
  const epsilon = new Map<string, number>();
  const leavers = new Leavers(o.sites.size, o.policy.aggregation.minSites);
  const coordinator = new Coordinator({
    policy: o.policy,
    runId,
    store,
    blobs,
    trainer,
    identity: coordinatorKeys,
    roster: () => roster,
    similarity: (...args) => candidateSimilarity(o.engine, o.policy, ...args),
    onEvent: (event) => {
      if (event.kind === 'declined') leavers.declined(event.siteId, event.code);
      if (event.kind === 'epsilon') epsilon.set(event.statement.siteId, event.statement.epsilon ?? Infinity);
      o.onEvent?.(event);
    },
  });
  const turns = new Turns();
  const closing: (() => unknown)[] = [];
  const agents: SiteAgent[] = [];
  try {
    for (const [siteId, images] of o.sites) {
      const folder = join(o.folder, 'sites', siteId);
      mkdirSync(folder, { recursive: true });
      const ledger = new Ledger(join(folder, 'ledger.sqlite'));
      closing.push(() => ledger.close());
      const outbox = new Outbox(join(folder, 'outbox.sqlite'));
      closing.push(() => outbox.close());
      const holdOutKey = outbox.secret('hold-out', HOLD_OUT_KEY_BYTES, secureBytes);
      const computation = await openComputation({ ...o, siteId, images, random: secureBytes, holdOutKey });
      closing.push(() => computation.dispose());
      const agent = new SiteAgent({
        siteId,
        keys: siteKeys.get(siteId)!,
        coordinatorKey: publicPart(coordinatorKeys.signing),
        link: directLink(coordinator, siteId),
        policy: o.policy,
        bounds: boundsOf(o.policy),
        ledger,
        outbox,
        // Nobody withdraws from a simulation.
        leftOut: () => NO_ENTRIES,
        computation: oneAtATime(computation, turns),
        onEvent: (event) => o.onSiteEvent?.(siteId, event),
      });
      agents.push(agent);
    }
    const sites = agents.map((agent) => agent.run());
    await Promise.race([coordinator.run(), failureOf(sites), leavers.tooMany]);
    await Promise.all(sites);
    const generator = await currentGenerator(store, blobs, runId, trainer);
    const log = await wholeLog(store, runId);
    for (const { siteId, epsilon: stated } of (await coordinator.status()).sites)
      if (stated !== null && !epsilon.has(siteId)) epsilon.set(siteId, stated);
    const own = { store, runId, policy: o.policy, keys: coordinatorKeys };
    const verdict = o.policy.release.gate === null ? null : await verdictOf(own);
    return { runId, generator, log, epsilon, verdict };
  } finally {
    // After a failure the others still wait for one another: nobody may touch a store that is closed.
    await Promise.all([coordinator.stop(), ...agents.map((agent) => agent.stop())]);
    for (const close of closing) await close();
    await trainer.dispose();
    await store.close();
  }
}

/** The generator of the last closed round. */
export async function currentGenerator(
  store: SqliteStore,
  blobs: FileBlobStore,
  runId: string,
  trainer: GanGeneratorTrainer,
): Promise<GeneratorState> {
  const record = await store.transaction(async (tx) => {
    const run = await tx.run(runId);
    return run && tx.generator(runId, run.round);
  });
  if (!record) throw new FedError('STORE_CORRUPT', `no generator of run ${runId}`);
  return trainer.decode(await loadGeneratorState(blobs, runId, record));
}

/** Every entry of a run's log, first to last. */
export async function wholeLog(store: SqliteStore, runId: string): Promise<LogEntry[]> {
  const log: LogEntry[] = [];
  for (;;) {
    const part = await store.transaction((tx) => tx.log(runId, log.length, 1000));
    if (part.length === 0) return log;
    log.push(...part);
  }
}

/** A simulated site agrees to whatever the policy says: research, on data the researcher holds anyway. */
function boundsOf({ privacy, aggregation, pooled }: CheckedPolicy): SiteBounds {
  return {
    maxEpsilon: privacy.mechanism === 'dp-sgd' ? privacy.epsilon : Number.MAX_VALUE,
    maxDelta: privacy.mechanism === 'dp-sgd' ? privacy.delta : 0.5,
    minNoiseToSampleRate: 0,
    maxSteps: privacy.maxSteps,
    maxImagesPerPatient: privacy.imagesPerPatient,
    minSites: 1,
    minSurvivors: 1,
    schemes: [aggregation.scheme],
    ...(pooled && { pooled: { minColluders: 1 } }),
    allowInsecure: privacy.mechanism === 'none-insecure',
    lifetime: { epsilon: Number.MAX_VALUE, delta: 0.5 },
  };
}

/** Lets one caller in at a time, in order: sites that share a processor only slow each other down. */
class Turns {
  #last: Promise<unknown> = Promise.resolve();
  take<T>(body: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(body);
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}

const oneAtATime = (c: SiteComputation, turns: Turns): SiteComputation => ({
  initialState: (...args) => turns.take(() => c.initialState(...args)),
  checkGenerator: (generator) => c.checkGenerator(generator),
  checkCritic: (critic) => c.checkCritic(critic),
  discriminatorEvent: () => c.discriminatorEvent(),
  discriminatorStep: (...args) => turns.take(() => c.discriminatorStep(...args)),
  generatorGradient: (...args) => turns.take(() => c.generatorGradient(...args)),
  momentEvent: () => c.momentEvent(),
  noisedMoments: (...args) => turns.take(() => c.noisedMoments(...args)),
  ...(c.pooled && { pooled: stepsInTurn(c.pooled, turns) }),
  ...(c.gate && { gate: gateInTurn(c.gate, turns) }),
});

const stepsInTurn = (c: PooledSteps, turns: Turns): PooledSteps => ({
  checkDiscriminator: (weights) => c.checkDiscriminator(weights),
  share: (...args) => turns.take(() => c.share(...args)),
});

const gateInTurn = (c: GateComputation, turns: Turns): GateComputation => ({
  event: () => c.event(),
  expected: (of) => c.expected(of),
  draw: (...args) => turns.take(() => c.draw(...args)),
  words: (...args) => turns.take(() => c.words(...args)),
});

/** Who has said no for good, and what that leaves. In a simulation nobody starts an agent again: nothing can change it. */
class Leavers {
  readonly #gone = new Map<string, string>();
  readonly #sites: number;
  readonly #least: number;
  #reject: (error: FedError) => void = () => undefined;
  /** Rejects when too few are left for a round; never resolves. */
  readonly tooMany: Promise<never>;

  constructor(sites: number, least: number) {
    [this.#sites, this.#least] = [sites, least];
    this.tooMany = new Promise((_, reject) => (this.#reject = reject));
    this.tooMany.catch(() => undefined);
  }
  declined(siteId: string, code: string): void {
    if (!isForGood(code)) return;
    this.#gone.set(siteId, code);
    const left = this.#sites - this.#gone.size;
    if (left >= this.#least) return;
    const who = [...this.#gone].map(([id, why]) => `${id} (${why})`).sort();
    const detail = `no round can open: ${who.join(', ')} declined for good, ${left} of at least ${this.#least} sites are left`;
    this.#reject(new FedError('ROUND_VOID', detail));
  }
}

/** Rejects when one of these does; never resolves. */
const failureOf = (all: readonly Promise<unknown>[]): Promise<never> =>
  new Promise((_, reject) => {
    for (const one of all) one.catch(reject);
  });

const identityPath = (folder: string): string => join(folder, 'simulation.json');
/** @throws {FedError} STORE_CORRUPT */
const readIdentity = (folder: string) =>
  parseJson(readFileSync(identityPath(folder), 'utf8'), Identity, identityPath(folder), 'STORE_CORRUPT');

/** What a simulation's folder of parties has of its coordinator; null where it is no such folder. */
export function simulatedCoordinator(folder: string): ({ runId: string; keys: SigningKeys } & StorePaths) | null {
  if (!existsSync(identityPath(folder))) return null;
  const { runId, coordinator } = readIdentity(folder);
  return { runId, keys: coordinator, ...storePaths(folder) };
}

interface StorePaths {
  readonly store: string;
  readonly blobs: string;
}
const storePaths = (folder: string): StorePaths => ({
  store: join(folder, 'coordinator.sqlite'),
  blobs: join(folder, 'blobs'),
});

function identities(o: SimulationOptions) {
  const path = identityPath(o.folder);
  const sha256 = policySha256(o.policy);
  const ids = [...o.sites.keys()];
  if (!existsSync(path)) {
    const sites = Object.fromEntries(ids.map((id) => [id, createSiteKeys()]));
    const body = { runId: newRunId(), policySha256: sha256, coordinator: createSigningKeys(), sites };
    // In whole or not at all: a run that is killed here must not find half a file.
    writeFileSync(`${path}.new`, JSON.stringify(body), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
  const kept = readIdentity(o.folder);
  const same = Object.keys(kept.sites).sort().join() === ids.toSorted().join();
  if (kept.policySha256 !== sha256 || !same)
    throw new FedError('POLICY_MISMATCH', `${o.folder} holds a run of another policy or of other sites`);
  return {
    runId: kept.runId,
    coordinatorKeys: kept.coordinator,
    siteKeys: new Map(ids.map((id) => [id, kept.sites[id] as SiteKeys])),
  };
}

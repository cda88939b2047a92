/** A whole run of three sites on real networks, from the moments to the verdict of the release gate, in one process. */
import { NO_ENTRIES } from '../../shared/audit/chain.ts';
import { Coordinator } from '../../coordinator/coordinator.ts';
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import { GanGeneratorTrainer } from '../../coordinator/gan-generator-trainer.ts';
import { verdictOf } from '../../coordinator/gate-verdict.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import type { Store } from '../../coordinator/store/store.ts';
import type { Engine } from '../../shared/engine/program.ts';
import { candidateSimilarity } from '../../shared/gate/similarity.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { type BlobStore, MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { secureBytes } from '../../shared/random.ts';
import { SiteAgent } from '../../site-agent/agent.ts';
import { HOLD_OUT_KEY_BYTES } from '../../site-agent/core/hold-out.ts';
import type { PrivateImages } from '../../site-agent/imaging/private-images.ts';
import { openComputation } from '../../site-agent/open-computation.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import { type Cast, castOf, RUN_ID, testBounds } from './round-rig.ts';

/** A coordinator that puts another generator in the place of the one that was trained. */
export class SwappingTrainer extends GanGeneratorTrainer {
  readonly #other: Float32Array;
  constructor(engine: Engine, policy: CheckedPolicy, other: Float32Array) {
    super(engine, policy);
    this.#other = other;
  }
  override async fitMoments(...args: Parameters<GanGeneratorTrainer['fitMoments']>): Promise<Uint8Array> {
    const state = this.decode(await super.fitMoments(...args));
    return this.encode({ ...state, weights: this.#other, average: this.#other });
  }
}

export interface GatedRun {
  readonly engine: Engine;
  readonly policy: CheckedPolicy;
  /** By the names of `castOf`: site-a, site-b, ... */
  readonly sites: ReadonlyMap<string, PrivateImages>;
  readonly trainer?: GanGeneratorTrainer;
  readonly cast?: Cast;
  /** Where the coordinator keeps its run; by default in memory. */
  readonly at?: { readonly runId: string; readonly store: Store; readonly blobs: BlobStore };
}

export async function gatedRun({ engine, policy, sites, ...o }: GatedRun) {
  const cast = o.cast ?? castOf(sites.size);
  const { runId, store, blobs } = o.at ?? { runId: RUN_ID, store: new MemoryStore(), blobs: new MemoryBlobStore() };
  const trainer = o.trainer ?? new GanGeneratorTrainer(engine, policy);
  const events: CoordinatorEvent[] = [];
  const coordinator = new Coordinator({
    ...{ policy, runId, store, blobs, trainer, identity: cast.coordinator, roster: () => cast.roster },
    similarity: (...args) => candidateSimilarity(engine, policy, ...args),
    onEvent: (event) => events.push(event),
  });
  const ledgers = new Map<string, Ledger>();
  const agents: Promise<unknown>[] = [];
  const computations: { dispose(): Promise<void> }[] = [];
  for (const [siteId, images] of sites) {
    const [ledger, outbox] = [new Ledger(':memory:'), new Outbox(':memory:')];
    const holdOutKey = outbox.secret('hold-out', HOLD_OUT_KEY_BYTES, secureBytes);
    const computation = await openComputation({ engine, policy, siteId, images, random: secureBytes, holdOutKey });
    computations.push(computation);
    ledgers.set(siteId, ledger);
    const agent = new SiteAgent({
      ...{ siteId, keys: cast.sites.get(siteId)!, coordinatorKey: publicPart(cast.coordinator.signing) },
      ...{ link: directLink(coordinator, siteId), policy, bounds: testBounds, ledger, outbox, computation },
      leftOut: () => NO_ENTRIES,
    });
    agents.push(agent.run());
  }
  try {
    await Promise.all([coordinator.run(), ...agents]);
    const own = { store, runId, policy, keys: cast.coordinator };
    const log = await store.transaction((tx) => tx.log(runId, 0, 10_000));
    return { ...own, cast, blobs, events, ledgers, log, verdict: await verdictOf(own) };
  } finally {
    await Promise.all([trainer.dispose(), ...computations.map((c) => c.dispose())]);
  }
}

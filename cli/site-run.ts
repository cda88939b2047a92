/** `site run`: reads the images, then takes part until the run is over. A lost connection never ends it. */
import { openEngine } from '../shared/engine/open.ts';
import { secureBytes } from '../shared/random.ts';
import { type PublicSigningKey, thumbprint } from '../shared/identity/jwk.ts';
import { rosterSeen, verifyRoster } from '../shared/identity/roster.ts';
import { requireWithinBounds } from '../shared/policy/bounds.ts';
import { FileBlobStore } from '../shared/protocol/file-blob-store.ts';
import { SiteAgent } from '../site-agent/agent.ts';
import { openComputation } from '../site-agent/open-computation.ts';
import { HOLD_OUT_KEY_BYTES } from '../site-agent/core/hold-out.ts';
import type { SiteEvent } from '../site-agent/events.ts';
import { requireLeftOutWhole } from '../site-agent/left-out.ts';
import { withoutPatients } from '../site-agent/imaging/private-images.ts';
import { readPrivateImages } from '../site-agent/imaging/read-dataset.ts';
import { connect, type LinkState } from '../site-agent/shell/connection.ts';
import { Ledger } from '../site-agent/shell/ledger.ts';
import { Outbox } from '../site-agent/shell/outbox.ts';
import { Withdrawals, withdrawalsPath } from '../site-agent/shell/withdrawals.ts';
import { requireWholeRunFits } from './data-set-ledger.ts';
import { EXIT } from './exit-codes.ts';
import { lockFolder } from './lock.ts';
import { type Speed, threadsOf } from './options.ts';
import { eventLines, note } from './output.ts';
import { onInterrupt } from './signals.ts';
import { type DataOptions, datasetOptions, decodedCache } from './site-data.ts';
import { boundsPath, downloadsPath, outboxPath, readBounds, type SiteFolder } from './site-folder.ts';
import { keepCoordinatorKey } from './site-keys.ts';
import { siteScreen } from './site-screen.ts';

export interface SiteRunOptions extends Speed, DataOptions {
  readonly bounds?: string;
  readonly json: boolean;
}

/** What `site run --json` says beside the events of the agent. File names, not contents, of what was left out. */
export type AgentEvent =
  | Exclude<SiteEvent, { kind: 'link-lost' }>
  | { readonly kind: 'bad-file'; readonly file: string; readonly reason: string }
  | { readonly kind: 'data-read'; readonly unit: 'patient' | 'image' }
  | { readonly kind: 'connected' }
  /** The coordinator goes on under another key, which the old one has signed. */
  | { readonly kind: 'coordinator-key'; readonly kid: string }
  | { readonly kind: 'reconnecting'; readonly code: string; readonly detail: string; readonly delayMs: number };

/**
 * @returns the exit code: 0 when the run is over.
 * @throws {FedError} BOUNDS_EXCEEDED, BUDGET_EXHAUSTED, DATASET_INVALID, ENGINE_MISSING, STORE_CORRUPT: before anything is said to
 *   the coordinator.
 */
export async function runSite(folder: SiteFolder, o: SiteRunOptions): Promise<number> {
  const { dir, enrolment, keys, policy } = folder;
  const { siteId, url, tlsFingerprint, rosterJws } = enrolment;
  await using open = new AsyncDisposableStack();
  open.use(lockFolder(dir));
  const bounds = readBounds(o.bounds ?? boundsPath(dir));
  requireWithinBounds(policy, bounds, siteId);
  requireWholeRunFits({ ledger: folder.ledger, outbox: outboxPath(dir), policy, siteId, bounds });
  const screen = o.json ? null : siteScreen(policy, siteId);
  open.defer(() => screen?.stop());
  const tell: (event: AgentEvent) => void = screen?.event ?? eventLines();

  const engine = open.adopt(await openEngine(o.engine, threadsOf(o)), (e) => e.dispose());
  const report = (bad: { file: string; reason: string }) => tell({ kind: 'bad-file', ...bad });
  const kept = decodedCache(dir, o);
  const read = await readPrivateImages(o.data, { ...datasetOptions(policy, o), ...kept, report });
  // Follows the list from step to step: a patient is left out in the middle of a run, too.
  const withdrawals = new Withdrawals(withdrawalsPath(folder.ledger), kept.patientKey);
  const images = withoutPatients(read.images, withdrawals);
  tell({ kind: 'data-read', unit: images.patientsKnown ? 'patient' : 'image' });
  const outbox = open.adopt(new Outbox(outboxPath(dir)), (b) => b.close());
  const leftOut = () => withdrawals.chain;
  // Before the coordinator hears of this site. The agent looks again at every plan, step and statement.
  requireLeftOutWhole({ outbox, leftOut });
  const holdOutKey = outbox.secret('hold-out', HOLD_OUT_KEY_BYTES, secureBytes);
  const parts = { engine, policy, siteId, images, random: secureBytes, holdOutKey };
  const computation = open.adopt(await openComputation(parts), (c) => c.dispose());

  const ledger = open.adopt(new Ledger(folder.ledger), (l) => l.close());
  let coordinatorKey = enrolment.coordinator;
  let agent: SiteAgent | null = null;
  const onCoordinatorKey = (key: PublicSigningKey) => {
    keepCoordinatorKey(dir, key);
    tell({ kind: 'coordinator-key', kid: thumbprint(key) });
    coordinatorKey = key;
    // What it has read under the old key is durable; another agent goes on under the new one.
    void agent?.stop();
  };
  const address = { siteId, keys, url, tlsFingerprint, coordinator: coordinatorKey, onCoordinatorKey };
  const link = open.adopt(connect(address), (l) => l.close());
  open.defer(link.onState(tellState(tell)));
  const interrupt = open.adopt(
    onInterrupt(() => void agent?.stop()),
    (i) => i.release(),
  );
  const joinedRoster = rosterSeen(await verifyRoster(rosterJws, enrolment.joinedUnder ?? enrolment.coordinator, null));
  let outcome: 'completed' | 'stopped';
  let under: PublicSigningKey;
  do {
    under = coordinatorKey;
    agent = new SiteAgent({
      siteId,
      keys,
      coordinatorKey: under,
      link,
      policy,
      bounds,
      ledger,
      outbox,
      leftOut,
      computation,
      joinedRoster,
      formerKeys: enrolment.formerKeys ?? [],
      blobs: new FileBlobStore(downloadsPath(dir)),
      // The link itself says when it is lost, and why.
      onEvent: (event) => event.kind !== 'link-lost' && tell(event),
    });
    outcome = await agent.run();
  } while (coordinatorKey.x !== under.x && !interrupt.asked());
  if (interrupt.asked()) {
    note('Stopped before the run was over; the same command goes on with it.');
    return EXIT.interrupted;
  }
  screen?.finished(outcome);
  return EXIT.ok;
}

/** A connection's states as events: what a person can act on is said, the rest is left out. */
const tellState =
  (tell: (event: AgentEvent) => void) =>
  (state: LinkState): void => {
    if (state.kind === 'ready') tell({ kind: 'connected' });
    if (state.kind !== 'waiting') return;
    const { code, message: detail } = state.error;
    tell({ kind: 'reconnecting', code, detail, delayMs: Math.round(state.delayMs) });
  };

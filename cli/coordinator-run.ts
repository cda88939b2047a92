/** `coordinator run`: serves the sites and drives the rounds, from wherever the folder's run stands, to its end. */
import { Coordinator } from '../coordinator/coordinator.ts';
import type { CoordinatorEvent } from '../coordinator/events.ts';
import { openTrainer } from '../coordinator/gan-pooled-trainer.ts';
import { startServer } from '../coordinator/shell/server.ts';
import { publicLog } from '../coordinator/shell/public-log.ts';
import { SqliteStore } from '../coordinator/store/sqlite.ts';
import { openEngine } from '../shared/engine/open.ts';
import { candidateSimilarity } from '../shared/gate/similarity.ts';
import { FedError } from '../shared/errors.ts';
import type { Roster } from '../shared/identity/roster.ts';
import { policySha256 } from '../shared/policy/load.ts';
import type { RequestHandler } from '../shared/protocol/link.ts';
import { FileBlobStore } from '../shared/protocol/file-blob-store.ts';
import { blobsPath, type CoordinatorFolder, openIdentity, storePath } from './coordinator-folder.ts';
import { coordinatorScreen } from './coordinator-screen.ts';
import { EXIT } from './exit-codes.ts';
import { lockFolder } from './lock.ts';
import { type Speed, threadsOf } from './options.ts';
import { eventLines, note } from './output.ts';
import { withPolicy } from './policy-call.ts';
import { onInterrupt } from './signals.ts';

export interface RunOptions extends Speed {
  readonly host?: string;
  readonly port?: number;
  readonly json: boolean;
  /** Whether the log is served to whoever asks. */
  readonly serveLog: boolean;
  /** Whether sums are kept for auditors. */
  readonly keepSums: boolean;
  /** How long to go on telling absent sites that the run is over, in seconds. */
  readonly linger: number;
}

/** What `coordinator run --json` says beside the events of the run itself. */
export type ShellEvent =
  | { readonly kind: 'listening'; readonly url: string; readonly port: number; readonly policySha256: string }
  | { readonly kind: 'site-online' | 'site-offline'; readonly siteId: string }
  /** Calls per site that met a refusal or a fault; the peer got the code alone. */
  | { readonly kind: 'fault'; readonly siteId: string | null; readonly event: string; readonly detail: string };

/** How often to look for what a command changed in the roster, in milliseconds. */
const ROSTER_EVERY_MS = 2000;

/** @returns the exit code: 0 when the run is over. */
export async function runCoordinator(folder: CoordinatorFolder, o: RunOptions): Promise<number> {
  const { file, policy, policyText, dir } = folder;
  await using open = new AsyncDisposableStack();
  open.use(lockFolder(dir));
  const { keys, tls, identity } = open.use(await openIdentity(folder));
  const engine = open.adopt(await openEngine(o.engine, threadsOf(o)), (e) => e.dispose());
  const trainer = open.adopt(openTrainer(engine, policy), (t) => t.dispose());
  const store = open.adopt(new SqliteStore(storePath(dir)), (s) => s.close());
  const screen = o.json ? null : coordinatorScreen(policy);
  open.defer(() => screen?.stop());
  const tell: (event: CoordinatorEvent | ShellEvent) => void = screen?.event ?? eventLines();
  const coordinator = new Coordinator({
    policy,
    runId: file.runId,
    store,
    blobs: new FileBlobStore(blobsPath(dir)),
    trainer,
    identity: keys,
    roster: () => identity.roster,
    keepSums: o.keepSums,
    similarity: (...args) => candidateSimilarity(engine, policy, ...args),
    onEvent: tell,
  });
  const heard = new HeardTheEnd(coordinator);
  const listen = { host: o.host ?? file.host, port: o.port ?? file.port };
  const server = await startServer({
    ...listen,
    tls,
    identity,
    handler: withPolicy(policyText, policy, heard),
    http: o.serveLog ? [publicLog(store, file.runId)] : [],
    log: ({ siteId, event, error }) => tell({ kind: 'fault', siteId, event, detail: detailOf(error) }),
  }).catch((error: NodeJS.ErrnoException) => {
    throw new FedError('PARAMETER_INVALID', `cannot listen on ${listen.host}:${listen.port}: ${error.message}`);
  });
  open.adopt(server, (s) => s.close());
  server.onPresence((siteId, online) => {
    if (!online) coordinator.left(siteId);
    tell({ kind: online ? 'site-online' : 'site-offline', siteId });
  });
  open.defer(identity.onRoster(() => coordinator.rosterChanged()));
  // Commands beside this process change the identity store: who is revoked is cut off within seconds.
  const watch = setInterval(
    () => void identity.refresh().catch((error: unknown) => note(`identity store: ${detailOf(error)}`)),
    ROSTER_EVERY_MS,
  );
  open.defer(() => clearInterval(watch));
  const interrupt = open.adopt(
    onInterrupt(() => {
      heard.giveUp();
      void coordinator.stop();
    }),
    (i) => i.release(),
  );
  tell({ kind: 'listening', url: file.url, port: server.port, policySha256: policySha256(policy) });
  const outcome = await coordinator.run();
  if (interrupt.asked()) {
    note('Stopped before the run was over; the same command goes on with it.');
    return EXIT.interrupted;
  }
  await heard.byAll(() => activeSites(identity.roster), 1000 * o.linger);
  screen?.finished(outcome);
  return EXIT.ok;
}

/** Sites that have to hear of the end: all that may take part, online or not. */
const activeSites = (roster: Roster): string[] =>
  roster.sites.filter((s) => s.status === 'active').map((s) => s.siteId);

const detailOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Watches who has been told that the run is over, so that the coordinator does not leave before its sites know. */
class HeardTheEnd implements RequestHandler {
  readonly #inner: RequestHandler;
  readonly #sites = new Set<string>();
  #check: () => void = () => undefined;
  #givenUp = false;

  constructor(inner: RequestHandler) {
    this.#inner = inner;
  }

  async handle(siteId: string, type: string, payload: unknown) {
    const reply = await this.#inner.handle(siteId, type, payload);
    if (type === 'site.next' && reply.ok && (reply.body as { kind: string }).kind === 'finished') {
      this.#sites.add(siteId);
      // After the reply is on its way.
      setImmediate(() => this.#check());
    }
    return reply;
  }

  onWake(listener: (sites: readonly string[] | 'all') => void): () => void {
    return this.#inner.onWake(listener);
  }

  giveUp(): void {
    this.#givenUp = true;
    this.#check();
  }

  /** Resolves when everybody has heard, or the time is up. */
  byAll(sites: () => readonly string[], withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      this.#check = () => {
        if (!this.#givenUp && !sites().every((s) => this.#sites.has(s))) return;
        clearTimeout(timer);
        resolve();
      };
      this.#check();
    });
  }
}

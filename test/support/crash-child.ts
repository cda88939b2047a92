/**
 * One process of the crash test: the coordinator, or a site. It kills itself with SIGKILL at the operation its argument
 * names; the test starts it again. Lines of JSON on stdout, written synchronously, so none is lost with the process.
 */
import { existsSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { IdentityService } from '../../coordinator/shell/identity-service.ts';
import { SqliteIdentityStore } from '../../coordinator/shell/identity-store.ts';
import { startServer } from '../../coordinator/shell/server.ts';
import { loadOrCreateSelfSignedTls } from '../../coordinator/shell/tls.ts';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import type { Store } from '../../coordinator/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { loadOrCreateSigningKeys, loadOrCreateSiteKeys } from '../../shared/identity/keys.ts';
import { FileBlobStore } from '../../shared/protocol/file-blob-store.ts';
import { connect } from '../../site-agent/shell/connection.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { CrashPoint } from './crash-point.ts';
import type { PooledOptions } from './pooled-rig.ts';
import { PooledStubComputation, PooledStubTrainer, pooledPlayPolicy } from './pooled-stubs.ts';
import { agentOf, coordinatorOf, testBounds, testPolicy } from './round-rig.ts';

const say = (line: object): void => void writeSync(1, `${JSON.stringify(line)}\n`);
const [role, folder, portText, crashText, policyText] = process.argv.slice(2);
const port = Number(portText);
const crash = new CrashPoint(crashText === 'never' ? null : Number(crashText), (where) => {
  say({ kind: 'crash', where });
  process.kill(process.pid, 'SIGKILL');
});
/** Where a role is to die once, besides: when it would send this answer, or when the answer has just been taken. */
interface KillAt {
  readonly round: number;
  readonly phase: number;
  readonly sent: boolean;
}
interface Extra {
  readonly pooled?: PooledOptions;
  /** Where a role is to be away, once: from before it would send this answer until the coordinator has gone on without. */
  readonly awayAt?: Readonly<Record<string, { readonly round: number; readonly phase: number }>>;
  readonly killAt?: Readonly<Record<string, KillAt>>;
}
const settings = JSON.parse(policyText) as Parameters<typeof testPolicy>[0] & Extra;
const policy = settings.pooled ? pooledPlayPolicy(settings.pooled) : testPolicy(settings);
/** Dies at its place, in one of its lives. */
function dieAt(type: string, payload: unknown, sent: boolean): void {
  const at = settings.killAt?.[role];
  if (type !== 'round.answer' || at?.sent !== sent) return;
  const { round, phase } = payload as { round: number; phase: number };
  const mark = join(folder, `${role}.died`);
  if (round !== at.round || phase !== at.phase || existsSync(mark)) return;
  writeFileSync(mark, '');
  say({ kind: 'crash', where: `phase ${phase} of round ${round}` });
  process.kill(process.pid, 'SIGKILL');
}
/** Leaves at its place, in one of its lives, and begins the next when the coordinator's store says that the phase is over. */
async function leaveAt(type: string, payload: unknown, leave: () => Promise<void>): Promise<void> {
  const at = settings.awayAt?.[role];
  if (type !== 'round.answer' || at === undefined) return;
  const { runId, round, phase } = payload as { runId: string; round: number; phase: number };
  const mark = join(folder, `${role}.away`);
  if (round !== at.round || phase !== at.phase || existsSync(mark)) return;
  writeFileSync(mark, '');
  await leave();
  const store = new SqliteStore(join(folder, 'store.sqlite'));
  for (let over = false; !over;) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const record = await store.transaction((tx) => tx.latestRound(runId));
    over = record?.plan.round !== round || record.phase !== phase || record.status === 'void';
  }
  await store.close();
  say({ kind: 'away', where: `phase ${phase} of round ${round}` });
  process.kill(process.pid, 'SIGKILL');
}
const trainer = settings.pooled && { trainer: new PooledStubTrainer() };
const player = settings.pooled && {
  // Under masks no share is like another: one made a second time would be seen.
  computation: new PooledStubComputation(role, policy, settings.pooled.secure),
  bounds: { ...testBounds, allowInsecure: true, maxEpsilon: 50, lifetime: { epsilon: 100, delta: 1e-4 } },
};

if (role === 'coordinator') {
  const coordinatorKeys = loadOrCreateSigningKeys(join(folder, 'coordinator.json'));
  const identity = await IdentityService.open(
    coordinatorKeys,
    new SqliteIdentityStore(join(folder, 'identity.sqlite')),
    systemClock,
  );
  const inner = new SqliteStore(join(folder, 'store.sqlite'));
  // A transaction may die in its middle, too.
  const store: Store = crash.around('store', {
    transaction: (body) => inner.transaction((tx) => body(crash.around('tx', tx))),
    close: () => inner.close(),
  } satisfies Store);
  const blobs = crash.around('blobs', new FileBlobStore(join(folder, 'blobs')));
  const cast = { coordinator: coordinatorKeys, sites: new Map(), roster: identity.roster };
  const coordinator = coordinatorOf(cast, policy, { store, blobs, ...trainer });
  const tls = await loadOrCreateSelfSignedTls(folder, '127.0.0.1', Date.now());
  const server = await startServer({ tls, identity, handler: coordinator, host: '127.0.0.1', port });
  server.onPresence((siteId, online) => {
    if (!online) coordinator.left(siteId);
  });
  say({ kind: 'listening', port: server.port });
  // The test ends the coordinator when every site has heard that the run is over.
  process.stdin.on('end', () => process.exit(0)).resume();
  say({ kind: 'ended', outcome: await coordinator.run(), passed: crash.passed });
} else {
  const keys = loadOrCreateSiteKeys(join(folder, `${role}.json`));
  const coordinatorKeys = loadOrCreateSigningKeys(join(folder, 'coordinator.json'));
  const cast = { coordinator: coordinatorKeys, sites: new Map([[role, keys]]), roster: { version: 0, sites: [] } };
  const pem = readFileSync(join(folder, 'fingerprint'), 'utf8');
  const link = connect({
    siteId: role,
    keys,
    url: `https://127.0.0.1:${port}`,
    tlsFingerprint: pem,
    coordinator: publicPart(coordinatorKeys.signing),
    backoff: { baseMs: 20, capMs: 100 },
  });
  const answering = crash.around('link', { call: link.call.bind(link) });
  // Asking what there is to do is not counted: while the coordinator is down a site does nothing else.
  const call = async (type: string, payload: unknown) => {
    if (type === 'round.answer') say({ kind: 'answer', payload });
    await leaveAt(type, payload, () => link.close());
    dieAt(type, payload, false);
    const body = await (type === 'site.next' ? link.call(type, payload) : answering.call(type, payload));
    dieAt(type, payload, true);
    return body;
  };
  const agent = agentOf(
    cast,
    policy,
    role,
    { call, onWake: (f: () => void) => link.onWake(f), close: () => link.close() },
    {
      ledger: crash.around('ledger', new Ledger(join(folder, `${role}.ledger`))),
      outbox: crash.around('outbox', new Outbox(join(folder, `${role}.outbox`))),
      blobs: crash.around('blobs', new FileBlobStore(join(folder, `${role}.blobs`))),
      ...player,
      pollMs: 300,
      retryMs: 30,
    },
  );
  say({ kind: 'ended', outcome: await agent.run(), passed: crash.passed });
  await link.close();
  process.exit(0);
}

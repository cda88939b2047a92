import { createConnection, createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { IdentityService } from '../../coordinator/shell/identity-service.ts';
import { type IdentityStore, MemoryIdentityStore } from '../../coordinator/shell/identity-store.ts';
import { type CoordinatorServer, type ServerOptions, startServer } from '../../coordinator/shell/server.ts';
import { selfSignedTls, type TlsIdentity } from '../../coordinator/shell/tls.ts';
import { type Clock, systemClock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import { createSigningKeys, createSiteKeys, type SigningKeys, type SiteKeys } from '../../shared/identity/keys.ts';
import type { RequestHandler } from '../../shared/protocol/link.ts';
import { refusal } from '../../shared/protocol/messages.ts';
import {
  connect,
  type ConnectOptions,
  type LinkState,
  type SiteConnection,
} from '../../site-agent/shell/connection.ts';
import { type Enrolment, joinWithInvite } from '../../site-agent/shell/join.ts';

/** A handler from a function that answers or throws, with `wake` in hand. */
export function handlerOf(answer: (siteId: string, type: string, payload: unknown) => unknown): RequestHandler & {
  wake(sites: readonly string[] | 'all'): void;
} {
  const listeners = new Set<(sites: readonly string[] | 'all') => void>();
  return {
    async handle(siteId, type, payload) {
      try {
        return { ok: true, body: await answer(siteId, type, payload) };
      } catch (error) {
        if (error instanceof FedError) return refusal(error);
        throw error;
      }
    },
    onWake(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    wake: (sites) => listeners.forEach((listener) => listener(sites)),
  };
}

export interface Rig extends AsyncDisposable {
  readonly server: CoordinatorServer;
  readonly identity: IdentityService;
  readonly keys: SigningKeys;
  readonly tls: TlsIdentity;
  readonly url: string;
  readonly log: { siteId: string | null; event: string; error: unknown }[];
  invite(siteId: string, ttlMs?: number): Promise<string>;
  join(siteId: string, keys?: SiteKeys): Promise<{ enrolment: Enrolment; keys: SiteKeys }>;
  /** A connected site; closed with the rig. */
  site(siteId: string, o?: Partial<ConnectOptions>): Promise<SiteConnection>;
  /** Closes the server and starts another on the same port, with the same identity. */
  restart(handler: RequestHandler): Promise<void>;
}

let sharedTls: Promise<TlsIdentity> | null = null;

/** A coordinator on a free port of 127.0.0.1, real TLS and all. */
export async function startRig(
  handler: RequestHandler,
  o: Partial<ServerOptions> & { store?: IdentityStore } = {},
): Promise<Rig> {
  const tls = o.tls ?? (await (sharedTls ??= selfSignedTls('127.0.0.1', Date.now())));
  const keys = createSigningKeys();
  const identity = await IdentityService.open(keys, o.store ?? new MemoryIdentityStore(), o.clock ?? systemClock);
  const log: Rig['log'] = [];
  const options = { log: (entry: Rig['log'][number]) => log.push(entry), ...o, tls, identity };
  let server = await startServer({ ...options, handler });
  const url = `https://127.0.0.1:${server.port}`;
  const links: SiteConnection[] = [];
  const rig: Rig = {
    get server() {
      return server;
    },
    identity,
    keys,
    tls,
    url,
    log,
    invite: async (siteId, ttlMs = 60_000) =>
      (await identity.invite({ siteId, url, tlsFingerprint: tls.fingerprint, ttlMs })).invite,
    async join(siteId, siteKeys = createSiteKeys()) {
      return { enrolment: await joinWithInvite(await rig.invite(siteId), siteKeys), keys: siteKeys };
    },
    async site(siteId, more = {}) {
      const { enrolment, keys: siteKeys } = await rig.join(siteId);
      const link = connect({ ...enrolment, keys: siteKeys, backoff: { baseMs: 1, capMs: 10 }, ...more });
      links.push(link);
      await link.ready();
      return link;
    },
    async restart(next) {
      const { port } = server;
      await server.close();
      server = await startServer({ ...options, handler: next, port });
    },
    async [Symbol.asyncDispose]() {
      for (const link of links) await link.close();
      await server.close();
    },
  };
  return rig;
}

export interface Proxy extends AsyncDisposable {
  readonly url: string;
  /** Bytes that have gone from sites to the coordinator. */
  sent(): number;
  /** Cuts every connection, as a VPN that drops does. */
  cut(): void;
  /** Passes nothing on to the sites any more, as if they did not read. */
  stall(): void;
  /** Cuts every connection once this many more bytes have gone to the coordinator, or come down from it. */
  cutAfter(bytes: number, way?: 'up' | 'down'): void;
}

/** A TCP proxy that drops connections when told to. It sees only ciphertext, like any router. */
export async function startProxy(port: number): Promise<Proxy> {
  const passed = { up: 0, down: 0 };
  const cutAt = { up: Infinity, down: Infinity };
  const open = new Set<Socket>();
  const fars = new Set<Socket>();
  const cut = () => {
    for (const socket of open) socket.destroy();
    open.clear();
  };
  const server = createServer((near) => {
    const far = createConnection(port, '127.0.0.1');
    fars.add(far);
    for (const socket of [near, far]) {
      open.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        open.delete(socket);
        (socket === near ? far : near).destroy();
      });
    }
    const pass = (way: 'up' | 'down', to: Socket) => (bytes: Buffer) => {
      passed[way] += bytes.length;
      if (passed[way] < cutAt[way]) return void to.write(bytes);
      cutAt[way] = Infinity;
      cut();
    };
    near.on('data', pass('up', far));
    far.on('data', pass('down', near));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sent: () => passed.up,
    cut,
    stall: () => fars.forEach((far) => far.pause()),
    cutAfter: (bytes, way = 'up') => (cutAt[way] = passed[way] + bytes),
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The code a promise is refused with. */
export async function codeOf(work: Promise<unknown> | (() => Promise<unknown>)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return error instanceof FedError ? error.code : `not a FedError: ${String(error)}`;
  }
  return 'no error';
}

/** The next state that fits. */
export const until = <K extends LinkState['kind']>(link: SiteConnection, kind: K) =>
  new Promise<Extract<LinkState, { kind: K }>>((resolve) => {
    const stop = link.onState((state) => {
      if (state.kind !== kind) return;
      stop();
      resolve(state as Extract<LinkState, { kind: K }>);
    });
  });

/** A clock whose hands the test turns, and whose timers it fires. */
export function manualClock(): Clock & { nowMs: number; fire(): void } {
  const timers = new Set<() => void>();
  return {
    nowMs: Date.now(),
    now() {
      return this.nowMs;
    },
    after(_, wake) {
      timers.add(wake);
      return () => timers.delete(wake);
    },
    fire() {
      for (const wake of [...timers]) wake();
    },
  };
}

import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { type Clock, systemClock } from '../../shared/clock.ts';
import type { RequestHandler } from '../../shared/protocol/link.ts';
import { MAX_MESSAGE_BYTES } from '../../shared/protocol/messages.ts';
import { type RandomBytes, secureBytes } from '../../shared/random.ts';
import { type IdentityService, withRoster } from './identity-service.ts';
import { Peer, type PeerLimits } from './peer.ts';
import { Strangers } from './strangers.ts';
import type { TlsIdentity } from './tls.ts';

/** Serves a plain HTTPS request, the dashboard's for instance. @returns false to leave it to the next handler. */
export type HttpHandler = (req: IncomingMessage, res: ServerResponse) => boolean | Promise<boolean>;

export interface ServerLimits extends PeerLimits {
  /** Connections that have not proved who they are: in all, and from one address. */
  readonly strangers: number;
  readonly strangersPerAddress: number;
  /** Open TCP connections, sites and browsers together. */
  readonly connections: number;
  /** How often a silent connection is asked for a sign of life, and how long it has to give one, in milliseconds. */
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  handshakeMs: 15_000,
  messagesBeforeAuth: 8,
  callsInFlight: 32,
  packetsUnread: 64,
  strangers: 128,
  strangersPerAddress: 32,
  connections: 8192,
  pingIntervalMs: 15_000,
  pingTimeoutMs: 20_000,
};

export interface ServerOptions {
  readonly tls: TlsIdentity;
  readonly identity: IdentityService;
  readonly handler: RequestHandler;
  readonly host?: string;
  /** 0 takes a free one. */
  readonly port?: number;
  readonly http?: readonly HttpHandler[];
  readonly limits?: Partial<ServerLimits>;
  readonly clock?: Clock;
  readonly random?: RandomBytes;
  /** Refusals and bugs, for our own log: the peer gets only a code. */
  readonly log?: (entry: { siteId: string | null; event: string; error: unknown }) => void;
}

export interface CoordinatorServer {
  readonly port: number;
  readonly tlsFingerprint: string;
  /** The sites that are connected now, sorted. */
  connected(): string[];
  onPresence(listener: (siteId: string, online: boolean) => void): () => void;
  close(): Promise<void>;
}

/**
 * Starts the coordinator's one door: HTTPS with Socket.IO for sites and plain requests for people.
 *
 * Guarantee: TLS 1.3 only; a message larger than `MAX_MESSAGE_BYTES` ends its connection; a request reaches `handler`
 * only from a site that has answered a fresh challenge, and with that site's id; what one peer does wrong is answered to
 * that peer alone. WebSocket only: one connection a site, one place where sizes are limited, no cookies.
 */
export async function startServer(o: ServerOptions): Promise<CoordinatorServer> {
  const limits = { ...DEFAULT_LIMITS, ...o.limits };
  const { clock = systemClock, random = secureBytes, log = () => undefined, identity } = o;
  const handler = withRoster(identity, o.handler);
  const sites = new Map<string, Peer>();
  const presence = new Set<(siteId: string, online: boolean) => void>();
  const strangers = new Strangers(limits.strangers, limits.strangersPerAddress);

  const https = createServer(
    { cert: o.tls.cert, key: o.tls.key, minVersion: 'TLSv1.3', handshakeTimeout: limits.handshakeMs },
    (req, res) => void serveHttp([healthz, ...(o.http ?? [])], req, res, log),
  );
  https.maxConnections = limits.connections;
  https.headersTimeout = limits.handshakeMs;
  https.requestTimeout = 2 * limits.handshakeMs;

  const io = new Server(https, {
    transports: ['websocket'],
    maxHttpBufferSize: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    serveClient: false,
    connectTimeout: limits.handshakeMs,
    pingInterval: limits.pingIntervalMs,
    pingTimeout: limits.pingTimeoutMs,
    allowRequest: (req, done) => done(null, strangers.mayEnter(req.socket.remoteAddress)),
  });
  io.engine.on('connection', (conn: EngineConnection) => {
    strangers.enter(conn.id, conn.request.socket.remoteAddress);
    conn.on('close', () => strangers.leave(conn.id));
  });

  io.on('connection', (socket) => {
    const peer = new Peer(socket, {
      identity,
      handler,
      tlsFingerprint: o.tls.fingerprint,
      clock,
      random,
      limits,
      log,
      onSite,
    });
    socket.on('disconnect', () => {
      const siteId = peer.site?.siteId;
      if (siteId === undefined || sites.get(siteId) !== peer) return;
      sites.delete(siteId);
      tell(siteId, false);
    });
    function onSite() {
      const { siteId } = peer.site!;
      strangers.leave((socket.conn as unknown as EngineConnection).id);
      const before = sites.get(siteId);
      sites.set(siteId, peer);
      before?.replaced();
      if (!before) tell(siteId, true);
    }
  });

  const tell = (siteId: string, online: boolean) => {
    for (const listener of presence) {
      try {
        listener(siteId, online);
      } catch (error) {
        log({ siteId, event: 'presence', error });
      }
    }
  };
  const stopWake = handler.onWake((who) => {
    for (const [siteId, peer] of sites) if (who === 'all' || who.includes(siteId)) peer.wake();
  });
  // Rotated or revoked: the old key's connection ends now, not at the next handshake. The others may want the new roster.
  const stopRoster = identity.onRoster((roster) => {
    const active = new Map(roster.sites.filter((s) => s.status === 'active').map((s) => [s.siteId, s.signing]));
    for (const [siteId, peer] of sites) {
      if (peer.holds(active.get(siteId))) peer.wake();
      else peer.cut();
    }
  });

  await new Promise<void>((resolve, reject) => {
    https.once('error', reject);
    https.listen(o.port ?? 0, o.host ?? '127.0.0.1', resolve);
  });

  return {
    port: (https.address() as AddressInfo).port,
    tlsFingerprint: o.tls.fingerprint,
    connected: () => [...sites.keys()].sort(),
    onPresence(listener) {
      presence.add(listener);
      return () => presence.delete(listener);
    },
    async close() {
      stopWake();
      stopRoster();
      const closed = io.close();
      https.closeAllConnections();
      await closed;
    },
  };
}

/** What we use of an Engine.IO connection. */
interface EngineConnection {
  readonly id: string;
  readonly request: IncomingMessage;
  on(event: 'close', listener: () => void): void;
}

const healthz: HttpHandler = (req, res) => {
  if (req.method !== 'GET' || req.url !== '/healthz') return false;
  res.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end('{"ok":true}\n');
  return true;
};

async function serveHttp(
  handlers: readonly HttpHandler[],
  req: IncomingMessage,
  res: ServerResponse,
  log: NonNullable<ServerOptions['log']>,
): Promise<void> {
  try {
    for (const handle of handlers) if (await handle(req, res)) return;
    res.writeHead(404, { 'content-type': 'text/plain' }).end('Not found\n');
  } catch (error) {
    log({ siteId: null, event: 'http', error });
    if (!res.headersSent) res.writeHead(500, { 'content-type': 'text/plain' });
    res.end();
  }
}

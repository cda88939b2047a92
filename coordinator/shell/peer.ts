import type { Socket } from 'socket.io';
import type { z } from 'zod';
import type { Clock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import { type Binding, checkSite, Hello, Join, proveCoordinator, Prove } from '../../shared/identity/handshake.ts';
import { type PublicSigningKey, thumbprint } from '../../shared/identity/jwk.ts';
import type { Reply, RequestHandler } from '../../shared/protocol/link.ts';
import { CallType, parseMessage, refusal } from '../../shared/protocol/messages.ts';
import type { RandomBytes } from '../../shared/random.ts';
import type { IdentityService } from './identity-service.ts';

export interface PeerLimits {
  /** From the first byte to the end of the handshake, in milliseconds; also how long a challenge may be answered. */
  readonly handshakeMs: number;
  /** Messages before the handshake is complete. */
  readonly messagesBeforeAuth: number;
  /** Calls of one site being worked on at a time. */
  readonly callsInFlight: number;
  /** Packets waiting to be sent to a site that does not read. */
  readonly packetsUnread: number;
}

export interface PeerOptions {
  readonly identity: IdentityService;
  readonly handler: RequestHandler;
  readonly tlsFingerprint: string;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly limits: PeerLimits;
  readonly log: (entry: { siteId: string | null; event: string; error: unknown }) => void;
  /** The site has proved who it is. */
  readonly onSite: (peer: Peer) => void;
}

/**
 * One connection, as the coordinator sees it: a stranger first, a site after the handshake. Whatever a peer sends, it
 * gets a reply with a code, or is disconnected; nothing it sends can throw into the server.
 */
export class Peer {
  readonly #socket: Socket;
  readonly #o: PeerOptions;
  readonly #stopTimer: () => void;
  #challenge: (Binding & { expiresMs: number }) | null = null;
  #site: { siteId: string; kid: string } | null = null;
  #messages = 0;
  #inFlight = 0;

  constructor(socket: Socket, options: PeerOptions) {
    this.#socket = socket;
    this.#o = options;
    this.#stopTimer = options.clock.after(options.limits.handshakeMs, () => {
      if (!this.#site) this.cut();
    });
    socket.on('disconnect', () => this.#stopTimer());
    socket.onAny((event: unknown, ...args: unknown[]) => {
      const ack = args.pop();
      if (typeof ack !== 'function' || typeof event !== 'string') return this.cut();
      void this.#answer(event, args).then((reply) => this.#send(ack as (reply: Reply) => void, event, reply));
    });
  }

  /** Who this is; null before the handshake. */
  get site(): { readonly siteId: string; readonly kid: string } | null {
    return this.#site;
  }

  /** Whether this peer came in with the signing key that is valid now. */
  holds(key: PublicSigningKey | undefined): boolean {
    return key !== undefined && this.#site?.kid === thumbprint(key);
  }

  wake(): void {
    this.#socket.emit('wake');
  }

  /** Another connection of the same site has taken over. */
  replaced(): void {
    this.#socket.emit('replaced');
    this.cut();
  }

  cut(): void {
    this.#socket.disconnect(true);
  }

  async #answer(event: string, args: unknown[]): Promise<Reply> {
    try {
      if (!this.#site && ++this.#messages > this.#o.limits.messagesBeforeAuth) {
        this.cut();
        throw new FedError('RATE_LIMITED', 'too many messages before the handshake');
      }
      return { ok: true, body: await this.#dispatch(event, args) };
    } catch (error) {
      this.#o.log({ siteId: this.#site?.siteId ?? null, event, error });
      return refusal(error);
    }
  }

  /** A reply that cannot be written as JSON is our bug, and the peer still gets a reply. */
  #send(ack: (reply: Reply) => void, event: string, reply: Reply): void {
    try {
      ack(reply);
    } catch (error) {
      this.#o.log({ siteId: this.#site?.siteId ?? null, event, error });
      ack(refusal(error));
    }
  }

  async #dispatch(event: string, args: unknown[]): Promise<unknown> {
    switch (event) {
      case 'hello':
        return this.#hello(parseMessage(Hello, args[0]));
      case 'prove':
        return this.#prove(parseMessage(Prove, args[0]));
      case 'join':
        return this.#join(parseMessage(Join, args[0]));
      case 'call':
        return this.#call(args[0], args[1]);
      default:
        throw new FedError('MESSAGE_INVALID', `no event ${event.slice(0, 64)}`);
    }
  }

  async #hello(hello: z.infer<typeof Hello>): Promise<unknown> {
    const nonce = new Uint8Array(32);
    this.#o.random(nonce);
    const binding = { nonce: Buffer.from(nonce).toString('base64url'), tlsFingerprint: this.#o.tlsFingerprint };
    const nowMs = this.#o.clock.now();
    this.#challenge = { ...binding, expiresMs: nowMs + this.#o.limits.handshakeMs };
    const { keys, succession } = this.#o.identity;
    return proveCoordinator(keys, hello.nonce, binding, nowMs, succession);
  }

  async #prove(message: z.infer<typeof Prove>): Promise<unknown> {
    const { identity } = this.#o;
    const binding = this.#spend();
    const { signing } = identity.site(message.siteId);
    await checkSite(message, signing, identity.keys.kid, binding);
    // The roster may have changed while the signature was checked.
    if (identity.site(message.siteId).signing.x !== signing.x) throw new FedError('KEY_UNKNOWN', 'rotated meanwhile');
    if (!this.#socket.connected) throw new FedError('LINK_LOST', 'gone before its handshake was complete');
    this.#site = { siteId: message.siteId, kid: thumbprint(signing) };
    this.#stopTimer();
    this.#o.onSite(this);
    return null;
  }

  async #join(message: z.infer<typeof Join>): Promise<unknown> {
    const { roster } = await this.#o.identity.join(message, this.#spend());
    return { roster };
  }

  /** A challenge is answered once, rightly or not. @throws {FedError} HANDSHAKE_REPLAYED */
  #spend(): Binding {
    const challenge = this.#challenge;
    this.#challenge = null;
    if (!challenge || this.#o.clock.now() >= challenge.expiresMs)
      throw new FedError('HANDSHAKE_REPLAYED', challenge ? 'the challenge has expired' : 'no challenge is open');
    return { nonce: challenge.nonce, tlsFingerprint: challenge.tlsFingerprint };
  }

  async #call(type: unknown, payload: unknown): Promise<unknown> {
    if (!this.#site) throw new FedError('NOT_AUTHENTICATED', 'call before handshake');
    const { handler, limits } = this.#o;
    const name = parseMessage(CallType, type);
    if (this.#unread() > limits.packetsUnread) {
      // Discards what waits: an orderly end would wait for the peer to read it.
      this.#connection().close(true);
      throw new FedError('RATE_LIMITED', 'the site does not read its answers');
    }
    if (this.#inFlight >= limits.callsInFlight) throw new FedError('RATE_LIMITED', `${this.#inFlight} calls in flight`);
    this.#inFlight++;
    try {
      const reply = await handler.handle(this.#site.siteId, name, payload);
      if (reply.ok) return reply.body;
      throw new FedError(reply.code, 'refused by the handler');
    } finally {
      this.#inFlight--;
    }
  }

  /** Packets the peer has not let us send: Engine.IO keeps them until the socket drains. */
  #unread(): number {
    return this.#connection().writeBuffer.length;
  }

  /** What we use of Engine.IO that its typings keep private. */
  #connection(): { readonly writeBuffer: unknown[]; close(discard: boolean): void } {
    return this.#socket.conn as unknown as { writeBuffer: unknown[]; close(discard: boolean): void };
  }
}

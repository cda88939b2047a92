import type { Socket } from 'socket.io-client';
import { type Clock, systemClock } from '../../shared/clock.ts';
import { FedError } from '../../shared/errors.ts';
import { proveSite } from '../../shared/identity/handshake.ts';
import { type PublicSigningKey, thumbprint } from '../../shared/identity/jwk.ts';
import type { SigningKeys } from '../../shared/identity/keys.ts';
import { checkSendable } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { CallType, parseMessage } from '../../shared/protocol/messages.ts';
import { type RandomBytes, secureBytes } from '../../shared/random.ts';
import { type CoordinatorAddress, dial, request } from './dial.ts';

export interface ConnectOptions extends CoordinatorAddress {
  readonly siteId: string;
  readonly keys: SigningKeys;
  readonly backoff?: Backoff;
  /** How long a call may take, in milliseconds. */
  readonly callTimeoutMs?: number;
  readonly handshakeTimeoutMs?: number;
  readonly clock?: Clock;
  readonly random?: RandomBytes;
  /**
   * The coordinator has proved a key to which the pinned one gave way. Called before anything is sent under it; what it
   * keeps must be durable when it returns, so that the old key is never accepted again.
   */
  readonly onCoordinatorKey?: (key: PublicSigningKey) => void;
}

export interface Backoff {
  readonly baseMs: number;
  readonly capMs: number;
}
const BACKOFF: Backoff = { baseMs: 500, capMs: 30_000 };
/** A connection that held this long was a good one: the next loss starts from the shortest wait. */
const STABLE_MS = 10_000;

export type LinkState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'ready' }
  /** Why the last try failed, and when the next one is. A person can act on the code. */
  | { readonly kind: 'waiting'; readonly error: FedError; readonly delayMs: number }
  | { readonly kind: 'closed' };

export interface SiteConnection extends CoordinatorLink {
  readonly state: LinkState;
  onState(listener: (state: LinkState) => void): () => void;
  /** Resolves when calls can be made. @throws {FedError} LINK_LOST once closed */
  ready(): Promise<void>;
}

/**
 * The wait before try number `failures` + 1: doubles up to the cap, and half of it is drawn at random, so that a
 * hundred sites whose coordinator restarts do not all knock at once.
 * @returns milliseconds, in [half, whole) of min(capMs, baseMs * 2^failures).
 */
export function backoffMs(failures: number, { baseMs, capMs }: Backoff, random: RandomBytes): number {
  const whole = Math.min(capMs, baseMs * 2 ** Math.min(failures, 30));
  const bytes = new Uint8Array(4);
  random(bytes);
  return (whole / 2) * (1 + new DataView(bytes.buffer).getUint32(0) / 2 ** 32);
}

/**
 * Keeps a site connected to its coordinator, for ever: whatever breaks is dialled again until `close`.
 *
 * Guarantee: a call is sent only on a connection whose two ends have proved themselves, at most once, and fails with
 * LINK_LOST when its answer cannot come any more. Listeners of `onWake` are also called after every reconnection,
 * because a wake may have been missed.
 */
export function connect(o: ConnectOptions): SiteConnection {
  return new ReconnectingLink(o);
}

class ReconnectingLink implements SiteConnection {
  readonly #o: Required<ConnectOptions>;
  /** What is accepted now: moves forward alone. */
  #coordinator: PublicSigningKey;
  readonly #wakes = new Set<() => void>();
  readonly #states = new Set<(state: LinkState) => void>();
  #state: LinkState = { kind: 'connecting' };
  #socket: Socket | null = null;
  #stopTimer: () => void = () => undefined;
  #failures = 0;

  constructor(o: ConnectOptions) {
    this.#o = {
      backoff: BACKOFF,
      callTimeoutMs: 120_000,
      handshakeTimeoutMs: 20_000,
      clock: systemClock,
      random: secureBytes,
      onCoordinatorKey: () => undefined,
      ...o,
    };
    this.#coordinator = o.coordinator;
    void this.#dial();
  }

  get state(): LinkState {
    return this.#state;
  }

  async call(type: string, payload: unknown): Promise<unknown> {
    parseMessage(CallType, type);
    checkSendable(payload);
    if (this.#state.kind !== 'ready' || !this.#socket) throw new FedError('LINK_LOST', `${type}: ${this.#state.kind}`);
    return request(this.#socket, this.#o.callTimeoutMs, 'call', type, payload);
  }

  onWake(listener: () => void): () => void {
    this.#wakes.add(listener);
    return () => this.#wakes.delete(listener);
  }

  onState(listener: (state: LinkState) => void): () => void {
    this.#states.add(listener);
    return () => this.#states.delete(listener);
  }

  async ready(): Promise<void> {
    const settled = (state: LinkState) => state.kind === 'ready' || state.kind === 'closed';
    if (!settled(this.#state))
      await new Promise<void>((resolve) => {
        const stop = this.onState((state) => {
          if (!settled(state)) return;
          stop();
          resolve();
        });
      });
    if (this.#state.kind === 'closed') throw new FedError('LINK_LOST', 'the link is closed');
  }

  async close(): Promise<void> {
    this.#stopTimer();
    // Closed first: the end of the socket is then nobody's loss, and nothing dials again.
    this.#become({ kind: 'closed' });
    this.#socket?.disconnect();
    this.#socket = null;
  }

  async #dial(): Promise<void> {
    const { siteId, keys, clock, handshakeTimeoutMs: timeoutMs, random } = this.#o;
    this.#become({ kind: 'connecting' });
    let socket: Socket | null = null;
    try {
      const dialled = await dial({ ...this.#o, coordinator: this.#coordinator }, { timeoutMs, random });
      socket = dialled.socket;
      if (dialled.coordinator.x !== this.#coordinator.x) {
        this.#o.onCoordinatorKey(dialled.coordinator);
        this.#coordinator = dialled.coordinator;
      }
      const lost = this.#watch(socket);
      const answer = await proveSite(keys, siteId, thumbprint(this.#coordinator), dialled.binding, clock.now());
      await request(socket, timeoutMs, 'prove', answer);
      if (this.#closed() || !socket.connected) throw new FedError('LINK_LOST', 'closed during the handshake');
      this.#socket = socket;
      const since = clock.now();
      lost((error, giveWay) => {
        this.#socket = null;
        if (giveWay) this.#failures = 30;
        else if (clock.now() - since >= STABLE_MS) this.#failures = 0;
        this.#retry(error);
      });
    } catch (error) {
      socket?.disconnect();
      this.#retry(error instanceof FedError ? error : new FedError('LINK_LOST', 'handshake failed', { cause: error }));
      return;
    }
    this.#become({ kind: 'ready' });
    for (const listener of this.#wakes) listener();
  }

  /** Listens from the first moment, so that no wake and no end is missed between the handshake and its answer. */
  #watch(socket: Socket): (onLost: (error: FedError, giveWay: boolean) => void) => void {
    let giveWay = false;
    socket.on('wake', () => {
      for (const listener of this.#wakes) listener();
    });
    // Another process of this site has connected: two that both hurried back would cut each other off for ever.
    socket.on('replaced', () => (giveWay = true));
    return (onLost) => {
      socket.once('disconnect', (reason) => {
        if (!this.#closed())
          onLost(new FedError('LINK_LOST', giveWay ? 'another agent of this site took over' : reason), giveWay);
      });
    };
  }

  #retry(error: FedError): void {
    if (this.#closed()) return;
    const delayMs = backoffMs(this.#failures++, this.#o.backoff, this.#o.random);
    this.#stopTimer = this.#o.clock.after(delayMs, () => void this.#dial());
    this.#become({ kind: 'waiting', error, delayMs });
  }

  #closed(): boolean {
    return this.#state.kind === 'closed';
  }

  #become(state: LinkState): void {
    if (this.#closed()) return;
    this.#state = state;
    for (const listener of this.#states) listener(state);
  }
}

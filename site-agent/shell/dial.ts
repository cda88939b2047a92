import { io, type Socket } from 'socket.io-client';
import { FedError } from '../../shared/errors.ts';
import { type Binding, Challenge, checkCoordinator, PROTOCOL_VERSION } from '../../shared/identity/handshake.ts';
import type { PublicSigningKey } from '../../shared/identity/jwk.ts';
import { openReply, parseMessage } from '../../shared/protocol/messages.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { PinnedAgent } from './pinned-agent.ts';

/** Where the coordinator is and how it is recognised: all of it came with the invite. */
export interface CoordinatorAddress {
  readonly url: string;
  /** The one certificate to accept; null: whatever this machine's certificate authorities vouch for. */
  readonly tlsFingerprint: string | null;
  readonly coordinator: PublicSigningKey;
}

export interface Dialled {
  readonly socket: Socket;
  /** What this site must sign to prove itself on this connection. */
  readonly binding: Binding;
  /** The key the coordinator has proved: the pinned one, or the one it has given way to. */
  readonly coordinator: PublicSigningKey;
}

/**
 * Opens one connection and makes the coordinator prove itself. Nothing of the site's own has been sent when this resolves.
 * @throws {FedError} COORDINATOR_UNKNOWN: another certificate or another key; LINK_LOST: nobody there, or too slow.
 */
export async function dial(a: CoordinatorAddress, o: { timeoutMs: number; random: RandomBytes }): Promise<Dialled> {
  if (new URL(a.url).protocol !== 'https:') throw new FedError('PARAMETER_INVALID', `not https: ${a.url}`);
  const agent = new PinnedAgent(a.tlsFingerprint);
  const socket = io(a.url, {
    // The typings know only the browser's and Node's string form; `ws` takes an agent.
    agent: agent as unknown as string,
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    timeout: o.timeoutMs,
  });
  try {
    await opened(socket, o.timeoutMs).catch((error: unknown) => {
      throw agent.failure instanceof FedError ? agent.failure : error;
    });
    const tlsFingerprint = agent.fingerprint;
    if (tlsFingerprint === null) throw new FedError('COORDINATOR_UNKNOWN', 'no certificate');
    const bytes = new Uint8Array(32);
    o.random(bytes);
    const siteNonce = Buffer.from(bytes).toString('base64url');
    const answer = await request(socket, o.timeoutMs, 'hello', { protocol: PROTOCOL_VERSION, nonce: siteNonce });
    const challenge = parseMessage(Challenge, answer);
    const coordinator = await checkCoordinator(challenge, a.coordinator, { siteNonce, tlsFingerprint });
    return { socket, binding: { nonce: challenge.nonce, tlsFingerprint }, coordinator };
  } catch (error) {
    socket.disconnect();
    throw error instanceof FedError ? error : new FedError('LINK_LOST', `cannot reach ${a.url}`, { cause: error });
  }
}

/**
 * Waits until the connection is open. Three things can come instead: an error, an end between opening and the first
 * packet (which the library reports as `disconnect` alone), or nothing at all.
 */
async function opened(socket: Socket, timeoutMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(new Error('no answer in time')), timeoutMs);
  socket.once('connect', resolve);
  socket.once('connect_error', reject);
  socket.once('disconnect', (reason) => reject(new Error(reason)));
  return promise.finally(() => clearTimeout(timer));
}

/**
 * One event with its acknowledgement.
 * @throws {FedError} LINK_LOST when the connection ends first or the time is up; else the code of the refusal.
 */
export async function request(socket: Socket, timeoutMs: number, event: string, ...args: unknown[]): Promise<unknown> {
  const lost = Promise.withResolvers<never>();
  const onLost = (reason: string) => lost.reject(new Error(reason));
  socket.once('disconnect', onLost);
  let reply: unknown;
  try {
    // The library would keep a packet for the next connection, of which there is none.
    if (!socket.connected) throw new Error('not connected');
    // It fails the acknowledgements of what it sent, not of what it still held back; hence the race.
    reply = await Promise.race([socket.timeout(timeoutMs).emitWithAck(event, ...args), lost.promise]);
  } catch (error) {
    throw new FedError('LINK_LOST', `${event}: ${error instanceof Error ? error.message : 'no answer'}`, {
      cause: error,
    });
  } finally {
    socket.off('disconnect', onLost);
  }
  return openReply(reply);
}

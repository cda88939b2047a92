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
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('connect_error', (error) => reject(agent.failure instanceof FedError ? agent.failure : error));
    });
    const tlsFingerprint = agent.fingerprint;
    if (tlsFingerprint === null) throw new FedError('COORDINATOR_UNKNOWN', 'no certificate');
    const bytes = new Uint8Array(32);
    o.random(bytes);
    const siteNonce = Buffer.from(bytes).toString('base64url');
    const answer = await request(socket, o.timeoutMs, 'hello', { protocol: PROTOCOL_VERSION, nonce: siteNonce });
    const challenge = parseMessage(Challenge, answer);
    await checkCoordinator(challenge, a.coordinator, { siteNonce, tlsFingerprint });
    return { socket, binding: { nonce: challenge.nonce, tlsFingerprint } };
  } catch (error) {
    socket.disconnect();
    throw error instanceof FedError ? error : new FedError('LINK_LOST', `cannot reach ${a.url}`, { cause: error });
  }
}

/**
 * One event with its acknowledgement.
 * @throws {FedError} LINK_LOST when the connection ends first or the time is up; else the code of the refusal.
 */
export async function request(socket: Socket, timeoutMs: number, event: string, ...args: unknown[]): Promise<unknown> {
  let reply: unknown;
  try {
    reply = await socket.timeout(timeoutMs).emitWithAck(event, ...args);
  } catch (error) {
    throw new FedError('LINK_LOST', `${event}: ${error instanceof Error ? error.message : 'no answer'}`, {
      cause: error,
    });
  }
  return openReply(reply);
}

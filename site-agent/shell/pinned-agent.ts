import { createHash } from 'node:crypto';
import { Agent, type RequestOptions } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect, type TLSSocket } from 'node:tls';
import { FedError } from '../../shared/errors.ts';

/**
 * Opens TLS connections to one known certificate.
 *
 * Guarantee: with a fingerprint, only the holder of that certificate's key gets any byte of HTTP: the socket is handed
 * over after the handshake (in which the server has signed with that key, RFC 8446 section 4.4.3) and after the
 * comparison; `rejectUnauthorized` is off only because the comparison is the stricter check. Without a fingerprint the
 * machine's certificate authorities decide, and the host name must match.
 */
export class PinnedAgent extends Agent {
  readonly #pin: string | null;
  /** Fingerprint of the certificate that was accepted: what the handshake signs. */
  fingerprint: string | null = null;
  /** Why the last connection was not made. */
  failure: Error | null = null;

  /** @param pin - SHA-256 of the certificate in DER, lower-case hexadecimal; null: ask the certificate authorities. */
  constructor(pin: string | null) {
    super({ keepAlive: false });
    this.#pin = pin;
  }

  override createConnection(options: RequestOptions, done?: (error: Error | null, stream: Duplex) => void): undefined {
    const host = options.host ?? 'localhost';
    const socket = connect({
      host,
      port: Number(options.port ?? 443),
      // RFC 6066 allows names only.
      ...(isIP(host) ? {} : { servername: host }),
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: this.#pin === null,
    });
    const fail = (error: Error) => {
      // Set by Node when the certificate authorities, or the host name, were the reason.
      const untrusted = (socket.authorizationError as unknown) != null && this.#pin === null;
      this.failure = untrusted ? new FedError('COORDINATOR_UNKNOWN', error.message, { cause: error }) : error;
      done?.(this.failure, socket);
    };
    socket.once('error', fail);
    socket.once('secureConnect', () => {
      socket.off('error', fail);
      const seen = fingerprintOf(socket);
      if (this.#pin !== null && seen !== this.#pin) {
        socket.destroy();
        fail(new FedError('COORDINATOR_UNKNOWN', `certificate ${seen ?? 'none'}, pinned ${this.#pin}`));
        return;
      }
      this.fingerprint = seen;
      done?.(null, socket);
    });
    return undefined;
  }
}

function fingerprintOf(socket: TLSSocket): string | null {
  const certificate = socket.getPeerX509Certificate();
  return certificate ? createHash('sha256').update(certificate.raw).digest('hex') : null;
}

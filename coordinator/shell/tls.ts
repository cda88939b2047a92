import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { generate } from 'selfsigned';
import { FedError } from '../../shared/errors.ts';

/** What the HTTPS server shows, in PEM. */
export interface TlsIdentity {
  readonly cert: string;
  readonly key: string;
  /** SHA-256 of the certificate (the first of a chain) in DER, lower-case hexadecimal: what invites pin. */
  readonly fingerprint: string;
}

/** The operator's own certificate. @throws {FedError} PARAMETER_INVALID when it is none, or the key is another's. */
export function tlsFromPem(cert: string, key: string): TlsIdentity {
  try {
    const x509 = new X509Certificate(cert);
    return { cert, key, fingerprint: createHash('sha256').update(x509.raw).digest('hex') };
  } catch (error) {
    throw new FedError('PARAMETER_INVALID', 'the TLS certificate cannot be read', { cause: error });
  }
}

/**
 * A self-signed certificate: ECDSA P-256, good for ten years, because its trust is the pinned fingerprint and its end
 * would cut off every site at once.
 * @param host - the name or address sites use.
 */
export async function selfSignedTls(host: string, nowMs: number): Promise<TlsIdentity> {
  const altNames = isIP(host) ? [{ type: 7 as const, ip: host }] : [{ type: 2 as const, value: host }];
  const made = await generate([{ name: 'commonName', value: host }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    // A day back: sites' clocks may be behind.
    notBeforeDate: new Date(nowMs - 24 * 3600 * 1000),
    notAfterDate: new Date(nowMs + 3650 * 24 * 3600 * 1000),
    extensions: [
      { name: 'basicConstraints', cA: false },
      { name: 'keyUsage', digitalSignature: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames },
    ],
  });
  return tlsFromPem(made.cert, made.private);
}

/** The folder's self-signed certificate, made on the first start. Key and certificate are one file, mode 0600. */
export async function loadOrCreateSelfSignedTls(folder: string, host: string, nowMs: number): Promise<TlsIdentity> {
  const path = join(folder, 'tls.pem');
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const made = await selfSignedTls(host, nowMs);
    writeFileSync(`${path}.new`, `${made.key.trim()}\n${made.cert.trim()}\n`, { mode: 0o600, flush: true });
    renameSync(`${path}.new`, path);
  }
  const pem = readFileSync(path, 'utf8');
  const at = pem.indexOf('-----BEGIN CERTIFICATE-----');
  if (at < 0) throw new FedError('STORE_CORRUPT', `${path} holds no certificate`);
  return tlsFromPem(pem.slice(at), pem.slice(0, at));
}

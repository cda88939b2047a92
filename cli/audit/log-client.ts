/** A coordinator's public log over HTTPS. With a fingerprint, only the holder of that certificate is spoken to. */
import { request } from 'node:https';
import { MAX_NOTE_BYTES } from '../../shared/protocol/plan.ts';
import { FedError } from '../../shared/errors.ts';
import { PinnedAgent } from '../../site-agent/shell/pinned-agent.ts';
import type { LogClient } from './monitor.ts';

/** Most that one answer may have, in bytes: a page of entries, each with a plan for a thousand sites. */
const MAX_BYTES = 256 * 1024 * 1024;
const TIMEOUT_MS = 30_000;

export function httpsLog(url: string, tlsFingerprint: string | null): LogClient {
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:')
    throw new FedError('PARAMETER_INVALID', `${url} is no https address`);
  const get = (path: string, most: number) => fetchText(new URL(path, url), tlsFingerprint, most);
  const lines = (text: string | null): string[] => (text ?? '').split('\n').slice(0, -1);
  return {
    checkpoint: () => get('/log/checkpoint', MAX_NOTE_BYTES),
    entries: async (from) => lines(await get(`/log/entries/${from}`, MAX_BYTES)),
    proof: async (from, to) => lines(await get(`/log/proof/${from}/${to}`, 64 * 64)),
  };
}

/** @returns the body; null for 404. @throws {FedError} LINK_LOST, COORDINATOR_UNKNOWN */
function fetchText(url: URL, pin: string | null, most: number): Promise<string | null> {
  const agent = new PinnedAgent(pin);
  const { promise, resolve, reject } = Promise.withResolvers<string | null>();
  const fail = (cause: unknown) =>
    reject(
      agent.failure instanceof FedError
        ? agent.failure
        : new FedError('LINK_LOST', `cannot read ${url.pathname} of ${url.host}`, { cause }),
    );
  const req = request(url, { agent, timeout: TIMEOUT_MS }, (res) => {
    const chunks: Buffer[] = [];
    let size = 0;
    res.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > most) req.destroy(new Error('the answer is too large'));
      else chunks.push(chunk);
    });
    res.on('error', fail);
    res.on('end', () => {
      if (res.statusCode === 200) resolve(Buffer.concat(chunks).toString('utf8'));
      else if (res.statusCode === 404) resolve(null);
      else fail(new Error(`status ${res.statusCode}`));
    });
  });
  req.on('timeout', () => req.destroy(new Error('no answer in time')));
  req.on('error', fail);
  req.end();
  return promise;
}

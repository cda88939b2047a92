/**
 * The log for whoever asks, over plain HTTPS: what a monitor follows. Nothing is served here that an exported log would
 * not hold; the coordinator serves it only when it is told to.
 *
 * | path | answer |
 * |---|---|
 * | `/log/checkpoint` | the newest checkpoint with the cosignatures that have come in: a signed note |
 * | `/log/entries/FROM` | a page of entries from this index on, canonical JSON, one a line |
 * | `/log/proof/FROM/TO` | the consistency proof between two sizes, one base64 hash a line |
 */
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
import type { Store, Tx } from '../store/store.ts';
import { checkpointReply, cosignedNote } from '../witnesses.ts';
import type { HttpHandler } from './server.ts';

/** Entries of a page, at most. */
const PAGE = 256;
const SIZE = '(0|[1-9]\\d{0,14})';

export function publicLog(store: Store, runId: string): HttpHandler {
  const pages: readonly [RegExp, (tx: Tx, numbers: number[]) => Promise<string | null>][] = [
    [/^\/log\/checkpoint$/, (tx) => newest(tx, runId)],
    [new RegExp(`^/log/entries/${SIZE}$`), (tx, [from]) => entries(tx, runId, from)],
    [new RegExp(`^/log/proof/${SIZE}/${SIZE}$`), (tx, [from, to]) => proof(tx, runId, from, to)],
  ];
  return async (req, res) => {
    if (req.method !== 'GET') return false;
    for (const [path, answer] of pages) {
      const found = path.exec(req.url ?? '');
      if (found === null) continue;
      const text = await store.transaction((tx) => answer(tx, found.slice(1).map(Number)));
      if (text === null) return false;
      res.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' }).end(text);
      return true;
    }
    return false;
  };
}

async function newest(tx: Tx, runId: string): Promise<string | null> {
  const latest = await tx.latestRound(runId);
  const last = (await tx.checkpoints(runId, latest?.plan.checkpoint.size ?? 0)).at(-1);
  return last === undefined ? null : cosignedNote(last);
}

const entries = async (tx: Tx, runId: string, from: number): Promise<string> =>
  (await tx.log(runId, from, PAGE)).map((entry) => `${canonicalJson(entry)}\n`).join('');

async function proof(tx: Tx, runId: string, from: number, to: number): Promise<string | null> {
  try {
    const { proof: hashes } = await checkpointReply(tx, { runId, size: to, from });
    return hashes.map((hash) => `${hash}\n`).join('');
  } catch (error) {
    if (error instanceof FedError) return null;
    throw error;
  }
}

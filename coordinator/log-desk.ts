import type { z } from 'zod';
import type { LogPage, LogRead } from '../shared/protocol/round-messages.ts';
import type { Tx } from './store/store.ts';

/** Bytes of a page of the log: below what one message may have, with room for the envelope. */
const PAGE_BYTES = 192 * 1024;

/** Entries of the log from one on: as many as fit a message. */
export async function pageOfLog(tx: Tx, { runId, from }: z.infer<typeof LogRead>): Promise<LogPage> {
  const entries = [];
  let bytes = 0;
  for (const entry of await tx.log(runId, from, 256)) {
    bytes += JSON.stringify(entry).length;
    if (bytes > PAGE_BYTES && entries.length > 0) break;
    entries.push(entry);
  }
  return { entries, head: await tx.logHead(runId) };
}

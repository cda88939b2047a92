/**
 * The round log: append, head, verify. Entries are the leaves of a Merkle tree (`merkle.ts`): a leaf is the hash of an
 * entry's canonical JSON, and the head is how many there are, with the tree's root. What it shows: no entry below a head
 * somebody remembers was changed, removed or reordered. What it does not show: that the coordinator wrote down
 * everything. That two sites are shown one head is what witnesses are for (`witness.ts`).
 */
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { Sha256Hex } from '../protocol/plan.ts';
import { canonicalJson } from './canonical.ts';
import { LogDraft, LogEntry } from './entry.ts';
import { EMPTY_FRONTIER, appendLeaf, leafHash, rootOf } from './merkle.ts';
import type { Frontier, Hash } from './merkle.ts';

/** How many entries, and the root of the tree they are the leaves of. */
export const LogHead = z.strictObject({ size: z.int().min(0), root: Sha256Hex });
export type LogHead = z.infer<typeof LogHead>;

export const hexOf = (hash: Hash): string => Buffer.from(hash).toString('hex');
export const hashOfHex = (hex: string): Hash => Buffer.from(hex, 'hex');
/** A proof's hashes travel in base64, as in C2SP's formats. */
export const hashOfBase64 = (text: string): Hash => Buffer.from(text, 'base64');
export const base64OfHash = (hash: Hash): string => Buffer.from(hash).toString('base64');

/** The head of the log with this frontier. */
export const headOf = (frontier: Frontier): LogHead => ({ size: frontier.size, root: hexOf(rootOf(frontier)) });

export const EMPTY_LOG: LogHead = headOf(EMPTY_FRONTIER);

/**
 * Gives a draft its place in the log.
 * @throws {FedError} PARAMETER_INVALID when the draft is not in the closed union.
 */
export function makeEntry(index: number, draft: LogDraft, timeMs: number): LogEntry {
  const parsed = LogDraft.safeParse(draft);
  if (!parsed.success) throw new FedError('PARAMETER_INVALID', z.prettifyError(parsed.error));
  return { version: 1, index, timeMs, kind: parsed.data.kind, body: parsed.data.body };
}

/** The leaf of an entry: its canonical JSON (RFC 8785), hashed as RFC 6962 hashes leaves. */
export const entryLeaf = (entry: LogEntry): Hash => leafHash(canonicalJson(entry));

/**
 * Follows the log from a frontier: every entry well-formed and in its place. Whether they are the entries somebody
 * promised is seen by comparing the head of what comes back with a checkpoint.
 * @throws {FedError} LOG_INVALID naming the first entry that does not fit.
 */
export function followEntries(entries: Iterable<unknown>, from: Frontier = EMPTY_FRONTIER): Frontier {
  let frontier = from;
  for (const raw of entries) {
    const at = `entry ${frontier.size}`;
    const parsed = LogEntry.safeParse(raw);
    if (!parsed.success) throw new FedError('LOG_INVALID', `${at}: ${z.prettifyError(parsed.error)}`);
    const entry = parsed.data;
    if (entry.index !== frontier.size) throw new FedError('LOG_INVALID', `${at}: carries index ${entry.index}`);
    draftOf(entry);
    ({ frontier } = appendLeaf(frontier, entryLeaf(entry)));
  }
  return frontier;
}

/** The head of a whole log. @throws {FedError} LOG_INVALID as `followEntries`. */
export const headOfEntries = (entries: Iterable<unknown>): LogHead => headOf(followEntries(entries));

/** An entry's kind and body, typed. @throws {FedError} LOG_INVALID when it is outside the closed union. */
export function draftOf(entry: LogEntry): LogDraft {
  const { kind, body, version } = entry;
  const draft = LogDraft.safeParse({ kind, body });
  if (version !== 1 || !draft.success)
    throw new FedError(
      'LOG_INVALID',
      `entry ${entry.index}: ${draft.error ? z.prettifyError(draft.error) : 'version'}`,
    );
  return draft.data;
}

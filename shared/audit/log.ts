/**
 * The round log: append, head, verify. Today a hash chain over canonical JSON; a Merkle tree takes its place behind the
 * same three words. What it shows: no entry below a head somebody remembers was changed, removed or reordered. What it
 * does not show: that the coordinator wrote down everything, or that two sites were shown the same head.
 */
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { Sha256Hex } from '../protocol/plan.ts';
import { hashJson } from './canonical.ts';
import { LogDraft, LogEntry } from './entry.ts';

/** How many entries, and the hash of the last. */
export const LogHead = z.strictObject({ size: z.int().min(0), root: Sha256Hex });
export type LogHead = z.infer<typeof LogHead>;

export const EMPTY_LOG: LogHead = { size: 0, root: '0'.repeat(64) };

/**
 * Gives a draft its place behind `head`.
 * @throws {FedError} PARAMETER_INVALID when the draft is not in the closed union.
 */
export function appendEntry(head: LogHead, draft: LogDraft, timeMs: number): LogEntry {
  const parsed = LogDraft.safeParse(draft);
  if (!parsed.success) throw new FedError('PARAMETER_INVALID', z.prettifyError(parsed.error));
  const { kind, body } = parsed.data;
  const entry = { version: 1 as const, index: head.size, timeMs, kind, body, previous: head.root };
  return { ...entry, hash: hashJson(entry) };
}

/** The head after `entry`. */
export const headAfter = (entry: LogEntry): LogHead => ({ size: entry.index + 1, root: entry.hash });

/**
 * Checks that `entries` continue the log after `from`, each in its place, none changed.
 * @returns the head after the last.
 * @throws {FedError} LOG_INVALID naming the first entry that does not fit.
 */
export function verifyChain(entries: Iterable<unknown>, from: LogHead = EMPTY_LOG): LogHead {
  let head = from;
  for (const raw of entries) {
    const at = `entry ${head.size}`;
    const parsed = LogEntry.safeParse(raw);
    if (!parsed.success) throw new FedError('LOG_INVALID', `${at}: ${z.prettifyError(parsed.error)}`);
    const { hash, ...rest } = parsed.data;
    if (rest.index !== head.size) throw new FedError('LOG_INVALID', `${at}: carries index ${rest.index}`);
    if (rest.previous !== head.root) throw new FedError('LOG_INVALID', `${at}: does not follow the entry before`);
    if (hashJson(rest) !== hash) throw new FedError('LOG_INVALID', `${at}: its hash is not its own`);
    const draft = LogDraft.safeParse({ kind: rest.kind, body: rest.body });
    if (!draft.success) throw new FedError('LOG_INVALID', `${at}: ${z.prettifyError(draft.error)}`);
    head = { size: rest.index + 1, root: hash };
  }
  return head;
}

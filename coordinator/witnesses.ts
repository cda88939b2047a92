/** The coordinator's side of witnessing: checkpoints it signs, cosignatures that come in, and the one a plan rests on. */
import {
  cosigners,
  isCosignature,
  parseCheckpointText,
  signCheckpoint,
  withCosignatures,
} from '../shared/audit/checkpoint.ts';
import { parseNote } from '../shared/audit/note.ts';
import { base64OfHash } from '../shared/audit/log.ts';
import type { LogHead } from '../shared/audit/log.ts';
import { consistencyParts, foldPart } from '../shared/audit/merkle.ts';
import { FedError } from '../shared/errors.ts';
import type { PublicSigningKey } from '../shared/identity/jwk.ts';
import type { SigningKeys } from '../shared/identity/keys.ts';
import type { Roster, RosterEntry } from '../shared/identity/roster.ts';
import type { StoredCheckpoint, Tx } from './store/store.ts';

/** Signs the head and keeps it: from then on sites may be shown it. Signing the same head again changes nothing. */
export const publishCheckpoint = (tx: Tx, runId: string, head: LogHead, keys: SigningKeys): Promise<void> =>
  tx.putCheckpoint(runId, head.size, signCheckpoint(runId, head, keys.signing));

/** A checkpoint's note with every cosignature that has come in. */
export const cosignedNote = ({ note, cosignatures }: StoredCheckpoint): string =>
  withCosignatures(
    note,
    cosignatures.map((c) => c.line),
  );

/** The head of a note of our own: we signed it. */
const headOfNote = (note: string, runId: string): LogHead => parseCheckpointText(parseNote(note).text, runId);

/** Keys of the sites that may witness now. */
export const witnessKeys = (roster: Roster): Map<string, PublicSigningKey> =>
  new Map(roster.sites.filter((s) => s.status === 'active').map((s) => [s.siteId, s.signing]));

/** Whether a plan may be made, and on which cosigned checkpoint it rests. */
export type Footing =
  { readonly firm: true; readonly witnessed: string | null } | { readonly firm: false; readonly why: string };

/**
 * The newest checkpoint, not older than that of the plan before, with enough cosignatures.
 * @param p.lastPlan - size of that plan's checkpoint; null before the first plan: then none is needed.
 */
export async function footingOf(
  tx: Tx,
  p: { runId: string; lastPlan: number | null; roster: Roster; quorum: number },
): Promise<Footing> {
  if (p.lastPlan === null) return { firm: true, witnessed: null };
  const keys = witnessKeys(p.roster);
  let most: readonly string[] = [];
  for (const stored of (await tx.checkpoints(p.runId, p.lastPlan)).reverse()) {
    const note = cosignedNote(stored);
    const signed = cosigners(parseNote(note), keys);
    if (signed.length >= p.quorum) return { firm: true, witnessed: note };
    if (signed.length > most.length) most = signed;
  }
  const missing = [...keys.keys()].filter((siteId) => !most.includes(siteId)).sort();
  const lacking =
    keys.size < p.quorum
      ? `and only ${keys.size} sites are in the roster`
      : `${missing.join(', ')} ${missing.length === 1 ? 'has' : 'have'} not cosigned`;
  return { firm: false, why: `the last checkpoint has ${most.length} of ${p.quorum} cosignatures, ${lacking}` };
}

/** What `log.checkpoint` answers. @throws {FedError} PARAMETER_INVALID when no such checkpoint was signed. */
export async function checkpointReply(tx: Tx, q: { runId: string; size: number; from: number }) {
  const stored = await tx.checkpoint(q.runId, q.size);
  if (stored === null || q.from > q.size)
    throw new FedError('PARAMETER_INVALID', `no checkpoint of ${q.size} entries from ${q.from}`);
  const proof: string[] = [];
  for (const part of consistencyParts(q.from, q.size))
    proof.push(base64OfHash(foldPart(await tx.logNodes(q.runId, part))));
  return { note: cosignedNote(stored), proof };
}

/**
 * Keeps a site's cosignature.
 * @throws {FedError} PARAMETER_INVALID for a checkpoint that was never signed; SIGNATURE_INVALID.
 */
export async function takeCosignature(
  tx: Tx,
  q: { runId: string; size: number; cosignature: string },
  site: RosterEntry,
): Promise<void> {
  const stored = await tx.checkpoint(q.runId, q.size);
  if (stored === null) throw new FedError('PARAMETER_INVALID', `no checkpoint of ${q.size} entries`);
  const head = headOfNote(stored.note, q.runId);
  if (!isCosignature(q.cosignature, q.runId, head, site.siteId, site.signing))
    throw new FedError('SIGNATURE_INVALID', `site=${site.siteId}: no cosignature of ${q.size} entries`);
  await tx.putCosignature(q.runId, q.size, site.siteId, q.cosignature);
}

/** The checkpoint this site has not cosigned yet with its key of now, out of the newest; null when there is none. */
export async function uncosigned(tx: Tx, runId: string, fromSize: number, site: RosterEntry) {
  const newest = (await tx.checkpoints(runId, fromSize)).at(-1);
  if (newest === undefined) return null;
  const head = headOfNote(newest.note, runId);
  const line = newest.cosignatures.find((c) => c.siteId === site.siteId)?.line;
  const done = line !== undefined && isCosignature(line, runId, head, site.siteId, site.signing);
  return done ? null : head;
}

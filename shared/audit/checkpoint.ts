/**
 * Checkpoints (C2SP tlog-checkpoint): the head of the log as a signed note. The coordinator signs it under the log's
 * origin; sites cosign it as witnesses. Neither signature says anything about what the entries hold.
 */
import { FedError } from '../errors.ts';
import type { PrivateSigningKey, PublicSigningKey } from '../identity/jwk.ts';
import type { LogHead } from './log.ts';
import {
  cosignNote,
  formatNote,
  fromBase64,
  parseNote,
  parseSignatureLine,
  signNote,
  verifyCosignature,
  verifyNote,
} from './note.ts';
import type { Note, NoteSignature } from './note.ts';

/** The log's name, and the name of the coordinator's signature: one log per run. */
export const originOf = (runId: string): string => `veilgan/${runId}`;
/** The name of a site's cosignatures. */
export const witnessName = (siteId: string): string => `veilgan/site/${siteId}`;
const WITNESS = /^veilgan\/site\/(.*)$/;

/** The text of a checkpoint: origin, size, root. We write no extension lines and read none. */
export const checkpointText = (runId: string, { size, root }: LogHead): string =>
  `${originOf(runId)}\n${size}\n${Buffer.from(root, 'hex').toString('base64')}\n`;

/** @throws {FedError} LOG_INVALID when the text is no checkpoint of this run's log. */
export function parseCheckpointText(text: string, runId: string): LogHead {
  const [origin, size, root, ...rest] = text.split('\n');
  const hash = fromBase64(root ?? '');
  const known = origin === originOf(runId) && /^(0|[1-9]\d{0,14})$/.test(size ?? '') && hash?.length === 32;
  if (!known || rest.join('\n') !== '') throw new FedError('LOG_INVALID', `no checkpoint of ${originOf(runId)}`);
  return { size: Number(size), root: Buffer.from(hash).toString('hex') };
}

/** The coordinator's checkpoint. @returns a signed note with one signature. */
export function signCheckpoint(runId: string, head: LogHead, key: PrivateSigningKey): string {
  const text = checkpointText(runId, head);
  return formatNote(text, [signNote(text, originOf(runId), key)]);
}

/**
 * The same checkpoint signed by another key of the coordinator as well: its key was changed, and who has pinned the new one
 * has to be able to rest on what was cosigned before. Lines that are there stay, cosignatures among them.
 * @throws {FedError} LOG_INVALID when it is no checkpoint of this run.
 */
export function alsoSigned(note: string, runId: string, key: PrivateSigningKey): string {
  const { text, signatures } = parseNote(note);
  parseCheckpointText(text, runId);
  if (signatures.some((s) => verifyNote(text, s, originOf(runId), key))) return note;
  const lines = note.slice(text.length + 1);
  return `${formatNote(text, [signNote(text, originOf(runId), key)])}${lines}`;
}

/** A witness' line under a checkpoint of this head. */
export const cosignCheckpoint = (runId: string, head: LogHead, siteId: string, key: PrivateSigningKey, nowMs: number) =>
  cosignNote(checkpointText(runId, head), witnessName(siteId), key, nowMs);

/** The same note with cosignatures below the coordinator's line. */
export const withCosignatures = (note: string, lines: readonly string[]): string => note + lines.join('');

/** A checkpoint whose coordinator signature holds, and what else stands below it. */
export interface OpenedCheckpoint {
  readonly head: LogHead;
  readonly note: Note;
}

/**
 * Reads a checkpoint and verifies the coordinator's signature.
 * @throws {FedError} LOG_INVALID when it is no checkpoint of this run; SIGNATURE_INVALID.
 */
export function openCheckpoint(note: string, runId: string, coordinator: PublicSigningKey): OpenedCheckpoint {
  const parsed = parseNote(note);
  const head = parseCheckpointText(parsed.text, runId);
  const signed = parsed.signatures.some((s) => verifyNote(parsed.text, s, originOf(runId), coordinator));
  if (!signed) throw new FedError('SIGNATURE_INVALID', `checkpoint ${head.size} is not signed by the coordinator`);
  return { head, note: parsed };
}

/** The same where the coordinator's key was changed: any of its keys will do. @throws as `openCheckpoint` */
export function openCheckpointOfAny(note: string, runId: string, keys: readonly PublicSigningKey[]): OpenedCheckpoint {
  const parsed = parseNote(note);
  const signer = keys.find((key) => parsed.signatures.some((s) => verifyNote(parsed.text, s, originOf(runId), key)));
  return openCheckpoint(note, runId, signer ?? keys[0]);
}

/**
 * The sites whose cosignatures under a checkpoint hold, each once, sorted. Lines of unknown names are left aside.
 * @param keys - signing keys of the sites that may witness.
 */
export function cosigners(note: Note, keys: ReadonlyMap<string, PublicSigningKey>): string[] {
  const found = new Set<string>();
  for (const signature of note.signatures) {
    const siteId = witnessOf(signature);
    const key = siteId === null ? undefined : keys.get(siteId);
    if (siteId === null || key === undefined || found.has(siteId)) continue;
    if (verifyCosignature(note.text, signature, witnessName(siteId), key) !== null) found.add(siteId);
  }
  return [...found].sort();
}

/** The site a signature line is named after; null where it names no site. */
export const witnessOf = (s: NoteSignature): string | null => WITNESS.exec(s.name)?.[1] ?? null;

/** Whether one line is this site's cosignature under this head. @throws {FedError} LOG_INVALID when it is no line at all. */
export function isCosignature(
  line: string,
  runId: string,
  head: LogHead,
  siteId: string,
  key: PublicSigningKey,
): boolean {
  if (!line.endsWith('\n')) throw new FedError('LOG_INVALID', 'a cosignature is one line');
  const signature = parseSignatureLine(line.slice(0, -1));
  return verifyCosignature(checkpointText(runId, head), signature, witnessName(siteId), key) !== null;
}

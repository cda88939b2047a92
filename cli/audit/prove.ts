/**
 * `audit prove` and `audit check-entry`: that one entry is in the log, without the log. The proof is a file in the
 * format of C2SP tlog-proof; the entry itself travels in its `extra` line, and is believed only because its hash is what
 * the proof leads to the checkpoint.
 */
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { cosigners, openCheckpoint } from '../../shared/audit/checkpoint.ts';
import { LogEntry } from '../../shared/audit/entry.ts';
import { base64OfHash, hashOfBase64, hashOfHex } from '../../shared/audit/log.ts';
import {
  EMPTY_FRONTIER,
  appendLeaf,
  foldPart,
  inclusionParts,
  leafHash,
  verifyInclusion,
} from '../../shared/audit/merkle.ts';
import type { Hash } from '../../shared/audit/merkle.ts';
import { fromBase64 } from '../../shared/audit/note.ts';
import type { KeysFile } from '../../shared/audit/verify/folder-format.ts';
import { FedError } from '../../shared/errors.ts';
import { parseJson } from '../options.ts';
import { AuditFolder } from './read-folder.ts';

const FORMAT = 'c2sp.org/tlog-proof@v1';

/**
 * The proof of one entry under the folder's largest checkpoint that has the most cosignatures.
 * @throws {FedError} PARAMETER_INVALID when the folder has no such entry; LOG_INVALID.
 */
export async function proveEntry(dir: string, index: number): Promise<string> {
  const folder = new AuditFolder(dir);
  const checkpoints = folder.checkpoints().filter((c) => c.size > index);
  const lines = (note: string) => note.split('\n').length;
  const best = checkpoints.toSorted((a, b) => lines(b.note) - lines(a.note) || b.size - a.size)[0];
  const leaves = folder.leaves();
  if (best === undefined || leaves === null || leaves.length < 32 * best.size)
    throw new FedError('PARAMETER_INVALID', `the folder has no checkpoint above entry ${index}`);
  const nodes = new Map<string, Hash>();
  let frontier = EMPTY_FRONTIER;
  for (let i = 0; i < best.size; i++) {
    const step = appendLeaf(frontier, leaves.subarray(32 * i, 32 * i + 32));
    frontier = step.frontier;
    for (const { level, index: at, hash } of step.complete) nodes.set(`${level}/${at}`, hash);
  }
  const proof = inclusionParts(index, best.size).map((part) =>
    foldPart(part.map(({ level, index: at }) => nodes.get(`${level}/${at}`)!)),
  );
  const extra = Buffer.from(await lineOf(folder, index)).toString('base64');
  const hashes = proof.map((hash) => `${base64OfHash(hash)}\n`).join('');
  return `${FORMAT}\nextra ${extra}\nindex ${index}\n${hashes}\n${best.note}`;
}

async function lineOf(folder: AuditFolder, index: number): Promise<string> {
  let at = 0;
  for await (const line of folder.log()) if (at++ === index) return line;
  throw new FedError('PARAMETER_INVALID', `the log has no entry ${index}`);
}

export interface CheckedEntry {
  readonly entry: LogEntry;
  /** Of the tree the proof leads to. */
  readonly size: number;
  readonly root: string;
  readonly cosigners: readonly string[];
}

/**
 * Checks a proof with the consortium's keys alone.
 * @param quorum - cosignatures of known sites that the checkpoint has to carry.
 * @throws {FedError} LOG_INVALID when it is no proof, or does not hold; SIGNATURE_INVALID; WITNESSES_MISSING.
 */
export function checkEntry(text: string, keys: KeysFile, quorum: number): CheckedEntry {
  const wrong = (why: string) => new FedError('LOG_INVALID', `proof: ${why}`);
  const blank = text.indexOf('\n\n');
  const [format, extra, place, ...hashes] = text.slice(0, blank).split('\n');
  const json = fromBase64(/^extra (\S+)$/.exec(extra ?? '')?.[1] ?? '');
  const index = /^index (0|[1-9]\d{0,14})$/.exec(place ?? '')?.[1];
  if (blank < 0 || format !== FORMAT || json === null || index === undefined) throw wrong('it is not one');
  if (!hashes.every((h) => fromBase64(h)?.length === 32)) throw wrong('a hash is malformed');
  const note = text.slice(blank + 2);
  const runId = /^veilgan\/([0-9a-f-]{36})\n/.exec(note)?.[1] ?? '';
  const opened = openCheckpoint(note, runId, keys.coordinator.key);
  const { size, root } = opened.head;
  const at = {
    index: Number(index),
    size,
    leaf: leafHash(json),
    proof: hashes.map(hashOfBase64),
    root: hashOfHex(root),
  };
  if (!verifyInclusion(at)) throw wrong(`entry ${index} is not under the checkpoint of ${size} entries`);
  const line = Buffer.from(json).toString('utf8');
  const entry = parseJson(line, LogEntry, `entry ${index}`, 'LOG_INVALID');
  if (entry.index !== Number(index) || canonicalJson(entry) !== line) throw wrong('the entry is not in its place');
  const signed = cosigners(opened.note, new Map((keys.sites ?? []).map((s) => [s.siteId, s.key])));
  if (signed.length < quorum)
    throw new FedError('WITNESSES_MISSING', `${signed.length} of ${quorum} cosignatures (${signed.join(', ')})`);
  return { entry, size, root, cosigners: signed };
}

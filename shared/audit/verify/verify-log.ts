/**
 * The audit of a run's log, offline: from lines and keys alone. It recomputes the tree, every signature and cosignature,
 * the quorum of every plan, every plan against the policy, every stated epsilon from its events, and the chain of
 * generator digests. It keeps no line: memory grows with sites and rounds, not with entries.
 *
 * What it does not show is listed in SECURITY.md: an entry that was never written is not missed.
 */
import { z } from 'zod';
import { FedError } from '../../errors.ts';
import { thumbprint } from '../../identity/jwk.ts';
import type { CheckedPolicy } from '../../policy/load.ts';
import { canonicalJson } from '../canonical.ts';
import { KNOWN_KINDS, LogDraft, LogEntry } from '../entry.ts';
import { EMPTY_LOG, headOf, hexOf } from '../log.ts';
import type { LogHead } from '../log.ts';
import { EMPTY_FRONTIER, appendLeaf, leafHash, sameHash } from '../merkle.ts';
import type { Frontier, Hash } from '../merkle.ts';
import { CheckpointAudit } from './checkpoint-audit.ts';
import { type CoordinatorKeys, singleKey } from './coordinator-keys.ts';
import { Findings } from './findings.ts';
import { RunAudit } from './run-audit.ts';
import type { AuditTrust } from './run-audit.ts';
import { SignatureQueue } from './signature-queue.ts';

/** What there is to audit. */
export interface LogSource {
  /** The log's lines in order, without line breaks. */
  readonly lines: AsyncIterable<string> | Iterable<string>;
  /** Hash of every leaf, where the folder has them: they locate a change. [n × 32 bytes] */
  readonly leaves: Uint8Array | null;
  /** Checkpoints as signed notes, ascending by size. */
  readonly checkpoints: readonly { readonly size: number; readonly note: string }[];
  readonly policyOf: (sha256: string) => CheckedPolicy | null;
  readonly trust: AuditTrust;
  /** Called every few thousand entries: the caller may free memory, or show how far it is. */
  readonly onProgress?: (entries: number) => void;
  /** Where the log says that the coordinator's key was changed; one key where absent. */
  readonly coordinators?: CoordinatorKeys;
}

export interface LogAudit {
  readonly head: LogHead;
  readonly run: RunAudit;
  readonly checkpoints: CheckpointAudit;
  readonly findings: Findings;
  /** Kinds this version does not know, and where they stand. */
  readonly unknown: ReadonlyMap<string, readonly number[]>;
  readonly signatures: number;
  /** Whether the log could be read to its end. */
  readonly whole: boolean;
}

/** Signatures wait in the queue; after so many entries we look whether there is room. */
const BREATH = 16;
const PROGRESS = 4096;

export async function auditLog(source: LogSource): Promise<LogAudit> {
  const findings = new Findings();
  const queue = new SignatureQueue();
  const coordinators = source.coordinators ?? singleKey(source.trust.coordinator);
  const run = new RunAudit({ findings, queue, trust: source.trust, coordinators, policyOf: source.policyOf });
  const parts = { runId: () => run.runId, coordinators, sites: run.sites, findings, queue };
  const checkpoints = new CheckpointAudit(parts);
  run.rounds.onPlan = (index, plan) => checkpoints.plan(index, plan, run.terms?.witnessQuorum ?? 0);

  const notes = new Map(source.checkpoints.map((c) => [c.size, c.note]));
  const leaves = trustedLeaves(source, findings);
  const unknown = new Map<string, number[]>();
  let frontier = EMPTY_FRONTIER;
  let whole = true;
  checkpoints.grew(frontier);
  try {
    for await (const line of source.lines) {
      const index = frontier.size;
      const read = readLine(line, index, leaves);
      if ('wrong' in read) {
        findings.problem(read.code, index, read.wrong);
        whole = false;
        break;
      }
      const { entry, leaf, draft } = read;
      if (draft === null) unknown.set(entry.kind, [...(unknown.get(entry.kind) ?? []), index]);
      else run.take(entry, draft);
      ({ frontier } = appendLeaf(frontier, leaf));
      checkpoints.grew(frontier);
      const note = notes.get(frontier.size);
      if (note !== undefined) checkpoints.atSize(note, frontier);
      if (index % BREATH === 0) await queue.room();
      if (index % PROGRESS === PROGRESS - 1) source.onProgress?.(frontier.size);
    }
  } catch (error) {
    if (!(error instanceof FedError)) throw error;
    findings.problem('ENTRY', frontier.size, error.message);
    whole = false;
  }
  if (whole && frontier.size === 0) findings.problem('ENTRY', 0, 'the log is empty');
  const beyond = Math.max(0, ...notes.keys(), leaves === null ? 0 : leaves.length / 32);
  const last = source.checkpoints.at(-1)?.size ?? 0;
  if (whole && last < frontier.size)
    findings.problem('ENTRY', last, `${frontier.size - last} entries from here on are under no checkpoint`);
  if (whole && beyond > frontier.size)
    findings.problem('ENTRY', frontier.size, `the log ends after ${frontier.size} of ${beyond} entries`);
  await queue.drain();
  checkpoints.finish();
  await queue.drain();
  closing(run, checkpoints, frontier.size, findings);
  const head = frontier.size === 0 ? EMPTY_LOG : headOf(frontier);
  return { head, run, checkpoints, findings, unknown, signatures: queue.checked, whole };
}

type Line =
  | { readonly code: 'ENTRY' | 'TREE'; readonly wrong: string }
  | { readonly entry: LogEntry; readonly leaf: Hash; readonly draft: LogDraft | null };

/** One line: the entry it has to be, byte for byte. */
function readLine(line: string, index: number, leaves: Uint8Array | null): Line {
  const wrong = (why: string): Line => ({ code: 'ENTRY', wrong: why });
  const leaf = leafHash(line);
  const expected = leaves?.subarray(32 * index, 32 * index + 32);
  if (expected?.length === 0) return wrong(`the checkpoints have ${index} entries, and here is one more`);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return wrong('the line is not JSON');
  }
  if (!isEntry(value)) return wrong(`no log entry: ${z.prettifyError(LogEntry.safeParse(value).error!)}`);
  const entry = value;
  if (entry.index !== index) return wrong(`carries index ${entry.index}`);
  if (expected !== undefined && !sameHash(leaf, expected))
    return {
      code: 'TREE',
      wrong: `is not the entry under the checkpoint: its hash is ${hexOf(leaf)}, not ${hexOf(expected)}`,
    };
  if (!isCanonical(value, line)) return wrong('is not canonical JSON');
  const { version, kind, body } = entry;
  if (version !== 1 || !KNOWN_KINDS.has(kind)) return { entry, leaf, draft: null };
  const draft = LogDraft.safeParse({ kind, body });
  if (!draft.success) return wrong(`${kind}: ${z.prettifyError(draft.error)}`);
  return { entry, leaf, draft: draft.data };
}

const isCount = (value: unknown, least: number): boolean => Number.isSafeInteger(value) && (value as number) >= least;

/** `LogEntry`, written out: every line of a long log passes here. A test holds the two together. */
export function isEntry(value: unknown): value is LogEntry {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const { version, index, timeMs, kind, body, ...rest } = value as Record<string, unknown>;
  const numbers = isCount(version, 1) && isCount(index, 0) && isCount(timeMs, 0);
  const known = typeof kind === 'string' && kind.length <= 64 && body !== undefined;
  return numbers && known && Object.keys(rest).length === 0;
}

/** Whether a line is the canonical spelling of its value. Ours are, and that is seen without sorting anything. */
const isCanonical = (value: unknown, line: string): boolean =>
  (inOrder(value) && JSON.stringify(value) === line) || canonicalJson(value) === line;

/** Whether every object's keys stand in the order of RFC 8785. */
function inOrder(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(inOrder);
  let last: string | null = null;
  for (const [key, inner] of Object.entries(value)) {
    if ((last !== null && !(last < key)) || !inOrder(inner)) return false;
    last = key;
  }
  return true;
}

/**
 * The leaf hashes of the folder, if they are the leaves of its largest checkpoint: then a line that differs is the line's
 * fault. Otherwise they are set aside, and said to be wrong.
 */
function trustedLeaves({ leaves, checkpoints }: LogSource, findings: Findings): Uint8Array | null {
  if (leaves === null) {
    findings.gap('there are no leaf hashes: a change can only be located between two checkpoints');
    return null;
  }
  const last = checkpoints.at(-1);
  if (last === undefined) return null;
  const root = Buffer.from(last.note.split('\n')[2] ?? '', 'base64');
  let frontier: Frontier = EMPTY_FRONTIER;
  const n = Math.min(last.size, Math.floor(leaves.length / 32));
  for (let i = 0; i < n; i++) ({ frontier } = appendLeaf(frontier, leaves.subarray(32 * i, 32 * i + 32)));
  if (leaves.length % 32 === 0 && n === last.size && hexOf(root) === headOf(frontier).root) return leaves;
  findings.problem('TREE', null, `the leaf hashes are not those of the checkpoint of ${last.size} entries`);
  return null;
}

/** What can only be said at the end. */
function closing(run: RunAudit, checkpoints: CheckpointAudit, size: number, findings: Findings): void {
  const quorum = run.terms?.witnessQuorum ?? 0;
  const covered = checkpoints.covered(quorum);
  if (covered < size) {
    const detail = `${size - covered} entries from ${covered} on are under no checkpoint with ${quorum} cosignatures`;
    if (quorum > 0) findings.gap(detail);
    else findings.note(detail);
  }
  if (run.runId !== null && run.finished === null) findings.note('the run is not finished in this log');
  if (quorum === 0) findings.note('the policy asks for no cosignatures: sites may have been shown different logs');
  for (const site of run.sites.values()) {
    const unstated = site.account?.unstated() ?? 0;
    if (unstated > 0)
      findings.gap(`${site.siteId} took part in ${unstated} releases after its last statement, or never made one`);
    if (site.answered > 0 && site.software === null)
      findings.note(`${site.siteId} never said under which policy it takes part`);
  }
  if (run.trust.sites === null)
    findings.note('the keys of the sites are those the log itself enrols: compare their fingerprints with the sites');
}

/** Fingerprints of every key the log gives to a site. */
export const fingerprintsOf = (run: RunAudit): { siteId: string; kids: string[] }[] =>
  [...run.sites.values()].map(({ siteId, keys }) => ({ siteId, kids: keys.map(thumbprint) }));

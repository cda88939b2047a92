/** The coordinator audits its own log, as anybody would who has the exported folder: from entries and keys alone. */
import { canonicalJson } from '../shared/audit/canonical.ts';
import { signCheckpoint } from '../shared/audit/checkpoint.ts';
import type { LogEntry } from '../shared/audit/entry.ts';
import { draftOf } from '../shared/audit/log.ts';
import { coordinatorKeysOf, type KeyChangeEntry } from '../shared/audit/verify/coordinator-keys.ts';
import { auditLog, type LogAudit } from '../shared/audit/verify/verify-log.ts';
import { publicPart } from '../shared/identity/jwk.ts';
import type { SigningKeys } from '../shared/identity/keys.ts';
import { type CheckedPolicy, policySha256 } from '../shared/policy/load.ts';
import type { Store } from './store/store.ts';
import { cosignedNote } from './witnesses.ts';

/** Entries of one transaction: whoever else uses the store is not held up for longer. */
const PAGE = 1000;

export interface OwnLog {
  readonly store: Store;
  readonly runId: string;
  readonly policy: CheckedPolicy;
  readonly keys: SigningKeys;
}

/** The audit as of now; nothing is written. Entries without a cosigned checkpoint yet are gaps, not problems. */
export async function auditOwnLog(p: OwnLog): Promise<LogAudit> {
  const { store, runId, policy, keys } = p;
  const { head, stored } = await store.transaction(async (tx) => ({
    head: await tx.logHead(runId),
    stored: await tx.checkpoints(runId, 0),
  }));
  const notes = stored.filter((c) => c.size <= head.size).map((c) => ({ size: c.size, note: cosignedNote(c) }));
  if (head.size > 0 && notes.at(-1)?.size !== head.size)
    notes.push({ size: head.size, note: signCheckpoint(runId, head, keys.signing) });
  const coordinator = publicPart(keys.signing);
  const changes: KeyChangeEntry[] = [];
  for await (const entry of entriesOf(p, head.size)) {
    const draft = draftOf(entry);
    if (draft.kind === 'coordinator-key-changed') changes.push({ index: entry.index, body: draft.body });
  }
  return auditLog({
    lines: linesOf(p, head.size),
    leaves: null,
    checkpoints: notes,
    policyOf: (sha256) => (sha256 === policySha256(policy) ? policy : null),
    trust: { coordinator, sites: null },
    coordinators: await coordinatorKeysOf(changes, coordinator),
  });
}

/** What a verdict takes from it. */
export function logEvidence({ findings, head }: LogAudit) {
  const problems = findings.sorted();
  const first = problems[0];
  const where = first?.entry == null ? '' : `entry ${first.entry}: `;
  return {
    problems: problems.length + findings.dropped,
    first: first === undefined ? null : `${where}${first.detail}`,
    entries: head.size,
  };
}

async function* entriesOf({ store, runId }: OwnLog, size: number): AsyncGenerator<LogEntry> {
  for (let from = 0; from < size; from += PAGE)
    yield* await store.transaction((tx) => tx.log(runId, from, Math.min(PAGE, size - from)));
}

async function* linesOf(p: OwnLog, size: number): AsyncGenerator<string> {
  for await (const entry of entriesOf(p, size)) yield canonicalJson(entry);
}

/** The coordinator goes on under another signing key: what that means for a run in its store. One transaction. */
import { alsoSigned } from '../shared/audit/checkpoint.ts';
import type { LogDraft } from '../shared/audit/entry.ts';
import type { PublicSigningKey } from '../shared/identity/jwk.ts';
import type { SigningKeys } from '../shared/identity/keys.ts';
import { voidRound } from './core/round-state.ts';
import type { Store } from './store/store.ts';

export interface KeyChange {
  /** Null where the old key was lost. */
  readonly from: PublicSigningKey | null;
  readonly to: PublicSigningKey;
  /** The old key's signature over the new one; null where it was lost. */
  readonly statement: string | null;
}

/**
 * Writes the change into the log, voids the attempt that is open (its plan is signed with the old key), and signs the
 * checkpoints anew, so that sites which have pinned the new key can rest on them.
 *
 * Guarantee: called again for the same key it changes nothing.
 * @returns whether a run is under way.
 */
export async function keyChangeOf(
  store: Store,
  runId: string,
  change: KeyChange,
  next: SigningKeys,
  nowMs: number,
): Promise<boolean> {
  return store.transaction(async (tx) => {
    const run = await tx.run(runId);
    if (run === null) return false;
    const draft: LogDraft = { kind: 'coordinator-key-changed', body: { ...change } };
    const { size } = await tx.logHead(runId);
    const [last] = size === 0 ? [] : await tx.log(runId, size - 1, 1);
    const done = last?.kind === draft.kind && JSON.stringify(last.body).includes(change.to.x);
    if (done) return run.status === 'running';
    const record = await tx.latestRound(runId);
    if (record !== null && (record.status === 'collecting' || record.status === 'sealed')) {
      const decision = voidRound(record, 'KEYS_CHANGED');
      await tx.putRound(decision.next);
      for (const entry of decision.log) await tx.appendLog(runId, entry, nowMs);
    }
    await tx.appendLog(runId, draft, nowMs);
    for (const { size: at, note } of await tx.checkpoints(runId, 0))
      await tx.replaceCheckpoint(runId, at, alsoSigned(note, runId, next.signing));
    return run.status === 'running';
  });
}

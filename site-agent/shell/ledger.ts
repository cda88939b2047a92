/**
 * The site's record of epsilon: one entry per thing done to its data, written before it is done. Append-only and
 * hash-chained, so that a change is seen; it does not stop an operator who rewrites the whole file and tells nobody,
 * which is why statements to the coordinator carry its head.
 */
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { canonicalJson, hashJson } from '../../shared/audit/canonical.ts';
import { EMPTY_CHAIN } from '../../shared/audit/chain.ts';
import type { ChainHead } from '../../shared/audit/chain.ts';
import { composeEvents, readEvent } from '../../shared/dp/event.ts';
import type { PrivacyEvent } from '../../shared/dp/event.ts';
import { FedError } from '../../shared/errors.ts';
import { Sha256Hex } from '../../shared/protocol/plan.ts';
import { assertAffordable, epsilonOfLifetime, epsilonSpent, times } from '../core/budget.ts';
import type { LifetimeBudget, RunBudget, RunSpending } from '../core/budget.ts';

const Charge = z.strictObject({
  runId: z.uuid(),
  policySha256: Sha256Hex,
  round: z.int().min(0),
  /** Which step of the round this pays for; a step that was interrupted is paid for again. */
  step: z.int().min(0),
  /** As `shared/dp/event.ts` has it; a kind this version does not know costs infinity. */
  event: z.unknown(),
  overflowDelta: z.number().min(0),
});
export const LedgerEntry = z.strictObject({
  version: z.literal(1),
  index: z.int().min(0),
  timeMs: z.int().min(0),
  ...Charge.shape,
  previous: Sha256Hex,
  hash: Sha256Hex,
});
export type LedgerEntry = z.infer<typeof LedgerEntry>;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS entries (idx INTEGER PRIMARY KEY, entry TEXT NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS entries_are_not_changed BEFORE UPDATE ON entries
  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entries_are_not_removed BEFORE DELETE ON entries
  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
`;

export interface ChargeRequest {
  readonly runId: string;
  readonly policySha256: string;
  readonly round: number;
  readonly step: number;
  readonly event: PrivacyEvent;
  readonly budget: RunBudget;
  readonly lifetime: LifetimeBudget | null;
  readonly timeMs: number;
}

interface Totals {
  events: readonly PrivacyEvent[];
  overflowDelta: number;
  entries: number;
}

/** @param path - a file of this site's, made if missing; `:memory:` for a simulated site. */
export class Ledger {
  readonly #db: DatabaseSync;
  readonly #totals = new Map<string, Totals>();
  #head: ChainHead = EMPTY_CHAIN;

  /** @throws {FedError} STORE_CORRUPT when the chain does not hold. */
  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec('PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;');
    this.#db.exec(SCHEMA);
    this.#catchUp();
  }

  /**
   * Charges one event.
   *
   * Guarantee: when this returns, the entry is on the disk; when it throws, there is no entry and nothing may be
   * computed. Check and entry are one transaction, also against a second process on the same file.
   * @throws {FedError} BUDGET_EXHAUSTED naming the numbers; STORE_CORRUPT.
   */
  charge(c: ChargeRequest): LedgerEntry {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      this.#catchUp();
      this.#assertAffordable(c.runId, c.event, c.budget, c.lifetime);
      const unsealed = {
        version: 1 as const,
        index: this.#head.size,
        timeMs: c.timeMs,
        runId: c.runId,
        policySha256: c.policySha256,
        round: c.round,
        step: c.step,
        event: { ...c.event },
        overflowDelta: c.budget.overflowDelta,
        previous: this.#head.head,
      };
      const entry = LedgerEntry.parse({ ...unsealed, hash: hashJson(unsealed) });
      this.#db.prepare('INSERT INTO entries VALUES (?, ?)').run(entry.index, canonicalJson(entry));
      this.#db.exec('COMMIT');
      this.#take(entry);
      return entry;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  /** Whether `count` more of this event would be paid for, without paying. @throws {FedError} BUDGET_EXHAUSTED */
  assertAffordable(c: Omit<ChargeRequest, 'round' | 'step' | 'timeMs' | 'policySha256'> & { count: number }): void {
    if (c.count > 0) this.#assertAffordable(c.runId, times(c.event, c.count), c.budget, c.lifetime);
  }

  /** What one run has spent, at the delta of its policy, and in how many entries. */
  spent(runId: string, budget: Pick<RunBudget, 'delta' | 'overflowDelta'>): { epsilon: number; entries: number } {
    const totals = this.#totals.get(runId);
    return { epsilon: epsilonSpent(totals?.events ?? [], budget), entries: totals?.entries ?? 0 };
  }

  /** What all runs together have spent at this delta. */
  lifetime(delta: number): number {
    return epsilonOfLifetime([...this.#totals.values()], delta);
  }

  head(): ChainHead {
    return this.#head;
  }

  /** All entries in order; of one run where it is named. */
  entries(runId?: string): LedgerEntry[] {
    const all = readEntries(this.#db, 0);
    return runId === undefined ? all : all.filter((e) => e.runId === runId);
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  #assertAffordable(runId: string, next: PrivacyEvent, budget: RunBudget, lifetime: LifetimeBudget | null): void {
    const spentByRun: ReadonlyMap<string, RunSpending> = this.#totals;
    assertAffordable({ runId, next, spentByRun, budget, lifetime });
  }

  /** Reads what is in the file and not yet counted: all of it at the start, another process's entries later. */
  #catchUp(): void {
    for (const entry of readEntries(this.#db, this.#head.size)) {
      const { hash, ...rest } = entry;
      if (rest.index !== this.#head.size || rest.previous !== this.#head.head || hashJson(rest) !== hash)
        throw new FedError('STORE_CORRUPT', `ledger entry ${rest.index} does not fit the chain`);
      this.#take(entry);
    }
  }

  #take(entry: LedgerEntry): void {
    const before = this.#totals.get(entry.runId) ?? { events: [], overflowDelta: 0, entries: 0 };
    this.#totals.set(entry.runId, {
      events: composeEvents(before.events, [readEvent(entry.event)]),
      overflowDelta: Math.max(before.overflowDelta, entry.overflowDelta),
      entries: before.entries + 1,
    });
    this.#head = { size: entry.index + 1, head: entry.hash };
  }
}

function readEntries(db: DatabaseSync, from: number): LedgerEntry[] {
  const rows = db.prepare('SELECT entry FROM entries WHERE idx >= ? ORDER BY idx').all(from);
  return rows.map((row) => {
    const parsed = LedgerEntry.safeParse(JSON.parse(String(row['entry'])));
    if (!parsed.success) throw new FedError('STORE_CORRUPT', z.prettifyError(parsed.error));
    return parsed.data;
  });
}

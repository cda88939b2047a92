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
import { assertAffordable, epsilonOfLifetime, epsilonSpent, times, wholeRun } from '../core/budget.ts';
import type { LifetimeBudget, NamedLifetime, RunBudget, RunSpending, WholeRun } from '../core/budget.ts';

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
const Place = {
  version: z.literal(1),
  index: z.int().min(0),
  /** The site's clock, for people. Nothing depends on it. */
  timeMs: z.int().min(0),
};
const Chain = { previous: Sha256Hex, hash: Sha256Hex };
/** Something done to the data. */
export const ChargeEntry = z.strictObject({ ...Place, ...Charge.shape, ...Chain });
export type ChargeEntry = z.infer<typeof ChargeEntry>;
/** A decision of the operator: what all runs on this data set may spend together, from here on. */
export const LifetimeEntry = z.strictObject({
  ...Place,
  kind: z.literal('lifetime'),
  epsilon: z.number().gt(0),
  delta: z.number().gt(0).lt(1),
  ...Chain,
});
export type LifetimeEntry = z.infer<typeof LifetimeEntry>;
export const LedgerEntry = z.union([ChargeEntry, LifetimeEntry]);
export type LedgerEntry = z.infer<typeof LedgerEntry>;
const isCharge = (entry: LedgerEntry): entry is ChargeEntry => !('kind' in entry);

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
  /** Of this site's own bounds; null where the site has agreed to a run without privacy. */
  readonly lifetime: LifetimeBudget | null;
  readonly timeMs: number;
}

/** What was charged to a run, and what each policy it was charged under takes of delta. */
class Totals implements RunSpending {
  events: readonly PrivacyEvent[] = [];
  entries = 0;
  readonly overflow = new Map<string, number>();
  get overflowDelta(): number {
    return [...this.overflow.values()].reduce((sum, x) => sum + x, 0);
  }
  /** With one more charge of this policy, which names its overflow for a whole run each time. */
  overflowWith(policySha256: string, overflowDelta: number): number {
    const known = this.overflow.get(policySha256) ?? 0;
    return this.overflowDelta + Math.max(0, overflowDelta - known);
  }
}

/** What one run has spent so far. */
export interface RunAccount {
  readonly epsilon: number;
  readonly events: readonly PrivacyEvent[];
  readonly entries: number;
}

type Draft = Record<string, unknown> & { readonly timeMs: number };

/**
 * One file per data set: every run that uses these patients charges the same ledger, so that they compose. Several
 * agents may have it open at once; who charges holds it for the length of one transaction.
 * @param path - a file of this site's, made if missing; `:memory:` for a simulated site.
 */
export class Ledger {
  readonly #db: DatabaseSync;
  readonly #totals = new Map<string, Totals>();
  #lifetime: LifetimeBudget | null = null;
  #head: ChainHead = EMPTY_CHAIN;

  /**
   * @param open - how the file is opened; a test dies inside it.
   * @throws {FedError} STORE_CORRUPT when the chain does not hold.
   */
  constructor(path: string, open: (path: string) => DatabaseSync = (file) => new DatabaseSync(file)) {
    this.#db = open(path);
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
  charge(c: ChargeRequest): ChargeEntry {
    return ChargeEntry.parse(
      this.#append(() => {
        const overflowDelta = this.#of(c.runId).overflowWith(c.policySha256, c.budget.overflowDelta);
        this.#assertAffordable(c, c.event, overflowDelta);
        return {
          timeMs: c.timeMs,
          runId: c.runId,
          policySha256: c.policySha256,
          round: c.round,
          step: c.step,
          event: { ...c.event },
          overflowDelta: c.budget.overflowDelta,
        };
      }),
    );
  }

  /**
   * Writes down what all runs on this data set may spend together, from here on: for every agent that shares the file,
   * beside its own bounds. An entry like any other, so that raising it later can be seen. A run without privacy that a
   * site's bounds allow is refused by it all the same.
   * @throws {FedError} PARAMETER_INVALID
   */
  setLifetime({ epsilon, delta }: LifetimeBudget, timeMs: number): void {
    if (!(epsilon > 0 && epsilon < Infinity && delta > 0 && delta < 1))
      throw new FedError('PARAMETER_INVALID', `a lifetime of epsilon ${epsilon} at delta ${delta}`);
    this.#append(() => ({ timeMs, kind: 'lifetime', epsilon, delta }));
  }

  /** What the ledger itself allows all runs together; null when nobody wrote it down. */
  lifetimeBudget(): LifetimeBudget | null {
    return this.#lifetime;
  }

  /** Whether `count` more of this event would be paid for, without paying. @throws {FedError} BUDGET_EXHAUSTED */
  assertAffordable(c: Omit<ChargeRequest, 'round' | 'step' | 'timeMs' | 'policySha256'> & { count: number }): void {
    const overflowDelta = Math.max(this.#of(c.runId).overflowDelta, c.budget.overflowDelta);
    if (c.count > 0) this.#assertAffordable(c, times(c.event, c.count), overflowDelta);
  }

  /**
   * What every lifetime would have spent at the end of a run that is charged all its policy has.
   * @param c.runId - null before the run has a name.
   */
  wholeRun(c: Pick<ChargeRequest, 'budget' | 'lifetime'> & { readonly runId: string | null }): WholeRun[] {
    this.#catchUp();
    const lifetimes = this.#lifetimes(c.lifetime);
    return wholeRun({ runId: c.runId, spentByRun: this.#totals, budget: c.budget, lifetimes });
  }

  /** What one run has spent, at the delta of its policy; for what, run-length; and in how many entries. */
  spent(runId: string, budget: Pick<RunBudget, 'delta' | 'overflowDelta'>): RunAccount {
    const { events, entries, overflowDelta } = this.#of(runId);
    const all = Math.max(overflowDelta, budget.overflowDelta);
    return { epsilon: epsilonSpent(events, { delta: budget.delta, overflowDelta: all }), events, entries };
  }

  /** Everything that was charged, run-length, and what it takes of delta: for accountants. */
  spending(runId?: string): RunSpending {
    const runs = runId === undefined ? [...this.#totals.values()] : [this.#of(runId)];
    const overflowDelta = runs.reduce((sum, r) => sum + r.overflowDelta, 0);
    return { events: composeEvents(...runs.map((r) => r.events)), overflowDelta };
  }

  /** How many entries were charged to a run. */
  entriesOf(runId: string): number {
    return this.#of(runId).entries;
  }

  /** What all runs together have spent at this delta. */
  lifetime(delta: number): number {
    return epsilonOfLifetime([...this.#totals.values()], delta);
  }

  head(): ChainHead {
    return this.#head;
  }

  /** Hash of an entry; null where there is none. */
  hashAt(index: number): string | null {
    const row = this.#db.prepare('SELECT entry FROM entries WHERE idx = ?').get(index);
    return row === undefined ? null : readEntry(row['entry']).hash;
  }

  /** All charges in order; of one run where it is named. */
  entries(runId?: string): ChargeEntry[] {
    const all = readEntries(this.#db, 0).filter(isCharge);
    return runId === undefined ? all : all.filter((e) => e.runId === runId);
  }

  /** Every bound that was ever written down, in order. */
  lifetimes(): LifetimeEntry[] {
    return readEntries(this.#db, 0).flatMap((e) => (isCharge(e) ? [] : [e]));
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  #of(runId: string): Totals {
    return this.#totals.get(runId) ?? new Totals();
  }

  #lifetimes(bounds: LifetimeBudget | null): NamedLifetime[] {
    const all: NamedLifetime[] = bounds === null ? [] : [{ ...bounds, of: 'bounds' }];
    return this.#lifetime === null ? all : [...all, { ...this.#lifetime, of: 'data set' }];
  }

  #assertAffordable(
    { runId, budget, lifetime }: Pick<ChargeRequest, 'runId' | 'budget' | 'lifetime'>,
    next: PrivacyEvent,
    overflowDelta: number,
  ): void {
    const lifetimes = this.#lifetimes(lifetime);
    assertAffordable({ runId, next, spentByRun: this.#totals, budget, overflowDelta, lifetimes });
  }

  /** One transaction: reads what others wrote, asks for the entry, writes and syncs it. */
  #append(draft: () => Draft): LedgerEntry {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      this.#catchUp();
      const { size: index, head: previous } = this.#head;
      const unsealed = { version: 1 as const, index, ...draft(), previous };
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
    if (isCharge(entry)) {
      const totals = this.#of(entry.runId);
      totals.events = composeEvents(totals.events, [readEvent(entry.event)]);
      totals.entries += 1;
      const overflow = Math.max(totals.overflow.get(entry.policySha256) ?? 0, entry.overflowDelta);
      totals.overflow.set(entry.policySha256, overflow);
      this.#totals.set(entry.runId, totals);
    } else this.#lifetime = { epsilon: entry.epsilon, delta: entry.delta };
    this.#head = { size: entry.index + 1, head: entry.hash };
  }
}

const readEntries = (db: DatabaseSync, from: number): LedgerEntry[] =>
  db
    .prepare('SELECT entry FROM entries WHERE idx >= ? ORDER BY idx')
    .all(from)
    .map((row) => readEntry(row['entry']));

function readEntry(text: unknown): LedgerEntry {
  let value: unknown;
  try {
    value = JSON.parse(String(text));
  } catch (cause) {
    throw new FedError('STORE_CORRUPT', 'a ledger entry is not JSON', { cause });
  }
  const parsed = LedgerEntry.safeParse(value);
  if (!parsed.success) throw new FedError('STORE_CORRUPT', z.prettifyError(parsed.error));
  return parsed.data;
}

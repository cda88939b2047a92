import { EMPTY_CHAIN } from '../../shared/audit/chain.ts';
import type { ChainHead } from '../../shared/audit/chain.ts';

/** As much of a ledger as it takes to find an old head in it. */
export interface LedgerChain {
  readonly size: number;
  /** Hash of an entry; null where there is none. */
  readonly hashAt: (index: number) => string | null;
}

/**
 * Whether a ledger lacks what the site once stated of it: then it is an older copy that was put back, or another file.
 *
 * A statement names the number of entries and the hash of the last. Hashes chain, so a ledger that has that very hash
 * at that place has all that was there then; growing since is no offence.
 * @returns a sentence that says what is missing; null when the ledger holds what was stated.
 */
export function ledgerRewound(stated: ChainHead, ledger: LedgerChain): string | null {
  const there = stated.size === 0 ? EMPTY_CHAIN.head : ledger.hashAt(stated.size - 1);
  if (ledger.size < stated.size)
    return `this site stated ${stated.size} ledger entries, and its ledger has ${ledger.size}: an older copy was put back`;
  if (there !== stated.head)
    return `entry ${stated.size - 1} of the ledger is ${there}, and this site stated ${stated.head}: not the ledger it had`;
  return null;
}

import { type Chain, type ChainHead, EMPTY_CHAIN, holdsHead } from '../../shared/audit/chain.ts';

/**
 * Whether a ledger lacks what the site once stated of it: then it is an older copy that was put back, or another file.
 *
 * A statement names the number of entries and the hash of the last.
 * @returns a sentence that says what is missing; null when the ledger holds what was stated.
 */
export function ledgerRewound(stated: ChainHead, ledger: Chain): string | null {
  if (holdsHead(ledger, stated)) return null;
  if (ledger.size < stated.size)
    return `this site stated ${stated.size} ledger entries, and its ledger has ${ledger.size}: an older copy was put back`;
  const there = stated.size === 0 ? EMPTY_CHAIN.head : ledger.hashAt(stated.size - 1);
  return `entry ${stated.size - 1} of the ledger is ${there}, and this site stated ${stated.head}: not the ledger it had`;
}

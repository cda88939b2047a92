import { z } from 'zod';
import { Sha256Hex } from '../protocol/plan.ts';

/** Where a hash chain stands, such as a site's ledger: how many entries, and the hash of the last. */
export const ChainHead = z.strictObject({ size: z.int().min(0), head: Sha256Hex });
export type ChainHead = z.infer<typeof ChainHead>;

export const EMPTY_CHAIN: ChainHead = { size: 0, head: '0'.repeat(64) };

/** As much of a hash chain as it takes to find an old head in it. */
export interface Chain {
  readonly size: number;
  /** Hash of an entry; null where there is none. */
  readonly hashAt: (index: number) => string | null;
}

/** A chain to which nothing was ever put. */
export const NO_ENTRIES: Chain = { size: 0, hashAt: () => null };

/** The head of a chain when it had so many entries; null where it never had. */
export function headAt(chain: Chain, size: number): ChainHead | null {
  if (size === 0) return EMPTY_CHAIN;
  const head = size <= chain.size ? chain.hashAt(size - 1) : null;
  return head === null ? null : { size, head };
}

/**
 * Whether a chain still has all that it had at an old head: hashes chain, so the same hash at the same place says so.
 * Growing since is no offence.
 */
export const holdsHead = (chain: Chain, old: ChainHead): boolean => headAt(chain, old.size)?.head === old.head;

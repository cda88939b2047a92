import { z } from 'zod';
import { Sha256Hex } from '../protocol/plan.ts';

/** Where a hash chain stands, such as a site's ledger: how many entries, and the hash of the last. */
export const ChainHead = z.strictObject({ size: z.int().min(0), head: Sha256Hex });
export type ChainHead = z.infer<typeof ChainHead>;

export const EMPTY_CHAIN: ChainHead = { size: 0, head: '0'.repeat(64) };

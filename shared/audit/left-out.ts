/**
 * A site's commitment to its list of patients who are left out, in each of its epsilon statements. That somebody withdrew is a
 * fact about one patient, which no log may tell; that a list shown to an auditor at the site is the one of that day, it must be
 * possible to prove. So each statement carries a salted hash: without the salt, which only the site can make, it says
 * nothing, not even whether the list changed since the statement before; with it, it opens to one list alone.
 *
 * Hiding and binding of a hash-based commitment (Katz and Lindell, Introduction to Modern Cryptography, section 5.6):
 * SHA-256 over RFC 8785 JSON, the salt 256 bits of HMAC-SHA-256 under a key of the site's. Not audited.
 */
import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { Sha256Hex } from '../protocol/plan.ts';
import { hashJson } from './canonical.ts';
import type { ChainHead } from './chain.ts';

export const LEFT_OUT_KEY_BYTES = 32;
export const LEFT_OUT_NONCE_BYTES = 16;

export const LeftOutCommitment = z.strictObject({
  /** Drawn for this statement, hex: the site's salt follows from it. */
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  sha256: Sha256Hex,
});
export type LeftOutCommitment = z.infer<typeof LeftOutCommitment>;

/** The statement that a commitment stands in: it holds nowhere else. */
export interface LeftOutContext {
  readonly siteId: string;
  readonly runId: string;
  /** The ledger's chain, as the statement has it. */
  readonly ledger: ChainHead;
}

/** What the site shows an auditor to open one commitment. Private: where the list stood. */
export interface LeftOutOpening {
  /** 256 bits, hex. */
  readonly salt: string;
  readonly list: ChainHead;
}

/** @param key - the site's, of `LEFT_OUT_KEY_BYTES`; @param nonce - as the commitment has it. */
export const leftOutSalt = (key: Uint8Array, nonce: string): string =>
  createHmac('sha256', key).update('veilgan left out\0').update(nonce).digest('hex');

const digestOf = ({ siteId, runId, ledger }: LeftOutContext, nonce: string, { salt, list }: LeftOutOpening): string =>
  hashJson({ what: 'veilgan-left-out-v1', siteId, runId, ledger, nonce, salt, list });

/** @param nonce - fresh bytes: with one that was used before, an equal hash would say that the list is as it was. */
export function commitLeftOut(
  key: Uint8Array,
  nonce: Uint8Array,
  context: LeftOutContext,
  list: ChainHead,
): LeftOutCommitment {
  const hex = Buffer.from(nonce).toString('hex');
  return { nonce: hex, sha256: digestOf(context, hex, { salt: leftOutSalt(key, hex), list }) };
}

/** Whether a commitment is to this list. Anybody can check, whom the site has shown salt and list. */
export const opensTo = (c: LeftOutCommitment, context: LeftOutContext, opening: LeftOutOpening): boolean =>
  digestOf(context, c.nonce, opening) === c.sha256;

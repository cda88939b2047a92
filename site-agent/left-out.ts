/** What a site's statements say of its list of patients who are left out: a commitment, and here alone what opens it. */
import type { ChainHead } from '../shared/audit/chain.ts';
import {
  commitLeftOut,
  LEFT_OUT_KEY_BYTES,
  LEFT_OUT_NONCE_BYTES,
  type LeftOutCommitment,
  type LeftOutContext,
} from '../shared/audit/left-out.ts';
import { secureBytes } from '../shared/random.ts';
import type { Outbox } from './shell/outbox.ts';

/** The key that this site's commitments are salted with: in its outbox, and nowhere else. */
export const leftOutKey = (outbox: Outbox): Uint8Array => outbox.secret('left-out', LEFT_OUT_KEY_BYTES, secureBytes);

/** A commitment for one statement: no two are alike, whether or not the list changed between them. */
export function stateLeftOut(outbox: Outbox, context: LeftOutContext, list: ChainHead): LeftOutCommitment {
  const nonce = new Uint8Array(LEFT_OUT_NONCE_BYTES);
  secureBytes(nonce);
  return commitLeftOut(leftOutKey(outbox), nonce, context, list);
}

/**
 * What a site's statements say of its list of patients who are left out: a commitment, and here alone what opens it. And
 * the site against its own past: the list must still have all that it had when the site last committed to it.
 */
import { type Chain, headAt, holdsHead } from '../shared/audit/chain.ts';
import {
  commitLeftOut,
  LEFT_OUT_KEY_BYTES,
  LEFT_OUT_NONCE_BYTES,
  type LeftOutCommitment,
  type LeftOutContext,
} from '../shared/audit/left-out.ts';
import { FedError } from '../shared/errors.ts';
import { secureBytes } from '../shared/random.ts';
import type { Outbox } from './shell/outbox.ts';

const KEY = 'left-out';

/** The key that this site's commitments are salted with: in its outbox, and nowhere else. Made with the first of them. */
export const leftOutKey = (outbox: Outbox): Uint8Array => outbox.secret(KEY, LEFT_OUT_KEY_BYTES, secureBytes);

/** That key, to look with: where there is none, none is made. @throws {FedError} STORE_CORRUPT */
export function keptLeftOutKey(outbox: Outbox): Uint8Array {
  const key = outbox.keptSecret(KEY);
  if (key === null)
    throw new FedError('STORE_CORRUPT', 'this outbox has no key that opens statements: it is not the one of the run');
  return key;
}

/** For the site's operator: no path, no patient, and neither length of the list. */
export const LEFT_OUT_WENT_BACK =
  'the list of withdrawn patients lacks what this site has signed for: an older copy was put back, or entries were taken ' +
  'off or changed. Put the newest copy back beside the ledger, withdraw on it whoever is missing, and start again';

/**
 * Holds the list to what the outbox remembers of it. A list that has only grown since is whole.
 * @throws {FedError} STORE_CORRUPT, a code that does not tell the coordinator which of a site's files it is.
 */
export function requireLeftOutWhole(p: { readonly outbox: Outbox; readonly leftOut: () => Chain }): void {
  const stated = p.outbox.statedLeftOut();
  if (stated !== null && !holdsHead(p.leftOut(), stated)) throw new FedError('STORE_CORRUPT', LEFT_OUT_WENT_BACK);
}

/**
 * A commitment for one statement: no two are alike, whether or not the list changed between them.
 *
 * Guarantee: where the list stands is durable before anything is signed over it. Killed in between, the site holds itself
 * to a list that it has; the other way round, a statement could leave that the site does not remember.
 * @throws {FedError} STORE_CORRUPT when the list went back.
 */
export function stateLeftOut(outbox: Outbox, context: LeftOutContext, list: Chain): LeftOutCommitment {
  requireLeftOutWhole({ outbox, leftOut: () => list });
  const head = headAt(list, list.size);
  if (head === null) throw new FedError('STORE_CORRUPT', 'the list of withdrawn patients has no last entry');
  outbox.putStatedLeftOut(head);
  const nonce = new Uint8Array(LEFT_OUT_NONCE_BYTES);
  secureBytes(nonce);
  return commitLeftOut(leftOutKey(outbox), nonce, context, head);
}

/** What a site states of its own ledger, as it comes in with an answer. */
import { FedError } from '../shared/errors.ts';
import type { RosterEntry } from '../shared/identity/roster.ts';
import { CONSORTIUM, verifyJson } from '../shared/identity/signed.ts';
import { EPSILON_TYP, EpsilonStatement } from '../shared/protocol/round-messages.ts';
import type { RoundParts } from './round.ts';
import type { Tx } from './store/store.ts';

/** @throws {FedError} SIGNATURE_INVALID when it is not this site's, of this run and policy. */
export async function readEpsilon(p: RoundParts, entry: RosterEntry, jws: string): Promise<EpsilonStatement> {
  const o = { typ: EPSILON_TYP, audience: CONSORTIUM, schema: EpsilonStatement };
  const { body } = await verifyJson(jws, entry.signing, o);
  const { runId, terms } = p;
  if (body.siteId !== entry.siteId || body.runId !== runId || body.policySha256 !== terms.policySha256)
    throw new FedError('SIGNATURE_INVALID', `site=${entry.siteId}: epsilon statement of another site, run or policy`);
  return body;
}

/** Into the log and the site's record, in the transaction that counts the answer. */
export async function noteEpsilon(p: RoundParts, tx: Tx, said: EpsilonStatement, statement: string): Promise<void> {
  const { siteId, epsilon, delta, entries } = said;
  const body = { siteId, epsilon, delta, statement };
  await tx.appendLog(p.runId, { kind: 'epsilon-statement', body }, p.clock.now());
  const site = (await tx.sites(p.runId)).find((s) => s.siteId === siteId);
  if (site) await tx.putSite(p.runId, { ...site, epsilon: { epsilon, delta, entries, statement } });
}

/**
 * What sites sign of a sum before anyone opens it, for other sites to read: "this ciphertext is mine", and "a sum of
 * these, and of no others, may be opened". The coordinator relays them and can make none.
 */
import { z } from 'zod';
import { hashJson } from '../../audit/canonical.ts';
import { FedError } from '../../errors.ts';
import type { SigningKeys } from '../../identity/keys.ts';
import { activeSite } from '../../identity/roster.ts';
import type { Roster } from '../../identity/roster.ts';
import { CONSORTIUM, signJson, verifyJson } from '../../identity/signed.ts';
import { Sha256Hex, SiteId } from '../../protocol/plan.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import type { BfvParameters } from './parameters.ts';

const TYP = { contribution: 'veilgan-bfv-contribution+jws', consent: 'veilgan-bfv-consent+jws' };
const Jws = z.string().max(2048);

const Place = { runId: z.uuid(), round: z.int().min(0), attempt: z.int().min(0), siteId: SiteId };
export const Contribution = z.strictObject({
  ...Place,
  parametersSha256: Sha256Hex,
  /** Of the envelope with the ciphertexts. */
  tensorSha256: Sha256Hex,
});
export const Consent = z.strictObject({ ...Place, parametersSha256: Sha256Hex, listSha256: Sha256Hex });

/** A site and its signed statement. */
export const Shown = z.strictObject({ siteId: SiteId, statement: Jws });
export type Shown = z.infer<typeof Shown>;
/** The sites of a sum, by name, each with its contribution. */
export const ContributorList = z.array(Shown).min(1);

/** One attempt and who may sign in it. */
export interface StatementContext {
  readonly plan: RoundPlan;
  readonly parameters: BfvParameters;
  readonly roster: Roster;
}
const placeOf = ({ plan, parameters }: StatementContext, siteId: string) => ({
  runId: plan.runId,
  round: plan.round,
  attempt: plan.attempt,
  siteId,
  parametersSha256: parameters.sha256,
});

export const signContribution = (
  keys: SigningKeys,
  context: StatementContext,
  siteId: string,
  tensorSha256: string,
  nowMs: number,
): Promise<string> => sign(keys, TYP.contribution, { ...placeOf(context, siteId), tensorSha256 }, nowMs);

export const signConsent = (
  keys: SigningKeys,
  context: StatementContext,
  siteId: string,
  listSha256: string,
  nowMs: number,
): Promise<string> => sign(keys, TYP.consent, { ...placeOf(context, siteId), listSha256 }, nowMs);

/** @returns the hash of the ciphertexts it speaks of. @throws {FedError} SIGNATURE_INVALID, MESSAGE_INVALID, KEY_UNKNOWN */
export async function verifyContribution(context: StatementContext, { siteId, statement }: Shown): Promise<string> {
  const o = { typ: TYP.contribution, audience: CONSORTIUM, schema: Contribution };
  const { body } = await verifyJson(statement, activeSite(context.roster, siteId).signing, o);
  const { tensorSha256, ...place } = body;
  expectPlace(place, context, siteId);
  return tensorSha256;
}

/** @returns the name of the list it agrees to. @throws {FedError} SIGNATURE_INVALID, MESSAGE_INVALID, KEY_UNKNOWN */
export async function verifyConsent(context: StatementContext, { siteId, statement }: Shown): Promise<string> {
  const o = { typ: TYP.consent, audience: CONSORTIUM, schema: Consent };
  const { body } = await verifyJson(statement, activeSite(context.roster, siteId).signing, o);
  const { listSha256, ...place } = body;
  expectPlace(place, context, siteId);
  return listSha256;
}

/**
 * Checks a list: sites by name, each once, all invited, enough of them, each with its own signed contribution.
 * @returns the list's name: the hash of its sites and their ciphertexts.
 * @throws {FedError} SUM_REFUSED when the list is not one to agree to; or as `verifyContribution`.
 */
export async function verifyList(
  context: StatementContext,
  list: readonly Shown[],
  atLeast: number,
): Promise<{ listSha256: string; tensors: ReadonlyMap<string, string> }> {
  const sites = list.map((s) => s.siteId);
  requireSites(context.plan, sites, atLeast);
  const tensors = new Map<string, string>();
  for (const shown of list) tensors.set(shown.siteId, await verifyContribution(context, shown));
  return { listSha256: hashJson([...tensors]), tensors };
}

/**
 * How many sites must agree to a list before it is opened: a majority of the invited, so that no second list of the
 * attempt can be agreed to by sites that sign one each; and never fewer than a sum needs.
 */
export const consentsNeeded = (plan: Pick<RoundPlan, 'invited'>, quorum: number): number =>
  Math.max(quorum, Math.floor(plan.invited.length / 2) + 1);

/** @throws {FedError} SUM_REFUSED unless these are different invited sites, by name, and enough. */
export function requireSites(plan: RoundPlan, sites: readonly string[], atLeast: number): void {
  const inOrder = sites.every((s, i) => (i === 0 || sites[i - 1] < s) && plan.invited.includes(s));
  if (!inOrder || sites.length < atLeast)
    throw new FedError('SUM_REFUSED', `${sites.length} sites, at least ${atLeast}; each once, by name and invited`);
}

const sign = (keys: SigningKeys, typ: string, body: unknown, nowMs: number): Promise<string> =>
  signJson(keys, body, { typ, audience: CONSORTIUM, nowMs });

function expectPlace(signed: unknown, context: StatementContext, siteId: string): void {
  if (hashJson(signed) !== hashJson(placeOf(context, siteId)))
    throw new FedError('SIGNATURE_INVALID', `site=${siteId} signed for another place or parameters`);
}

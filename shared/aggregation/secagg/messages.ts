/** What secagg's phases carry. Parsed where it comes in; signed by the site that says it. */
import { z } from 'zod';
import { hashJson } from '../../audit/canonical.ts';
import { FedError } from '../../errors.ts';
import { Bytes32 } from '../../identity/jwk.ts';
import type { SigningKeys } from '../../identity/keys.ts';
import { activeSite } from '../../identity/roster.ts';
import type { Roster } from '../../identity/roster.ts';
import { CONSORTIUM, signDetached, verifyDetached } from '../../identity/signed.ts';
import { Sha256Hex, SiteId } from '../../protocol/plan.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import type { Context } from './seeds.ts';

const Signature = z.string().max(512);
const Base64 = z.string().regex(/^[A-Za-z0-9_-]*$/);
const Sites = z.array(SiteId).max(1000);

/** Up, phase `keys`: fresh public keys, signed together with everything the round stands for. */
export const KeysBody = z.strictObject({
  /** What peers seal this site's shares to. */
  sealing: Bytes32,
  /** One a step: what masks are agreed with. */
  masking: z.array(Bytes32).min(1).max(4096),
  /** Indices of the invited sites that hold this site's shares; null where all do. */
  neighbours: z.array(z.int().min(0)).max(255).nullable(),
  signature: Signature,
});
export type KeysBody = z.infer<typeof KeysBody>;

/** Up, phase `shares`. */
export const SharesBody = z.strictObject({
  /** Holder to what is sealed to it: for each step 32 bytes of the self mask's seed and 32 of the masking key. */
  shares: z.record(SiteId, Base64.max(400_000)),
  /** SHA-256 of the self mask's seed, one a step: a seed put together wrongly is noticed. */
  commitments: z.array(Sha256Hex),
});
export type SharesBody = z.infer<typeof SharesBody>;

/**
 * Up, phase `upload`, beside the masked update: a signature over all that mask in the step. Null where masks follow a
 * graph.
 */
export const UploadBody = z.strictObject({ whole: Signature }).nullable();
export type UploadBody = z.infer<typeof UploadBody>;

/** Up, phase `agree`: a signature over the survivor list. */
export const AgreeBody = z.strictObject({ signature: Signature });

const ShareBytes = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
/** Up, phase `reveal`: for each peer one share of one kind. */
export const RevealBody = z.strictObject({
  /** Of the self mask's seed, for sites that are in the sum. */
  seeds: z.record(SiteId, ShareBytes),
  /** Of the masking key of this step, for sites that dropped out. */
  keys: z.record(SiteId, ShareBytes),
});
export type RevealBody = z.infer<typeof RevealBody>;

/** Down, before `shares`: the keys of a site's neighbours. */
export const KeysDownlink = z.strictObject({ keys: z.record(SiteId, KeysBody) });
/** Down, before `upload`: who masks with whom, and, once, what peers sealed to this site. */
export const UploadDownlink = z.strictObject({ sites: Sites, shares: z.record(SiteId, Base64).nullable() });
/** Down, before `agree`: whose uploads are in. */
export const AgreeDownlink = z.strictObject({ survivors: Sites });
/**
 * The two lists a site signs in a step, each at most once: `whole`, all that mask in it, with the upload; `agreed`, those
 * whose uploads are in, where some are missing.
 */
export const ListKind = z.enum(['whole', 'agreed']);
export type ListKind = z.infer<typeof ListKind>;
/** Down, before `reveal`: the list, and who has signed it, all with one kind of signature. */
export const RevealDownlink = z.strictObject({
  signed: ListKind,
  survivors: Sites,
  signatures: z.record(SiteId, Signature),
});

const KEYS_TYP = 'veilgan-secagg-keys+jws';
/** Of different purposes, so that a signature under one list is none under the other. */
const LIST_TYP = {
  whole: 'veilgan-secagg-whole+jws',
  agreed: 'veilgan-secagg-survivors+jws',
} as const satisfies Record<ListKind, string>;

const placeOf = ({ runId, round, attempt, planSha256, checkpoint }: Context) => ({
  runId,
  round,
  attempt,
  planSha256,
  checkpoint,
});

/** What a site signs with its keys. Every reader builds it from its own plan, so a key of another round is refused. */
const keysStatement = (siteId: string, plan: RoundPlan, at: Context, body: Omit<KeysBody, 'signature'>): string =>
  hashJson({
    ...placeOf(at),
    siteId,
    policySha256: plan.policySha256,
    sealing: body.sealing,
    masking: body.masking,
    neighbours: body.neighbours,
  });

const survivorsStatement = (siteId: string, at: Context, step: number, survivors: readonly string[]): string =>
  hashJson({ ...placeOf(at), siteId, step, survivors });

const audience = CONSORTIUM;

export const signKeys = (
  keys: SigningKeys,
  siteId: string,
  plan: RoundPlan,
  at: Context,
  body: Omit<KeysBody, 'signature'>,
): Promise<string> => signDetached(keys, keysStatement(siteId, plan, at, body), { typ: KEYS_TYP, audience });

/** @throws {FedError} SIGNATURE_INVALID, KEY_UNKNOWN, ROUND_NOT_OPEN */
export const verifyKeys = (
  roster: Roster,
  siteId: string,
  plan: RoundPlan,
  at: Context,
  body: KeysBody,
): Promise<void> =>
  verifyDetached(body.signature, keysStatement(siteId, plan, at, body), signerOf(roster, siteId, plan), {
    typ: KEYS_TYP,
    audience,
  });

export const signList = (
  keys: SigningKeys,
  kind: ListKind,
  siteId: string,
  at: Context,
  step: number,
  survivors: readonly string[],
): Promise<string> =>
  signDetached(keys, survivorsStatement(siteId, at, step, survivors), { typ: LIST_TYP[kind], audience });

/** @throws {FedError} SIGNATURE_INVALID, KEY_UNKNOWN, ROUND_NOT_OPEN */
export const verifyList = (
  roster: Roster,
  kind: ListKind,
  siteId: string,
  plan: RoundPlan,
  at: Context,
  step: number,
  survivors: readonly string[],
  signature: string,
): Promise<void> =>
  verifyDetached(signature, survivorsStatement(siteId, at, step, survivors), signerOf(roster, siteId, plan), {
    typ: LIST_TYP[kind],
    audience,
  });

/** The key a site signed with when this attempt was opened: one that is newer is unknown to the attempt's other sites. */
function signerOf(roster: Roster, siteId: string, plan: RoundPlan) {
  const entry = activeSite(roster, siteId);
  if (entry.since > plan.roster.version)
    throw new FedError('ROUND_NOT_OPEN', `site=${siteId}: its keys are newer than this attempt’s roster`);
  return entry.signing;
}

export const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'base64url');
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

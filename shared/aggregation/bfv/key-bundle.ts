/**
 * The consortium key on its way: encrypted once, its content key wrapped to the X25519 key of every invited site (JWE,
 * ECDH-ES+A256KW with A256GCM, RFC 7516), signed by the steward, relayed by a coordinator that cannot read it. One is
 * made for every attempt at a round: a key opens nothing but the sum of that attempt. Not audited by anyone.
 *
 * Whoever is in the roster can be sent the key, so a coordinator that enrols a site of its own opens every update. That
 * is the bound of this scheme: the coordinator and any one key holder.
 */
import { flattenedDecrypt, GeneralEncrypt } from 'jose';
import { z } from 'zod';
import { canonicalJson, hashJson } from '../../audit/canonical.ts';
import { FedError } from '../../errors.ts';
import { publicPart, thumbprint } from '../../identity/jwk.ts';
import type { SiteKeys } from '../../identity/keys.ts';
import { activeSite } from '../../identity/roster.ts';
import type { Roster } from '../../identity/roster.ts';
import { CONSORTIUM, signJson, verifyJson } from '../../identity/signed.ts';
import { Sha256Hex } from '../../protocol/plan.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import { CHECK_SECRET_BYTES } from './checks.ts';
import type { BfvParameters } from './parameters.ts';
import type { ConsortiumKey } from './seal-core.ts';

const TYP = 'veilgan-bfv-key+jws';
const WRAP = 'ECDH-ES+A256KW';
const CONTENT = 'A256GCM';

const Base64Url = z.string().regex(/^[A-Za-z0-9_-]+$/);
/** What all recipients share. */
const Sealed = z.strictObject({
  protected: Base64Url.max(256),
  aad: Base64Url.max(2048),
  iv: Base64Url.max(64),
  tag: Base64Url.max(64),
  ciphertext: Base64Url.max(64 * 1024),
});
const Recipient = z.strictObject({
  header: z.strictObject({
    alg: z.literal(WRAP),
    kid: z.string().max(64),
    epk: z.strictObject({ kty: z.literal('OKP'), crv: z.literal('X25519'), x: z.string().max(64) }),
  }),
  encrypted_key: Base64Url.max(128),
});
/** What the steward answers: one ciphertext, a wrapped key for each site. */
export const KeyBundle = z.strictObject({
  sealed: Sealed,
  recipients: z.record(z.string(), Recipient),
  /** The steward's JWS over `KeyStatement`. */
  signature: z.string().max(4096),
});
export type KeyBundle = z.infer<typeof KeyBundle>;
/** What one site is shown of it. */
export const KeyShown = z.strictObject({ sealed: Sealed, recipient: Recipient, signature: z.string().max(4096) });
export type KeyShown = z.infer<typeof KeyShown>;

const KeyStatement = z.strictObject({
  runId: z.uuid(),
  round: z.int().min(0),
  attempt: z.int().min(0),
  /** The key is for the sites of this roster and no other. */
  rosterSha256: Sha256Hex,
  parametersSha256: Sha256Hex,
  sealedSha256: Sha256Hex,
});
type KeyStatement = z.infer<typeof KeyStatement>;

const Payload = z.strictObject({ secretKey: Base64Url, checkSecret: Base64Url });

/**
 * Which site makes the key: the policy's, or the first by name when that one is not invited. The same for everybody who
 * holds the plan.
 */
export const stewardOf = (plan: Pick<RoundPlan, 'invited'>, preferred: string | undefined): string =>
  preferred !== undefined && plan.invited.includes(preferred) ? preferred : plan.invited.toSorted()[0];

type Context = { readonly plan: RoundPlan; readonly parameters: BfvParameters };
const contextOf = ({ plan, parameters }: Context): Omit<KeyStatement, 'sealedSha256'> => ({
  runId: plan.runId,
  round: plan.round,
  attempt: plan.attempt,
  rosterSha256: plan.roster.sha256,
  parametersSha256: parameters.sha256,
});

/** Wraps a key for every invited site and signs it. @throws {FedError} KEY_UNKNOWN for a site that the roster does not have. */
export async function wrapKey(
  key: ConsortiumKey,
  o: Context & { readonly roster: Roster; readonly steward: SiteKeys; readonly nowMs: number },
): Promise<KeyBundle> {
  const context = contextOf(o);
  const payload = { secretKey: encode(key.secretKey), checkSecret: encode(key.checkSecret) };
  const sealing = new GeneralEncrypt(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({ enc: CONTENT })
    .setAdditionalAuthenticatedData(Buffer.from(canonicalJson(context)));
  const sites = o.plan.invited.toSorted();
  for (const siteId of sites) {
    const to = activeSite(o.roster, siteId).sealing;
    sealing.addRecipient(publicPart(to)).setUnprotectedHeader({ alg: WRAP, kid: thumbprint(to) });
  }
  const { recipients: wrapped, ...sealed } = await sealing.encrypt();
  const statement: KeyStatement = { ...context, sealedSha256: hashJson(sealed) };
  const signature = await signJson(o.steward, statement, { typ: TYP, audience: CONSORTIUM, nowMs: o.nowMs });
  const recipients = Object.fromEntries(sites.map((siteId, i) => [siteId, wrapped[i]]));
  return KeyBundle.parse({ sealed, recipients, signature });
}

/** The part of a bundle that one site needs. @throws {FedError} MESSAGE_INVALID when there is none for it. */
export function shownTo(bundle: KeyBundle, siteId: string): KeyShown {
  const { sealed, recipients, signature } = bundle;
  if (!Object.hasOwn(recipients, siteId)) throw new FedError('MESSAGE_INVALID', `no key is wrapped for ${siteId}`);
  return { sealed, recipient: recipients[siteId], signature };
}

/**
 * Checks that the steward signed this key for this attempt. Opens nothing, so the coordinator can do it too.
 * @throws {FedError} SIGNATURE_INVALID, MESSAGE_INVALID, KEY_UNKNOWN
 */
export async function checkKey(
  shown: Pick<KeyShown, 'sealed' | 'signature'>,
  o: Context & { readonly roster: Roster; readonly steward: string },
): Promise<void> {
  const { signing } = activeSite(o.roster, o.steward);
  const { body } = await verifyJson(shown.signature, signing, { typ: TYP, audience: CONSORTIUM, schema: KeyStatement });
  const wanted: KeyStatement = { ...contextOf(o), sealedSha256: hashJson(shown.sealed) };
  if (hashJson(body) !== hashJson(wanted))
    throw new FedError('SIGNATURE_INVALID', 'the consortium key was signed for another attempt, or is another');
}

/**
 * Checks and opens the key.
 * @throws {FedError} as `checkKey`; MESSAGE_INVALID when it cannot be opened.
 */
export async function unwrapKey(
  shown: KeyShown,
  o: Context & { readonly roster: Roster; readonly steward: string; readonly keys: SiteKeys },
): Promise<ConsortiumKey> {
  await checkKey(shown, o);
  const { sealed, recipient } = shown;
  try {
    const opened = await flattenedDecrypt({ ...sealed, ...recipient }, o.keys.sealing, {
      keyManagementAlgorithms: [WRAP],
      contentEncryptionAlgorithms: [CONTENT],
    });
    const { secretKey, checkSecret } = Payload.parse(JSON.parse(Buffer.from(opened.plaintext).toString('utf8')));
    const key = { secretKey: decode(secretKey), checkSecret: decode(checkSecret) };
    if (key.checkSecret.length !== CHECK_SECRET_BYTES) throw new Error('a check secret of another length');
    return key;
  } catch {
    // What the parser or the cipher says could quote what was decrypted.
    throw new FedError('MESSAGE_INVALID', 'the consortium key cannot be opened');
  }
}

const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const decode = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64url'));

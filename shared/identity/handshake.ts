import { createHash } from 'node:crypto';
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { SiteId } from '../protocol/plan.ts';
import { Bytes32, PublicSealingKey, PublicSigningKey, thumbprint } from './jwk.ts';
import { MAX_INVITE_CHARS, TlsFingerprint } from './invite.ts';
import type { PublicKeys, SigningKeys, SiteKeys } from './keys.ts';
import { publicKeys } from './keys.ts';
import { signJson, verifyJson } from './signed.ts';
import { followSuccession, SuccessionChain } from './succession.ts';

/**
 * How the two ends of a fresh TLS connection prove who they are, both halves side by side:
 *
 *   site          hello {nonce_s}                                  ->
 *                 <- {nonce_c, proof = sign_c(nonce_s, nonce_c, tls)}   coordinator
 *   site checks the pinned key, and only then shows anything of its own:
 *                 prove {siteId, jws = sign_s(nonce_c, siteId, tls)} ->        (or `join`, with an invite)
 *
 * `tls` is the fingerprint of the certificate as each end sees it. A man in the middle has another certificate, so what
 * he relays does not verify. Freshness is the nonces'; no clock takes part, so a hospital's wrong clock locks nobody out.
 */
export const PROTOCOL_VERSION = 1;

export const Hello = z.strictObject({ protocol: z.literal(PROTOCOL_VERSION), nonce: Bytes32 });
export const Challenge = z.strictObject({
  nonce: Bytes32,
  proof: z.string().max(2048),
  /** Where the coordinator's key was changed: how a site that has pinned an older one comes to the one of now. */
  succession: SuccessionChain.optional(),
});
export type Challenge = z.infer<typeof Challenge>;
export const Prove = z.strictObject({ siteId: SiteId, jws: z.string().max(2048) });
export const Join = z.strictObject({
  invite: z.string().max(MAX_INVITE_CHARS),
  keys: z.strictObject({ signing: PublicSigningKey, sealing: PublicSealingKey }),
  /** Made with the new signing key: it is held by whoever sends this, and vouches for the sealing key. */
  proof: z.string().max(2048),
});
export const Joined = z.strictObject({ roster: z.string() });

const TYP = { coordinator: 'veilgan-hello+jws', site: 'veilgan-prove+jws', join: 'veilgan-join+jws' };
const ANY_SITE = 'veilgan:site';

const CoordinatorProof = z.strictObject({ siteNonce: Bytes32, nonce: Bytes32, tlsFingerprint: TlsFingerprint });
const SiteProof = z.strictObject({ siteId: SiteId, nonce: Bytes32, tlsFingerprint: TlsFingerprint });
const JoinProof = z.strictObject({
  nonce: Bytes32,
  tlsFingerprint: TlsFingerprint,
  inviteSha256: TlsFingerprint,
  sealing: PublicSealingKey,
});

/** What binds a proof to one connection: the coordinator's nonce and the certificate that end sees. */
export interface Binding {
  readonly nonce: string;
  readonly tlsFingerprint: string;
}

/** The coordinator answers a hello. @param succession - statements of its former keys, oldest first. */
export async function proveCoordinator(
  keys: SigningKeys,
  siteNonce: string,
  b: Binding,
  nowMs: number,
  succession: readonly string[] = [],
): Promise<Challenge> {
  const proof = await signJson(keys, { siteNonce, ...b }, { typ: TYP.coordinator, audience: ANY_SITE, nowMs });
  return { nonce: b.nonce, proof, ...(succession.length > 0 && { succession: [...succession] }) };
}

/**
 * The site checks the answer, before it signs or sends anything of its own.
 * @returns the key the coordinator has proved: the pinned one, or one that it leads to by signatures of every key between.
 * @throws {FedError} COORDINATOR_UNKNOWN
 */
export async function checkCoordinator(
  challenge: Challenge,
  pinned: PublicSigningKey,
  mine: { siteNonce: string; tlsFingerprint: string },
): Promise<PublicSigningKey> {
  try {
    const key = await followSuccession(pinned, challenge.succession ?? []);
    const { body } = await verifyJson(challenge.proof, key, {
      typ: TYP.coordinator,
      audience: ANY_SITE,
      schema: CoordinatorProof,
    });
    if (body.siteNonce !== mine.siteNonce || body.nonce !== challenge.nonce) throw new Error('another nonce');
    if (body.tlsFingerprint !== mine.tlsFingerprint) throw new Error('another certificate: someone is in the middle');
    return key;
  } catch (error) {
    throw new FedError('COORDINATOR_UNKNOWN', error instanceof Error ? error.message : 'malformed', { cause: error });
  }
}

/** The site answers the challenge. @param coordinatorKid - the only audience of this signature. */
export async function proveSite(
  keys: SigningKeys,
  siteId: string,
  coordinatorKid: string,
  b: Binding,
  nowMs: number,
): Promise<z.infer<typeof Prove>> {
  const jws = await signJson(keys, { siteId, ...b }, { typ: TYP.site, audience: coordinatorKid, nowMs });
  return { siteId, jws };
}

/**
 * The coordinator checks the site's answer against the key in the roster.
 * @throws {FedError} SIGNATURE_INVALID; HANDSHAKE_REPLAYED when the signature is for another challenge.
 */
export async function checkSite(
  message: z.infer<typeof Prove>,
  key: PublicSigningKey,
  coordinatorKid: string,
  b: Binding,
): Promise<void> {
  const { body } = await verifyJson(message.jws, key, { typ: TYP.site, audience: coordinatorKid, schema: SiteProof });
  if (body.siteId !== message.siteId) throw new FedError('SIGNATURE_INVALID', `signed for ${body.siteId}`);
  expectBinding(body, b);
}

/** A new site shows its invite, its public keys, and that it holds them. */
export async function proveJoin(
  keys: SiteKeys,
  invite: string,
  coordinatorKid: string,
  b: Binding,
  nowMs: number,
): Promise<z.infer<typeof Join>> {
  const open = publicKeys(keys);
  const body = { ...b, inviteSha256: sha256(invite), sealing: open.sealing };
  const proof = await signJson(keys, body, { typ: TYP.join, audience: coordinatorKid, nowMs });
  return { invite, keys: open, proof };
}

/**
 * The coordinator checks that the sender of a join holds the keys it brings. Whether the invite is good is another question.
 * @throws {FedError} SIGNATURE_INVALID, HANDSHAKE_REPLAYED
 */
export async function checkJoin(
  message: z.infer<typeof Join>,
  coordinatorKid: string,
  b: Binding,
): Promise<PublicKeys> {
  const { signing, sealing } = message.keys;
  const { body } = await verifyJson(message.proof, signing, {
    typ: TYP.join,
    audience: coordinatorKid,
    schema: JoinProof,
  });
  if (body.inviteSha256 !== sha256(message.invite))
    throw new FedError('SIGNATURE_INVALID', 'signed for another invite');
  if (thumbprint(body.sealing) !== thumbprint(sealing))
    throw new FedError('SIGNATURE_INVALID', 'signed for another sealing key');
  expectBinding(body, b);
  return message.keys;
}

function expectBinding(signed: Binding, b: Binding): void {
  if (signed.nonce !== b.nonce) throw new FedError('HANDSHAKE_REPLAYED', 'signed for another nonce');
  if (signed.tlsFingerprint !== b.tlsFingerprint)
    throw new FedError('SIGNATURE_INVALID', 'signed for another certificate');
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

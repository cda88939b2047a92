import { decodeJwt, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import { FedError } from '../errors.ts';
import { SiteId } from '../protocol/plan.ts';
import { Kid, PublicSigningKey, publicPart, thumbprint } from './jwk.ts';
import type { SigningKeys } from './keys.ts';

/**
 * The one string an operator hands to a site: a JWT (RFC 7519) that names the site, the coordinator's address, and what
 * the site must find there, the TLS certificate and the signing key. It is a bearer secret until it is used, and is
 * sent only after the coordinator has proved both.
 */
const TYP = 'veilgan-invite+jwt';
const AUDIENCE = 'veilgan:join';

/** SHA-256 of a certificate in DER, lower-case hexadecimal. */
export const TlsFingerprint = z.string().regex(/^[0-9a-f]{64}$/);

export const InviteClaims = z
  .strictObject({
    iss: Kid,
    aud: z.literal(AUDIENCE),
    jti: z.uuid(),
    iat: z.int().min(0),
    exp: z.int().min(0),
    siteId: SiteId,
    url: z.url({ protocol: /^https$/ }).max(512),
    /** The certificate to accept, and no other; null: one that the machine's own certificate authorities vouch for. */
    tlsFingerprint: TlsFingerprint.nullable(),
    /** The coordinator's key; its thumbprint is `iss`. */
    key: PublicSigningKey,
  })
  .refine((c) => thumbprint(c.key) === c.iss, 'iss is not the thumbprint of key');
export type InviteClaims = z.infer<typeof InviteClaims>;

/** Longest invite a coordinator will look at, in characters. */
export const MAX_INVITE_CHARS = 4096;

export interface InviteOptions {
  readonly jti: string;
  readonly siteId: string;
  readonly url: string;
  readonly tlsFingerprint: string | null;
  readonly nowMs: number;
  readonly ttlMs: number;
}

/** Signs an invite. @returns the string for the operator to hand over. */
export async function signInvite(keys: SigningKeys, o: InviteOptions): Promise<string> {
  const iat = Math.floor(o.nowMs / 1000);
  const claims: InviteClaims = {
    iss: keys.kid,
    aud: AUDIENCE,
    jti: o.jti,
    iat,
    exp: iat + Math.ceil(o.ttlMs / 1000),
    siteId: o.siteId,
    url: o.url,
    tlsFingerprint: o.tlsFingerprint,
    key: publicPart(keys.signing),
  };
  const { error } = InviteClaims.safeParse(claims);
  if (error) throw new FedError('PARAMETER_INVALID', z.prettifyError(error));
  return new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA', typ: TYP, kid: keys.kid }).sign(keys.signing);
}

/**
 * Verifies an invite's signature, purpose and shape. The coordinator passes its own key; a site passes none: it trusts
 * the operator who handed the string over, and checks only that it is whole.
 *
 * Expiry is not checked here but by `inviteExpired`: a site whose acknowledgement was lost may ask again later.
 * @throws {FedError} INVITE_INVALID
 */
export async function verifyInvite(invite: string, coordinator: PublicSigningKey | null): Promise<InviteClaims> {
  try {
    if (invite.length > MAX_INVITE_CHARS) throw new Error(`${invite.length} characters`);
    const claims = InviteClaims.parse(decodeJwt(invite));
    await jwtVerify(invite, coordinator ?? claims.key, {
      algorithms: ['EdDSA'],
      typ: TYP,
      audience: AUDIENCE,
      issuer: thumbprint(coordinator ?? claims.key),
      currentDate: new Date(claims.iat * 1000),
    });
    return claims;
  } catch (error) {
    throw new FedError('INVITE_INVALID', error instanceof Error ? error.message : 'malformed', { cause: error });
  }
}

export const inviteExpired = (claims: InviteClaims, nowMs: number): boolean => nowMs >= claims.exp * 1000;

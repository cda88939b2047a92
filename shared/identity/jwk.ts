import { createHash } from 'node:crypto';
import { z } from 'zod';

/**
 * Keys as they travel: OKP JSON Web Keys of RFC 8037, in the one spelling we accept. `strictObject` keeps a private `d`,
 * or an `alg` that would widen the allow-list, out of everything that holds a public key.
 */

/** 32 bytes in base64url, canonical: the two spare bits of the last character are zero, so one key has one spelling. */
export const Bytes32 = z.string().regex(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/);

/** Verifies signatures: Ed25519 (RFC 8032). */
export const PublicSigningKey = z.strictObject({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: Bytes32 });
export type PublicSigningKey = z.infer<typeof PublicSigningKey>;

/** Seals to its holder: X25519 (RFC 7748). */
export const PublicSealingKey = z.strictObject({ kty: z.literal('OKP'), crv: z.literal('X25519'), x: Bytes32 });
export type PublicSealingKey = z.infer<typeof PublicSealingKey>;

export const PrivateSigningKey = PublicSigningKey.extend({ d: Bytes32 });
export type PrivateSigningKey = z.infer<typeof PrivateSigningKey>;

export const PrivateSealingKey = PublicSealingKey.extend({ d: Bytes32 });
export type PrivateSealingKey = z.infer<typeof PrivateSealingKey>;

/** A key's name: its RFC 7638 thumbprint, base64url. */
export const Kid = Bytes32;

/**
 * The RFC 7638 thumbprint of an OKP key: SHA-256 over its required members in lexicographic order.
 * @returns base64url, 43 characters.
 * @see RFC 7638 section 3; RFC 8037 appendix A.3 has the vector our test uses.
 */
export function thumbprint(key: PublicSigningKey | PublicSealingKey): string {
  return createHash('sha256')
    .update(JSON.stringify({ crv: key.crv, kty: key.kty, x: key.x }))
    .digest('base64url');
}

/** A key without its private part, when it has one. */
export function publicPart(key: PublicSigningKey): PublicSigningKey;
export function publicPart(key: PublicSealingKey): PublicSealingKey;
export function publicPart(key: PublicSigningKey | PublicSealingKey): PublicSigningKey | PublicSealingKey {
  return { kty: key.kty, crv: key.crv, x: key.x };
}

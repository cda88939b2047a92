/** What an auditor takes for signed is what was signed: every letter of it. */
import { expect, test } from 'vitest';
import { readStatement, signedBytesOf } from '../../shared/audit/statement.ts';
import { verifyBytes } from '../../shared/identity/ed25519.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { CONSORTIUM, signJson } from '../../shared/identity/signed.ts';

const keys = createSigningKeys();
const key = publicPart(keys.signing);
const typ = 'veilgan-test+jws';

/** Whether an auditor takes it for signed by this key. */
function holds(jws: string): boolean {
  const claimed = readStatement(jws);
  const signed = claimed === null ? 'none' : signedBytesOf(claimed, key, typ);
  return typeof signed !== 'string' && verifyBytes(key, signed.message, signed.signature);
}

test('a statement has one spelling', async () => {
  const jws = await signJson(keys, { epsilon: 1 }, { typ, audience: CONSORTIUM, nowMs: 0 });
  expect(holds(jws)).toBe(true);
  const [header, payload, signature] = jws.split('.');
  const low = String.fromCharCode(0x100 + payload.charCodeAt(0)) + payload.slice(1);
  for (const other of [`${header}.${low}.${signature}`, `${jws}=`, `${jws}.`, `${header}.${payload}=.${signature}`])
    expect(holds(other)).toBe(false);
  // Positive control: the low bytes of its letters are those that were signed.
  expect(verifyBytes(key, Buffer.from(`${header}.${low}`, 'latin1'), Buffer.from(signature, 'base64url'))).toBe(true);
});

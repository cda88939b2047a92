import { createPrivateKey, sign } from 'node:crypto';
import { CompactSign, calculateJwkThumbprint } from 'jose';
import { expect, test } from 'vitest';
import { PrivateSigningKey, publicPart, thumbprint } from '../../shared/identity/jwk.ts';
import { createSiteKeys } from '../../shared/identity/keys.ts';
import { signJson } from '../../shared/identity/signed.ts';

// Source: RFC 8037 appendix A.1, which is the key of RFC 8032 section 7.1 TEST 1.
const RFC_KEY = PrivateSigningKey.parse({
  kty: 'OKP',
  crv: 'Ed25519',
  d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A',
  x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
});

test('RFC 8032 section 7.1 TEST 1: the key pair and the signature of the empty message', () => {
  expect(Buffer.from(RFC_KEY.d, 'base64url').toString('hex')).toBe(
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
  );
  expect(Buffer.from(RFC_KEY.x, 'base64url').toString('hex')).toBe(
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
  );
  const key = createPrivateKey({ key: RFC_KEY, format: 'jwk' });
  expect(sign(null, Buffer.alloc(0), key).toString('hex')).toBe(
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  );
});

test('RFC 8037 appendix A.3: the RFC 7638 thumbprint of that key', () => {
  expect(thumbprint(publicPart(RFC_KEY))).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
  // The private part is no part of the name.
  expect(thumbprint(RFC_KEY)).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
});

test('RFC 8037 appendix A.4: the JWS our library makes with that key', async () => {
  const jws = await new CompactSign(Buffer.from('Example of Ed25519 signing'))
    .setProtectedHeader({ alg: 'EdDSA' })
    .sign(RFC_KEY);
  expect(jws).toBe(
    'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg',
  );
});

test('our thumbprints are those of jose, for both kinds of key', async () => {
  const { signing, sealing } = createSiteKeys();
  expect(thumbprint(signing)).toBe(await calculateJwkThumbprint(publicPart(signing)));
  expect(thumbprint(sealing)).toBe(await calculateJwkThumbprint(publicPart(sealing)));
});

test('a signed message is EdDSA over the RFC 7515 signing input, and the same every time', async () => {
  const keys = { signing: RFC_KEY, kid: thumbprint(RFC_KEY) };
  const make = () => signJson(keys, { a: 1 }, { typ: 't+jws', audience: 'x', nowMs: 1_000 });
  const jws = await make();
  const [header, payload, signature] = jws.split('.');
  const key = createPrivateKey({ key: RFC_KEY, format: 'jwk' });
  expect(sign(null, Buffer.from(`${header}.${payload}`), key).toString('base64url')).toBe(signature);
  expect(await make()).toBe(jws);
});

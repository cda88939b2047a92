import { createHash, createHmac } from 'node:crypto';
import { compactVerify, CompactSign, flattenedVerify } from 'jose';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { PublicSigningKey, publicPart } from '../../shared/identity/jwk.ts';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { publicKeyOf, signBytes, verifyBytes } from '../../shared/identity/ed25519.ts';
import { claimedKid, signDetached, signJson, verifyDetached, verifyJson } from '../../shared/identity/signed.ts';
import { codeOf } from '../support/wire-rig.ts';

const keys = createSigningKeys();
const key = publicPart(keys.signing);
const o = { typ: 'thing+jws', audience: 'north', nowMs: 1_000_000 };
const schema = z.strictObject({ n: z.int() });
const verify = (jws: string, more: Partial<Parameters<typeof verifyJson<{ n: number }>>[2]> = {}, by = key) =>
  verifyJson(jws, by, { typ: o.typ, audience: o.audience, schema, ...more });
const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const payload = { iss: keys.kid, aud: 'north', iat: 1000, body: { n: 1 } };

describe('signed JSON', () => {
  test('comes back as it was signed', async () => {
    expect(await verify(await signJson(keys, { n: 1 }, o))).toEqual({ body: { n: 1 }, iat: 1000 });
  });

  test('jose reads what we write, and we read what jose writes', async () => {
    const read = await compactVerify(await signJson(keys, { n: 1 }, o), publicKeyOf(key), { algorithms: ['EdDSA'] });
    expect(read.protectedHeader).toEqual({ alg: 'EdDSA', typ: o.typ, kid: keys.kid });
    expect(JSON.parse(Buffer.from(read.payload).toString('utf8'))).toEqual(payload);
    const written = await new CompactSign(Buffer.from(JSON.stringify(payload)))
      .setProtectedHeader({ alg: 'EdDSA', typ: o.typ, kid: keys.kid })
      .sign(keys.signing);
    expect(await verify(written)).toEqual({ body: { n: 1 }, iat: 1000 });
    const [header, , signature] = (await signDetached(keys, 'ab', { typ: o.typ, audience: 'north' })).split('.');
    const detached = { protected: header, payload: b64({ aud: 'north', sha256: 'ab' }), signature };
    await flattenedVerify(detached, publicKeyOf(key), { algorithms: ['EdDSA'] });
  });

  test('letters whose low bytes are the signed ones are refused', async () => {
    const [header, whole, signature] = (await signJson(keys, { n: 1 }, o)).split('.');
    const other = String.fromCharCode(0x100 + whole.charCodeAt(0)) + whole.slice(1);
    expect(await codeOf(verify(`${header}.${other}.${signature}`))).toBe('SIGNATURE_INVALID');
    // Positive control: whoever takes the low bytes believes it.
    const low = Buffer.from(`${header}.${other}`, 'latin1');
    expect(verifyBytes(key, low, Buffer.from(signature, 'base64url'))).toBe(true);
  });

  test('a header that holds anything more is refused, and a signature in another spelling', async () => {
    const more = [{ crit: ['exp'], exp: 1 }, { b64: false, crit: ['b64'] }, { jwk: key }, { cty: 'JWT' }];
    for (const extra of more) {
      const header = b64({ alg: 'EdDSA', typ: o.typ, kid: keys.kid, ...extra });
      const signed = signBytes(keys.signing, Buffer.from(`${header}.${b64(payload)}`));
      expect(await codeOf(verify(`${header}.${b64(payload)}.${Buffer.from(signed).toString('base64url')}`))).toBe(
        'SIGNATURE_INVALID',
      );
    }
    const signedUnder = (header: string): string => {
      const signed = signBytes(keys.signing, Buffer.from(`${header}.${b64(payload)}`));
      return `${header}.${b64(payload)}.${Buffer.from(signed).toString('base64url')}`;
    };
    // The same three members in another order are the same header; padded out beyond reason they are none of ours.
    const turned = JSON.stringify({ typ: o.typ, kid: keys.kid, alg: 'EdDSA' });
    expect(await codeOf(verify(signedUnder(Buffer.from(turned).toString('base64url'))))).toBe('no error');
    const long = Buffer.from(turned + ' '.repeat(2000)).toString('base64url');
    expect(await codeOf(verify(signedUnder(long)))).toBe('SIGNATURE_INVALID');
    const jws = await signJson(keys, { n: 1 }, o);
    expect(await codeOf(verify(`${jws}=`))).toBe('SIGNATURE_INVALID');
    // 86 letters hold 516 bits: the last four mean nothing, and have one spelling.
    const other = jws.slice(0, -1) + String.fromCharCode(jws.charCodeAt(jws.length - 1) + 1);
    const signatureOf = (text: string) => Buffer.from(text.split('.')[2], 'base64url');
    expect(signatureOf(other)).toEqual(signatureOf(jws));
    expect(await codeOf(verify(other))).toBe('SIGNATURE_INVALID');
  });

  test('is refused for another purpose, audience, or key', async () => {
    const jws = await signJson(keys, { n: 1 }, o);
    expect(await codeOf(verify(jws, { typ: 'other+jws' }))).toBe('SIGNATURE_INVALID');
    expect(await codeOf(verify(jws, { audience: 'south' }))).toBe('SIGNATURE_INVALID');
    expect(await codeOf(verify(jws, {}, publicPart(createSigningKeys().signing)))).toBe('SIGNATURE_INVALID');
  });

  test('is refused after any change of any of its three parts', async () => {
    const jws = await signJson(keys, { n: 1 }, o);
    for (const part of [0, 1, 2]) {
      const parts = jws.split('.');
      const middle = Math.floor(parts[part].length / 2);
      const letter = parts[part][middle] === 'A' ? 'B' : 'A';
      parts[part] = parts[part].slice(0, middle) + letter + parts[part].slice(middle + 1);
      expect(await codeOf(verify(parts.join('.')))).toBe('SIGNATURE_INVALID');
    }
  });

  test('with a body of another shape is MESSAGE_INVALID, and says where', async () => {
    const jws = await signJson(keys, { n: 'one' }, o);
    await expect(verify(jws)).rejects.toThrow(/MESSAGE_INVALID[\s\S]*at n/);
  });

  test('alg none is refused (RFC 8725 section 2.1)', async () => {
    const header = { alg: 'none', typ: o.typ, kid: keys.kid };
    expect(await codeOf(verify(`${b64(header)}.${b64(payload)}.`))).toBe('SIGNATURE_INVALID');
  });

  test('HS256 with the public key as the secret is refused (RFC 8725 section 2.1)', async () => {
    const input = `${b64({ alg: 'HS256', typ: o.typ, kid: keys.kid })}.${b64(payload)}`;
    for (const secret of [Buffer.from(key.x, 'base64url'), Buffer.from(key.x), Buffer.from(JSON.stringify(key))]) {
      const mac = createHmac('sha256', secret).update(input).digest('base64url');
      expect(await codeOf(verify(`${input}.${mac}`))).toBe('SIGNATURE_INVALID');
    }
  });

  test('a good signature under an algorithm name outside the list is refused', async () => {
    // Ed25519 is jose's other name for the very same signature: the list has one entry, and it is not this one.
    const jws = await new CompactSign(Buffer.from(JSON.stringify(payload)))
      .setProtectedHeader({ alg: 'Ed25519', typ: o.typ, kid: keys.kid })
      .sign(keys.signing);
    expect(await codeOf(verify(jws))).toBe('SIGNATURE_INVALID');
    const control = await new CompactSign(Buffer.from(JSON.stringify(payload)))
      .setProtectedHeader({ alg: 'EdDSA', typ: o.typ, kid: keys.kid })
      .sign(keys.signing);
    expect(await codeOf(verify(control))).toBe('no error');
  });

  test('a message that names another issuer or kid than its key is refused', async () => {
    const other = createSigningKeys().kid;
    const forge = (header: object, body: object) =>
      new CompactSign(Buffer.from(JSON.stringify(body)))
        .setProtectedHeader({ alg: 'EdDSA', typ: o.typ, kid: keys.kid, ...header })
        .sign(keys.signing);
    expect(await codeOf(verify(await forge({ kid: other }, payload)))).toBe('SIGNATURE_INVALID');
    expect(await codeOf(verify(await forge({}, { ...payload, iss: other })))).toBe('SIGNATURE_INVALID');
    expect(await codeOf(verify(await forge({}, { ...payload, extra: 1 })))).toBe('SIGNATURE_INVALID');
  });

  test('what a stranger sends instead of a JWS is refused', async () => {
    for (const text of ['', '.', '..', '...', 'a.b.c', 'null', '\u0000', 'e30.e30.e30'])
      expect(await codeOf(verify(text))).toBe('SIGNATURE_INVALID');
  });

  test('the claimed kid is readable before verification, and null when there is none', async () => {
    expect(claimedKid(await signJson(keys, 1, o))).toBe(keys.kid);
    expect(claimedKid('nonsense')).toBeNull();
    expect(claimedKid(`${b64({ alg: 'EdDSA', kid: 'short' })}..`)).toBeNull();
  });
});

describe('a detached signature', () => {
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');
  const target = { typ: 'update+jws', audience: 'round-1' };

  test('holds for the body it was made for, and carries none of it', async () => {
    const jws = await signDetached(keys, hash('body'), target);
    expect(jws.split('.')[1]).toBe('');
    await verifyDetached(jws, hash('body'), key, target);
  });

  test('is refused for another body, audience, purpose, key, or spelling', async () => {
    const jws = await signDetached(keys, hash('body'), target);
    const [header, , signature] = jws.split('.');
    const other = publicPart(createSigningKeys().signing);
    const full = `${header}.${b64({ aud: target.audience, sha256: hash('body') })}.${signature}`;
    const codes = await Promise.all(
      [
        verifyDetached(jws, hash('other'), key, target),
        verifyDetached(jws, hash('body'), key, { ...target, audience: 'round-2' }),
        verifyDetached(jws, hash('body'), key, { ...target, typ: 'other+jws' }),
        verifyDetached(jws, hash('body'), other, target),
        verifyDetached(`${jws}.`, hash('body'), key, target),
        verifyDetached(full, hash('body'), key, target),
        verifyDetached('', hash('body'), key, target),
      ].map((work) => codeOf(work)),
    );
    expect(new Set(codes)).toEqual(new Set(['SIGNATURE_INVALID']));
  });
});

test('a public key with a private part, another curve, or a second spelling is not accepted', () => {
  expect(PublicSigningKey.safeParse(keys.signing).success).toBe(false);
  expect(PublicSigningKey.safeParse({ ...key, crv: 'X25519' }).success).toBe(false);
  expect(PublicSigningKey.safeParse({ ...key, alg: 'HS256' }).success).toBe(false);
  // The last of 43 characters holds four bits; with its two spare bits set it would decode to the same 32 bytes.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const twin = key.x.slice(0, 42) + alphabet[alphabet.indexOf(key.x[42]) + 1];
  expect(Buffer.from(twin, 'base64url')).toEqual(Buffer.from(key.x, 'base64url'));
  expect(PublicSigningKey.safeParse({ ...key, x: twin }).success).toBe(false);
});

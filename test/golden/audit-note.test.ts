import { createPrivateKey, createPublicKey } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  checkpointText,
  cosignCheckpoint,
  cosigners,
  isCosignature,
  openCheckpoint,
  parseCheckpointText,
  signCheckpoint,
  withCosignatures,
} from '../../shared/audit/checkpoint.ts';
import {
  NOTE_COSIGNATURE,
  NOTE_ED25519,
  cosignNote,
  formatNote,
  noteKeyId,
  parseNote,
  signNote,
  verifierKey,
  verifyCosignature,
  verifyNote,
} from '../../shared/audit/note.ts';
import { FedError } from '../../shared/errors.ts';
import { PrivateSigningKey, type PublicSigningKey, publicPart } from '../../shared/identity/jwk.ts';
import { createSiteKeys } from '../../shared/identity/keys.ts';

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return error instanceof FedError ? error.code : String(error);
  }
  return 'no error';
};

// Source: golang.org/x/mod/sumdb/note, note_test.go and the package's example: key, text and note of "PeterNeumann".
const VKEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
const SKEY = 'AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz';
const TEXT =
  'If you think cryptography is the answer to your problem,\n' + "then you don't know what your problem is.\n";
const LINE =
  '\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n';

/** An RFC 8032 seed as a key: the PKCS#8 of an Ed25519 key is a fixed prefix before its 32 bytes. */
function keyOfSeed(seed: Uint8Array): PrivateSigningKey {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  return PrivateSigningKey.parse(
    createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({ format: 'jwk' }),
  );
}
const peter = keyOfSeed(Buffer.from(SKEY, 'base64').subarray(1));

test('the note of the Go implementation: key id, verifier key, signature, byte for byte', () => {
  expect(noteKeyId('PeterNeumann', NOTE_ED25519, publicPart(peter))).toBe('c74f20a3');
  expect(verifierKey('PeterNeumann', NOTE_ED25519, publicPart(peter))).toBe(VKEY);
  expect(signNote(TEXT, 'PeterNeumann', peter)).toBe(LINE);
  const note = parseNote(formatNote(TEXT, [LINE]));
  expect(note.text).toBe(TEXT);
  expect(verifyNote(TEXT, note.signatures[0], 'PeterNeumann', publicPart(peter))).toBe(true);
  expect(verifyNote(`${TEXT} `, note.signatures[0], 'PeterNeumann', publicPart(peter))).toBe(false);
  expect(verifyNote(TEXT, note.signatures[0], 'Peter', publicPart(peter))).toBe(false);
});

// Source: C2SP tlog-cosignature.md, the example at its head.
const EXAMPLE = `example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
`;

test('the example of tlog-cosignature: lines, key ids, and the time of 1679315147', () => {
  const { text, signatures } = parseNote(EXAMPLE);
  expect(text).toBe('example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n');
  expect(signatures.map((s) => [s.name, s.keyId, s.bytes.length])).toEqual([
    ['example.com/behind-the-sofa', '033de0ae', 64],
    ['witness.example.com/w1', '8d66cf3f', 72],
  ]);
  expect(Buffer.from(signatures[1].bytes.subarray(0, 8)).readBigUInt64BE()).toBe(1679315147n);
  expect(
    formatNote(
      text,
      signatures.map((s) => s.line),
    ),
  ).toBe(EXAMPLE);
});

test('a cosignature signs the header, the time and the text, as the specification spells them', () => {
  const text = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';
  const line = cosignNote(text, 'witness.example.com/w1', peter, 1679315147999);
  const [signature] = parseNote(formatNote(text, [line])).signatures;
  const message = Buffer.from(`cosignature/v1\ntime 1679315147\n${text}`);
  // Verified by node:crypto itself over bytes written out here: nothing of ours is between.
  const object = createPublicKey({ key: publicPart(peter), format: 'jwk' });
  const { verify } = process.getBuiltinModule('node:crypto');
  expect(verify(null, message, object, signature.bytes.subarray(8))).toBe(true);
  expect(verifyCosignature(text, signature, 'witness.example.com/w1', publicPart(peter))).toBe(1679315147);
  expect(signature.keyId).toBe(noteKeyId('witness.example.com/w1', NOTE_COSIGNATURE, publicPart(peter)));
  expect(verifyNote(text, signature, 'witness.example.com/w1', publicPart(peter))).toBe(false);
});

test('what is no note is refused', () => {
  const good = formatNote(TEXT, [LINE]);
  const bad = [
    '',
    TEXT,
    `${TEXT}\n`,
    good.slice(0, -1),
    good.replace('problem,', 'problem\u0007'),
    good.replace('\u2014', '-'),
    good.replace('PeterNeumann x08', 'Peter+Neumann x08'),
    good.replace('PeterNeumann x08', 'x08'),
    good.replace('wJnAM=\n', 'wJnAN=\n'),
    good.replace('wJnAM=\n', 'wJnAM= \n'),
    good + 'x'.repeat(200 * 1024) + '\n',
  ];
  for (const note of bad) expect([note, codeOf(() => parseNote(note))]).toEqual([note, 'LOG_INVALID']);
});

const RUN = '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c';
const head = { size: 7, root: 'ab'.repeat(32) };

test('a checkpoint: signed by the coordinator, cosigned by sites, each counted once', () => {
  const [coordinator, a, b, c] = [peter, ...Array.from({ length: 3 }, () => createSiteKeys().signing)];
  const line = (site: string, key: PrivateSigningKey) => cosignCheckpoint(RUN, head, site, key, 1e12);
  const note = signCheckpoint(RUN, head, coordinator);
  const full = withCosignatures(note, [line('b', b), line('a', a), line('a', a), line('c', a), line('x', c)]);
  const opened = openCheckpoint(full, RUN, publicPart(coordinator));
  expect(opened.head).toEqual(head);
  const keys = new Map<string, PublicSigningKey>([
    ['a', publicPart(a)],
    ['b', publicPart(b)],
    ['c', publicPart(c)],
  ]);
  expect(cosigners(opened.note, keys)).toEqual(['a', 'b']);
  expect(isCosignature(line('a', a), RUN, head, 'a', publicPart(a))).toBe(true);
  expect(isCosignature(line('a', a), RUN, { ...head, size: 8 }, 'a', publicPart(a))).toBe(false);
  expect(isCosignature(line('a', a), RUN, head, 'b', publicPart(a))).toBe(false);
  expect(codeOf(() => openCheckpoint(full, RUN, publicPart(a)))).toBe('SIGNATURE_INVALID');
  expect(codeOf(() => openCheckpoint(full, RUN.replace('6', '7'), publicPart(coordinator)))).toBe('LOG_INVALID');
});

test('a checkpoint has one spelling', () => {
  const text = checkpointText(RUN, head);
  expect(parseCheckpointText(text, RUN)).toEqual(head);
  for (const bad of [
    text.replace('\n7\n', '\n07\n'),
    text.replace('\n7\n', '\n-7\n'),
    text.replace('\n7\n', '\n7e3\n'),
    `${text}extension\n`,
    text.slice(0, -1) + '=\n',
    text.replace('q6urq6', 'q6urq'),
  ])
    expect([bad, codeOf(() => parseCheckpointText(bad, RUN))]).toEqual([bad, 'LOG_INVALID']);
});

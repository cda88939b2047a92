/**
 * Signed notes (C2SP signed-note v1.0.0): a text, a blank line, and lines that say who signed it. Two kinds of
 * signature are made and read here, both Ed25519: type 0x01 over the text, and type 0x04, the timestamped cosignature of
 * a witness (C2SP tlog-cosignature, `cosignature/v1`). Signatures of unknown keys are carried and ignored.
 *
 * A note's bytes hold line breaks, and what a JWS signs holds none, so neither passes for the other under one key.
 */
import { createHash } from 'node:crypto';
import { FedError } from '../errors.ts';
import { rawPublicKey, signBytes, verifyBytes } from '../identity/ed25519.ts';
import type { PrivateSigningKey, PublicSigningKey } from '../identity/jwk.ts';
import { MAX_NOTE_BYTES } from '../protocol/plan.ts';

/** Signature types of the signed-note specification. */
export const NOTE_ED25519 = 0x01;
export const NOTE_COSIGNATURE = 0x04;
type NoteType = typeof NOTE_ED25519 | typeof NOTE_COSIGNATURE;

export interface NoteSignature {
  readonly name: string;
  /** First four bytes of what was signed with, as 8 hexadecimal digits. */
  readonly keyId: string;
  /** What follows the key id: 64 bytes of type 0x01; 8 of time and 64 of type 0x04. */
  readonly bytes: Uint8Array;
  /** The line as it stands in the note, with its line break. */
  readonly line: string;
}
export interface Note {
  /** With its last line break, without the blank line. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** A name that a note can carry: not empty, no space, no plus. */
const NAME = /^[^\s+\p{Z}\p{Cc}]+$/u;
const CONTROL = /[\u0000-\u0009\u000b-\u001f]/;
const DASH = '\u2014';
const invalid = (why: string): FedError => new FedError('LOG_INVALID', `note: ${why}`);

/** SHA-256(name ‖ 0x0A ‖ type ‖ key)[:4], hexadecimal. */
export const noteKeyId = (name: string, type: NoteType, key: PublicSigningKey): string =>
  createHash('sha256')
    .update(`${name}\n`)
    .update(Uint8Array.of(type))
    .update(rawPublicKey(key))
    .digest('hex')
    .slice(0, 8);

/** The verifier key of the specification's tools: `name+id+base64(type ‖ key)`. */
export const verifierKey = (name: string, type: NoteType, key: PublicSigningKey): string =>
  `${name}+${noteKeyId(name, type, key)}+${Buffer.concat([Uint8Array.of(type), rawPublicKey(key)]).toString('base64')}`;

/** Canonical standard base64, or nothing: one value has one spelling. */
export function fromBase64(text: string): Uint8Array | null {
  const bytes = Buffer.from(text, 'base64');
  return text !== '' && bytes.toString('base64') === text ? bytes : null;
}

/** @throws {FedError} LOG_INVALID when this is no signed note. */
export function parseNote(note: string): Note {
  if (Buffer.byteLength(note) > MAX_NOTE_BYTES) throw invalid(`has more than ${MAX_NOTE_BYTES} bytes`);
  if (CONTROL.test(note) || !note.isWellFormed()) throw invalid('holds a control character');
  const split = note.lastIndexOf('\n\n');
  if (split < 0 || !note.endsWith('\n')) throw invalid('has no signatures');
  const lines = note.slice(split + 2, -1).split('\n');
  return { text: note.slice(0, split + 1), signatures: lines.map(parseSignatureLine) };
}

/** One line below the blank one. @throws {FedError} LOG_INVALID */
export function parseSignatureLine(line: string): NoteSignature {
  const [dash, name, base64, ...rest] = line.split(' ');
  const bytes = fromBase64(base64 ?? '');
  if (dash !== DASH || name === undefined || !NAME.test(name) || rest.length > 0 || bytes === null || bytes.length < 5)
    throw invalid('a signature line is malformed');
  const keyId = Buffer.from(bytes.subarray(0, 4)).toString('hex');
  return { name, keyId, bytes: bytes.subarray(4), line: `${line}\n` };
}

const lineOf = (name: string, keyId: string, bytes: Uint8Array): string =>
  `${DASH} ${name} ${Buffer.concat([Buffer.from(keyId, 'hex'), bytes]).toString('base64')}\n`;

/** Puts text and signature lines together. */
export const formatNote = (text: string, lines: readonly string[]): string => `${text}\n${lines.join('')}`;

/** Signs a text. @param name - whose signature it is. @returns a signature line. */
export function signNote(text: string, name: string, key: PrivateSigningKey): string {
  if (!NAME.test(name) || !text.endsWith('\n') || CONTROL.test(text))
    throw new FedError('PARAMETER_INVALID', 'no note');
  return lineOf(name, noteKeyId(name, NOTE_ED25519, key), signBytes(key, Buffer.from(text)));
}

/** Whether this signature is of this key under this name, and holds. */
export const verifyNote = (text: string, s: NoteSignature, name: string, key: PublicSigningKey): boolean =>
  s.name === name && s.keyId === noteKeyId(name, NOTE_ED25519, key) && verifyBytes(key, Buffer.from(text), s.bytes);

/** What a witness signs: a header, its time, and the note's text. */
const cosignedMessage = (text: string, seconds: bigint): Uint8Array =>
  Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`);

/** Cosigns a checkpoint's text. @returns a signature line. */
export function cosignNote(text: string, name: string, key: PrivateSigningKey, nowMs: number): string {
  if (!NAME.test(name)) throw new FedError('PARAMETER_INVALID', 'no name for a note');
  const seconds = BigInt(Math.floor(nowMs / 1000));
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(seconds);
  const signature = signBytes(key, cosignedMessage(text, seconds));
  return lineOf(name, noteKeyId(name, NOTE_COSIGNATURE, key), Buffer.concat([time, signature]));
}

/** What has to hold of a line for it to be this witness' cosignature: its time, and what the key has to have signed. */
export function cosignatureClaim(text: string, s: NoteSignature, name: string, key: PublicSigningKey) {
  if (s.name !== name || s.bytes.length !== 72 || s.keyId !== noteKeyId(name, NOTE_COSIGNATURE, key)) return null;
  const seconds = Buffer.from(s.bytes.subarray(0, 8)).readBigUInt64BE();
  return { seconds: Number(seconds), message: cosignedMessage(text, seconds), signature: s.bytes.subarray(8) };
}

/** @returns the witness' time in seconds since 1970; null when the signature is not of this key, or does not hold. */
export function verifyCosignature(text: string, s: NoteSignature, name: string, key: PublicSigningKey): number | null {
  const claim = cosignatureClaim(text, s, name, key);
  return claim !== null && verifyBytes(key, claim.message, claim.signature) ? claim.seconds : null;
}

import { generateKeyPairSync } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { FedError } from '../errors.ts';
import {
  PrivateSealingKey,
  PrivateSigningKey,
  type PublicSealingKey,
  type PublicSigningKey,
  publicPart,
  thumbprint,
} from './jwk.ts';

/**
 * The keys a party holds. They are made where they are used and never travel: a site sends only `publicKeys`.
 * Not a hardware key store: whoever can read the file is the site.
 */
export interface SigningKeys {
  readonly signing: PrivateSigningKey;
  /** Thumbprint of the signing key: the party's name in every signature. */
  readonly kid: string;
}
export interface SiteKeys extends SigningKeys {
  readonly sealing: PrivateSealingKey;
}
export interface PublicKeys {
  readonly signing: PublicSigningKey;
  readonly sealing: PublicSealingKey;
}

const SigningFile = z.strictObject({ version: z.literal(1), signing: PrivateSigningKey });
const SiteFile = SigningFile.extend({ sealing: PrivateSealingKey });

/** A fresh Ed25519 key from the operating system's generator. */
export function createSigningKeys(): SigningKeys {
  const signing = PrivateSigningKey.parse(generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }));
  return { signing, kid: thumbprint(signing) };
}

/** Fresh keys of a site: one to sign with, one that others seal to. */
export function createSiteKeys(): SiteKeys {
  const sealing = PrivateSealingKey.parse(generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' }));
  return { ...createSigningKeys(), sealing };
}

export const publicKeys = (keys: SiteKeys): PublicKeys => ({
  signing: publicPart(keys.signing),
  sealing: publicPart(keys.sealing),
});

/**
 * Reads the site's keys, or makes them on the first start.
 *
 * Guarantee: the file is complete and durable, with mode 0600, before this returns; two processes that start at once
 * end with the same keys.
 * @throws {FedError} KEYS_EXPOSED when others can read the file; STORE_CORRUPT when it is no key file.
 */
export function loadOrCreateSiteKeys(path: string): SiteKeys {
  const { signing, sealing } = loadOrCreate(path, SiteFile, () => {
    const keys = createSiteKeys();
    return { version: 1, signing: keys.signing, sealing: keys.sealing };
  });
  return { signing, sealing, kid: thumbprint(signing) };
}

/** The same for a party that only signs: the coordinator. */
export function loadOrCreateSigningKeys(path: string): SigningKeys {
  const { signing } = loadOrCreate(path, SigningFile, () => ({ version: 1, signing: createSigningKeys().signing }));
  return { signing, kid: thumbprint(signing) };
}

function loadOrCreate<T>(path: string, schema: z.ZodType<T>, create: () => T): T {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return read(path, schema) ?? (write(path, create()), read(path, schema)!);
}

function read<T>(path: string, schema: z.ZodType<T>): T | null {
  const mode = statSync(path, { throwIfNoEntry: false })?.mode;
  if (mode === undefined) return null;
  // Windows has no such bits and always reports them open.
  if (process.platform !== 'win32' && (mode & 0o077) !== 0)
    throw new FedError('KEYS_EXPOSED', `${path} has mode ${(mode & 0o777).toString(8)}; make it 600`);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // The parser's message would quote the file, which holds a private key.
    throw new FedError('STORE_CORRUPT', `${path} is not JSON`);
  }
  const { data } = schema.safeParse(json);
  if (data === undefined) throw new FedError('STORE_CORRUPT', `${path} is not a key file`);
  return data;
}

/** Written aside and linked into place: `link` fails when another process was first, and then its file stands. */
function write(path: string, content: unknown): void {
  const aside = `${path}.${process.pid}.new`;
  const fd = openSync(aside, 'w', 0o600);
  try {
    writeSync(fd, `${JSON.stringify(content)}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  try {
    linkSync(aside, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    unlinkSync(aside);
  }
  const dir = openSync(dirname(path), 'r');
  try {
    fsyncSync(dir);
  } finally {
    closeSync(dir);
  }
}

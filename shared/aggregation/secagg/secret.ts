/** What a site keeps between phases: private keys, seeds, the shares it holds. Lives in its outbox and never leaves. */
import { z } from 'zod';
import { FedError } from '../../errors.ts';
import { bytesOf, KeysBody, textOf } from './messages.ts';

export interface Secret {
  /** Private key that shares are sealed with. */
  readonly sealing: Uint8Array;
  /** Private keys that masks are agreed with, one a step. */
  readonly masking: readonly Uint8Array[];
  /** Seeds of the site's own masks, one a step. */
  readonly seeds: readonly Uint8Array[];
  /** What was advertised. */
  readonly own: KeysBody;
  /** Verified keys of its neighbours. */
  readonly peers: ReadonlyMap<string, KeysBody>;
  /** Whose shares it holds; of each step 32 bytes of the seed, then 32 of the masking key. */
  readonly held: ReadonlyMap<string, Uint8Array>;
  /** Who masks in the step that is under way. */
  readonly sites: readonly string[];
  /** How far it has come in that step; null before its first upload. */
  readonly progress: Progress | null;
}

/** What a site has said in one step. Each is said once. */
export interface Progress {
  readonly step: number;
  /** The list of survivors it signed for agreement; null before, and where nothing had to be agreed on. */
  readonly agreed: readonly string[] | null;
  /** Whether it has revealed its shares. */
  readonly revealed: boolean;
}

const Key = z.string().transform(bytesOf);
const Stored = z.strictObject({
  sealing: Key,
  masking: z.array(Key),
  seeds: z.array(Key),
  own: KeysBody,
  peers: z.record(z.string(), KeysBody),
  held: z.record(z.string(), Key),
  sites: z.array(z.string()),
  progress: z
    .strictObject({ step: z.int().min(0), agreed: z.array(z.string()).nullable(), revealed: z.boolean() })
    .nullable(),
});

export const encodeSecret = (s: Secret): Uint8Array =>
  Buffer.from(
    JSON.stringify({
      sealing: textOf(s.sealing),
      masking: s.masking.map(textOf),
      seeds: s.seeds.map(textOf),
      own: s.own,
      peers: Object.fromEntries(s.peers),
      held: Object.fromEntries([...s.held].map(([id, bytes]) => [id, textOf(bytes)])),
      sites: s.sites,
      progress: s.progress,
    }),
  );

/** @throws {FedError} STORE_CORRUPT when the outbox has no such secret. */
export function decodeSecret(bytes: Uint8Array | null): Secret {
  try {
    const { peers, held, ...rest } = Stored.parse(JSON.parse(Buffer.from(bytes ?? []).toString()));
    return { ...rest, peers: new Map(Object.entries(peers)), held: new Map(Object.entries(held)) };
  } catch {
    // The parser's message would quote what is secret.
    throw new FedError('STORE_CORRUPT', 'what this site kept from the phase before is not there');
  }
}

/**
 * The secret as it was written last, read already: it is asked for in the next phase, and holds keys for every step. The
 * bytes decide: any others are read anew.
 */
export class SecretMemory {
  #last: { readonly bytes: Uint8Array; readonly secret: Secret } | null = null;

  /** @throws {FedError} STORE_CORRUPT as `decodeSecret`. */
  read(bytes: Uint8Array | null): Secret {
    return this.recent(bytes) ?? decodeSecret(bytes);
  }
  /** Null where it would have to be read. */
  recent(bytes: Uint8Array | null): Secret | null {
    const last = this.#last;
    return last !== null && bytes !== null && Buffer.compare(last.bytes, bytes) === 0 ? last.secret : null;
  }
  write(secret: Secret): Uint8Array {
    const bytes = encodeSecret(secret);
    this.#last = { bytes, secret };
    return bytes;
  }
  /** Nothing of it will be asked for again. */
  forget(): void {
    this.#last = null;
  }
}

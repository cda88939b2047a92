/** Reads an exported audit folder. Nothing in it is believed: every file is parsed strictly, and missing ones are named. */
import { createReadStream, existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { LogDraft, LogEntry } from '../../shared/audit/entry.ts';
import { headOf } from '../../shared/audit/log.ts';
import { EMPTY_FRONTIER, appendLeaf } from '../../shared/audit/merkle.ts';
import {
  About,
  CheckpointLine,
  FILES,
  KeysFile,
  ProofLine,
  wrongInKeys,
} from '../../shared/audit/verify/folder-format.ts';
import { FedError } from '../../shared/errors.ts';
import { type CheckedPolicy, loadPolicyText } from '../../shared/policy/load.ts';
import { SCHEMES } from '../../shared/policy/schema.ts';
import { ReleaseManifest } from '../../shared/release/manifest.ts';
import { parseJson } from '../options.ts';

/** Longest line of a log that is read, in bytes: a plan with a thousand sites and their cosignatures in it. */
const MAX_LINE = 1024 * 1024;

export class AuditFolder {
  readonly #dir: string;
  /** @throws {FedError} PARAMETER_INVALID when this is no such folder. */
  constructor(dir: string) {
    this.#dir = dir;
    if (!existsSync(join(dir, FILES.log)))
      throw new FedError('PARAMETER_INVALID', `${dir} is no audit folder: veilgan audit export makes one`);
  }

  #text(name: string): string | null {
    const path = join(this.#dir, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : null;
  }
  #bytes(name: string): Uint8Array | null {
    const path = join(this.#dir, name);
    return existsSync(path) ? readFileSync(path) : null;
  }
  #lines<T>(name: string, schema: z.ZodType<T>): T[] {
    const text = this.#text(name);
    if (text === null) return [];
    return text
      .split('\n')
      .slice(0, -1)
      .map((line, i) => parseJson(line, schema, `${name} line ${i + 1}`, 'LOG_INVALID'));
  }

  about(): About | null {
    const text = this.#text(FILES.about);
    return text === null ? null : parseJson(text, About, FILES.about, 'LOG_INVALID');
  }

  /** Keys as the folder has them: good for reading, not for trusting. @throws {FedError} LOG_INVALID */
  keys(): KeysFile {
    const text = this.#text(FILES.keys);
    if (text === null) throw new FedError('LOG_INVALID', `${FILES.keys} is missing: name the keys with --keys`);
    return readKeys(text, FILES.keys);
  }

  /** @throws {FedError} LOG_INVALID */
  checkpoints(): CheckpointLine[] {
    return this.#lines(FILES.checkpoints, CheckpointLine).sort((a, b) => a.size - b.size);
  }
  /** @throws {FedError} LOG_INVALID */
  proofs(): ProofLine[] {
    return this.#lines(FILES.proofs, ProofLine);
  }
  leaves(): Uint8Array | null {
    return this.#bytes(FILES.leaves);
  }
  /** Root of the tree of the first leaves; null when there are not so many. */
  rootAt(size: number): string | null {
    const leaves = this.leaves();
    if (leaves === null || 32 * size > leaves.length) return null;
    let frontier = EMPTY_FRONTIER;
    for (let i = 0; i < size; i++) ({ frontier } = appendLeaf(frontier, leaves.subarray(32 * i, 32 * i + 32)));
    return headOf(frontier).root;
  }
  roster(): string | null {
    return this.#text(FILES.roster)?.trim() ?? null;
  }

  /** The policy under this hash; null when it is absent or this version cannot read it. */
  policy(sha256: string): CheckedPolicy | null {
    const text = this.#text(join(FILES.policies, `${sha256}.json`));
    if (text === null) return null;
    try {
      return loadPolicyText(text, { availableSchemes: SCHEMES });
    } catch (error) {
      if (error instanceof FedError) return null;
      throw error;
    }
  }

  /** A release's manifest; null when it is absent. @throws {FedError} LOG_INVALID */
  manifest(sha256: string): ReleaseManifest | null {
    const name = join(FILES.releases, `${sha256}.json`);
    const text = this.#text(name);
    return text === null ? null : parseJson(text, ReleaseManifest, name, 'LOG_INVALID');
  }

  anchor(): { round: number; bytes: Uint8Array } | null {
    const dir = join(this.#dir, FILES.sums);
    const name = existsSync(dir) ? readdirSync(dir).find((f) => /^anchor-\d+\.bin$/.test(f)) : undefined;
    return name === undefined ? null : { round: Number(name.slice(7, -4)), bytes: readFileSync(join(dir, name)) };
  }
  /** The sum of a round; null when it is absent or no list of float64. */
  sum(round: number): Float64Array | null {
    const bytes = this.#bytes(join(FILES.sums, `${round}.f64`));
    if (bytes === null || bytes.length % 8 !== 0) return null;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return Float64Array.from({ length: bytes.length / 8 }, (_, i) => view.getFloat64(8 * i, true));
  }

  /** The log's lines, byte for byte. @throws {FedError} LOG_INVALID for what is no UTF-8, too long, or has no line break. */
  async *log(): AsyncGenerator<string> {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of createReadStream(join(this.#dir, FILES.log), { highWaterMark: 1 << 18 })) {
      const bytes: Buffer = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
      const end = bytes.lastIndexOf(10) + 1;
      yield* linesOf(decoder, bytes.subarray(0, end));
      rest = bytes.subarray(end);
      if (rest.length > MAX_LINE) throw new FedError('LOG_INVALID', `a line has more than ${MAX_LINE} bytes`);
    }
    if (rest.length > 0) throw new FedError('LOG_INVALID', 'the last line has no line break');
  }

  /** Entries of one kind, those that can be read; nothing is checked. @throws {FedError} as `log` */
  async *entriesOf<K extends LogDraft['kind']>(kind: K): AsyncGenerator<EntryOf<K>> {
    for await (const line of this.log()) {
      if (!line.includes(`"${kind}"`)) continue;
      const { data: entry } = LogEntry.safeParse(jsonOrNull(line));
      const { data: draft } = LogDraft.safeParse(entry && { kind: entry.kind, body: entry.body });
      if (entry === undefined || draft === undefined || !isOf(draft, kind)) continue;
      yield Object.assign(draft, { index: entry.index, timeMs: entry.timeMs });
    }
  }
}

type Draft<K extends LogDraft['kind']> = Extract<LogDraft, { kind: K }>;
type EntryOf<K extends LogDraft['kind']> = Draft<K> & Pick<LogEntry, 'index' | 'timeMs'>;
const isOf = <K extends LogDraft['kind']>(draft: LogDraft, kind: K): draft is Draft<K> => draft.kind === kind;

function jsonOrNull(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

/** Whole lines, all at once where they are UTF-8; else one by one, up to the one that is not. */
function* linesOf(decoder: TextDecoder, bytes: Buffer): Generator<string> {
  const text = textOf(decoder, bytes);
  if (text !== null) return yield* text.split('\n').slice(0, -1);
  let from = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
    const line = textOf(decoder, bytes.subarray(from, at));
    if (line === null) throw new FedError('LOG_INVALID', 'the line is not UTF-8');
    yield line;
    from = at + 1;
  }
}

function textOf(decoder: TextDecoder, bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** Keys of a consortium, from a file. @throws {FedError} LOG_INVALID */
export function readKeys(text: string, name: string): KeysFile {
  const keys = parseJson(text, KeysFile, name, 'LOG_INVALID');
  const wrong = wrongInKeys(keys);
  if (wrong !== null) throw new FedError('LOG_INVALID', `${name}: ${wrong}`);
  return keys;
}

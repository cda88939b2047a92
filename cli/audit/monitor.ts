/**
 * `audit monitor`: one more witness, which takes no part in any round. It follows a live coordinator's log, sees that
 * every checkpoint continues the last one, keeps its own copy of every entry, and cosigns. Its folder is an audit folder
 * like an exported one, so the copy can be verified; a fork leaves both checkpoints there as evidence.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { checkpointText, openCheckpoint, originOf, withCosignatures } from '../../shared/audit/checkpoint.ts';
import { LogEntry } from '../../shared/audit/entry.ts';
import { entryLeaf, hashOfBase64 } from '../../shared/audit/log.ts';
import { NOTE_ED25519, cosignNote, verifierKey } from '../../shared/audit/note.ts';
import { FILES } from '../../shared/audit/verify/folder-format.ts';
import type { KeysFile } from '../../shared/audit/verify/folder-format.ts';
import {
  EMPTY_MEMORY,
  WitnessMemory,
  arrive,
  beginFollowing,
  checkConsistent,
  checkNotBack,
  followEntry,
} from '../../shared/audit/witness.ts';
import { FedError } from '../../shared/errors.ts';
import { type PublicSigningKey, thumbprint } from '../../shared/identity/jwk.ts';
import { type SigningKeys, loadOrCreateSigningKeys } from '../../shared/identity/keys.ts';
import { SOFTWARE } from '../../shared/software.ts';
import { parseJson } from '../options.ts';
import { writeWhole } from '../output.ts';

/** Where the log comes from. Each call is one request; nothing of it is believed. */
export interface LogClient {
  /** The newest checkpoint; null when there is none yet. */
  checkpoint(): Promise<string | null>;
  /** Lines of entries from an index on. */
  entries(from: number): Promise<string[]>;
  /** Base64 hashes. */
  proof(from: number, to: number): Promise<string[]>;
}

/** The name of a monitor's cosignatures. */
export const monitorName = (keys: SigningKeys): string => `veilgan/monitor/${keys.kid}`;

export class Monitor {
  readonly #dir: string;
  readonly #runId: string;
  readonly #coordinator: PublicSigningKey;
  readonly #keys: SigningKeys;
  readonly #nowMs: () => number;
  #memory: WitnessMemory;

  /** Goes on from what the folder holds. */
  constructor(o: { dir: string; runId: string; coordinator: PublicSigningKey; nowMs: () => number }) {
    this.#dir = o.dir;
    this.#runId = o.runId;
    this.#coordinator = o.coordinator;
    this.#nowMs = o.nowMs;
    mkdirSync(o.dir, { recursive: true, mode: 0o700 });
    this.#keys = loadOrCreateSigningKeys(this.#path('monitor-key.json'));
    const state = this.#path('monitor.json');
    this.#memory = existsSync(state)
      ? parseJson(readFileSync(state, 'utf8'), WitnessMemory, state, 'STORE_CORRUPT')
      : EMPTY_MEMORY;
  }

  get size(): number {
    return this.#memory.head.size;
  }
  get kid(): string {
    return this.#keys.kid;
  }
  #path(name: string): string {
    return join(this.#dir, name);
  }

  /**
   * Looks once.
   * @returns how many entries are new; null when there is no checkpoint yet.
   * @throws {FedError} LOG_FORKED, LOG_REWOUND, LOG_INVALID, SIGNATURE_INVALID, with the evidence in the folder.
   */
  async look(client: LogClient): Promise<number | null> {
    const note = await client.checkpoint();
    if (note === null) return null;
    try {
      return await this.#follow(client, note);
    } catch (error) {
      if (error instanceof FedError && error.code !== 'LINK_LOST') this.#keepEvidence(note, error);
      throw error;
    }
  }

  async #follow(client: LogClient, note: string): Promise<number> {
    const before = this.#memory;
    const { head } = openCheckpoint(note, this.#runId, this.#coordinator);
    checkNotBack(before.head, head);
    if (head.size === before.head.size) return 0;
    checkConsistent(before.head, head, (await client.proof(before.head.size, head.size)).map(hashOfBase64));
    let at = beginFollowing(before);
    const lines: string[] = [];
    while (at.frontier.size < head.size) {
      const page = (await client.entries(at.frontier.size)).slice(0, head.size - at.frontier.size);
      if (page.length === 0) throw new FedError('LOG_INVALID', `the log ends at ${at.frontier.size} of ${head.size}`);
      for (const line of page) {
        const entry = parseJson(line, LogEntry, `entry ${at.frontier.size}`, 'LOG_INVALID');
        if (canonicalJson(entry) !== line) throw new FedError('LOG_INVALID', `entry ${entry.index} is not canonical`);
        at = followEntry(at, entry);
        lines.push(line);
      }
    }
    this.#keep(arrive(at, head), lines, note);
    return lines.length;
  }

  /** Copy first, then what was checked, then the cosignature: a kill in between leaves lines that are cut off again. */
  #keep(memory: WitnessMemory, lines: readonly string[], note: string): void {
    const known = this.#memory.head.size;
    this.#truncate(known);
    appendFileSync(this.#path(FILES.log), lines.map((line) => `${line}\n`).join(''));
    const leaves = lines.map((line) => entryLeaf(LogEntry.parse(JSON.parse(line))));
    appendFileSync(this.#path(FILES.leaves), Buffer.concat(leaves));
    writeWhole(this.#path('monitor.json'), JSON.stringify(memory));
    this.#memory = memory;
    const text = checkpointText(this.#runId, memory.head);
    const own = cosignNote(text, monitorName(this.#keys), this.#keys.signing, this.#nowMs());
    const cosigned = withCosignatures(note, [own]);
    appendFileSync(this.#path(FILES.checkpoints), `${canonicalJson({ size: memory.head.size, note: cosigned })}\n`);
    writeWhole(this.#path(FILES.checkpoint), cosigned);
    this.#describe();
  }

  /** Lines beyond what was checked came before a kill. */
  #truncate(size: number): void {
    if (size === 0) {
      for (const name of [FILES.log, FILES.leaves]) writeFileSync(this.#path(name), '');
      return;
    }
    const lines = readFileSync(this.#path(FILES.log), 'utf8').split('\n').slice(0, size);
    const leaves = readFileSync(this.#path(FILES.leaves));
    if (leaves.length === 32 * size) return;
    writeFileSync(this.#path(FILES.log), lines.map((line) => `${line}\n`).join(''));
    writeFileSync(this.#path(FILES.leaves), leaves.subarray(0, 32 * size));
  }

  /** What makes the folder one that `audit verify` reads. */
  #describe(): void {
    const key = this.#coordinator;
    const sites = Object.entries(this.#memory.keys).map(([siteId, own]) => ({
      siteId,
      kid: thumbprint(own),
      key: own,
    }));
    const verifier = verifierKey(originOf(this.#runId), NOTE_ED25519, key);
    const keys: KeysFile = { coordinator: { kid: thumbprint(key), key, verifier }, sites };
    writeWhole(this.#path(FILES.keys), `${JSON.stringify(keys, null, 2)}\n`);
    const about = { format: 'veilgan-audit/1', runId: this.#runId, entries: this.size, software: SOFTWARE };
    writeWhole(this.#path(FILES.about), `${JSON.stringify(about, null, 2)}\n`);
  }

  #keepEvidence(note: string, error: FedError): void {
    const known = existsSync(this.#path(FILES.checkpoint)) ? readFileSync(this.#path(FILES.checkpoint), 'utf8') : null;
    const evidence = { code: error.code, detail: error.message, timeMs: this.#nowMs(), known, shown: note };
    appendFileSync(this.#path('evidence.jsonl'), `${canonicalJson(evidence)}\n`);
  }
}

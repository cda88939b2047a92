/**
 * The patients whom a site leaves out from now on: a list of its own, beside its ledger, that never leaves the site. Entries
 * are chained by hash, like the ledger's; nothing is taken off the list, a patient who comes back is one more entry.
 *
 * No entry of it, nor of the ledger, comes into the consortium's log: that somebody withdrew is a fact about one patient, which
 * neither the coordinator nor the other sites may learn. The log has a commitment to where the list stands. Not audited.
 */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { hashJson } from '../../shared/audit/canonical.ts';
import { type Chain, EMPTY_CHAIN } from '../../shared/audit/chain.ts';
import { FedError } from '../../shared/errors.ts';
import { Sha256Hex } from '../../shared/protocol/plan.ts';
import { patientIdHash } from '../imaging/dicom/identity.ts';
import type { LeftOut } from '../imaging/private-images.ts';

/** `consent`: the patient, or somebody for the patient, wants it. `other-site`: another site of the run holds the patient too. */
export const WITHDRAWAL_REASONS = ['consent', 'other-site'] as const;
export type WithdrawalReason = (typeof WITHDRAWAL_REASONS)[number];

const Entry = z.strictObject({
  index: z.int().min(0),
  timeMs: z.int().min(0),
  what: z.enum(['withdrawn', 'restored']),
  /** As the data name the patient: the column of a CSV, the folder, the id in a DICOM header. */
  patient: z.string().min(1),
  /** Who issued a DICOM id, where the header says so. */
  issuer: z.string(),
  reason: z.enum(WITHDRAWAL_REASONS),
  previous: Sha256Hex,
  hash: Sha256Hex,
});
export type WithdrawalEntry = z.infer<typeof Entry>;
type Entry = WithdrawalEntry;
const File = z.strictObject({ version: z.literal(1), entries: z.array(Entry) });

/** Entries of a list as a chain of hashes. */
export const chainOf = (entries: readonly WithdrawalEntry[]): Chain => ({
  size: entries.length,
  hashAt: (index) => entries[index]?.hash ?? null,
});

/** Where the list of a ledger lies: it goes with the ledger from run to run. */
export const withdrawalsPath = (ledger: string): string => `${ledger}.withdrawn.json`;

export class Withdrawals implements LeftOut {
  readonly #path: string;
  readonly #patientKey: Uint8Array | null;
  #stamp = '';
  #version = 0;
  #entries: readonly Entry[] = [];
  #names: ReadonlySet<string> = new Set();

  /**
   * @param patientKey - what this site's DICOM ids are hashed with; null where it reads none.
   * @throws {FedError} STORE_CORRUPT when the chain does not hold.
   */
  constructor(path: string, patientKey: Uint8Array | null) {
    this.#path = path;
    this.#patientKey = patientKey;
    this.#catchUp();
  }

  /** Changes with the file, whoever writes it: a command beside an agent that runs. */
  get version(): number {
    this.#catchUp();
    return this.#version;
  }

  has(patient: string): boolean {
    return this.#names.has(patient);
  }

  /** The list as it is now, as a chain that does not change under the reader. Private: only a commitment to its head leaves the site. */
  get chain(): Chain {
    return chainOf(this.entries);
  }

  /** All of it, in order. Private. */
  get entries(): readonly WithdrawalEntry[] {
    this.#catchUp();
    return this.#entries;
  }

  /** How many are out now. Private. */
  get count(): number {
    return this.#out().length;
  }

  /**
   * Takes a patient out, or back in.
   *
   * Guarantee: durable when it returns.
   * @returns false when nothing changed.
   */
  note(p: Pick<Entry, 'patient' | 'issuer' | 'reason' | 'what'>, timeMs: number): boolean {
    this.#catchUp();
    const isOut = this.#out().some((e) => e.patient === p.patient && e.issuer === p.issuer);
    if (isOut === (p.what === 'withdrawn')) return false;
    const previous = this.#entries.at(-1)?.hash ?? EMPTY_CHAIN.head;
    const unsealed = { index: this.#entries.length, timeMs, ...p, previous };
    const entries = [...this.#entries, Entry.parse({ ...unsealed, hash: hashJson(unsealed) })];
    replaceFile(this.#path, `${JSON.stringify({ version: 1, entries }, null, 2)}\n`);
    this.#catchUp();
    return true;
  }

  #out(): Entry[] {
    const last = new Map(this.#entries.map((e) => [JSON.stringify([e.patient, e.issuer]), e]));
    return [...last.values()].filter((e) => e.what === 'withdrawn');
  }

  #catchUp(): void {
    const stamp = stampOf(this.#path);
    if (stamp === this.#stamp) return;
    this.#entries = stamp === '' ? [] : readEntries(this.#path);
    this.#stamp = stamp;
    this.#version += 1;
    const key = this.#patientKey;
    this.#names = new Set(
      this.#out().flatMap(({ patient, issuer }) => [
        patient,
        // A DICOM value of odd length is padded with a space.
        ...(key === null
          ? []
          : [issuer, `${issuer} `].map((i) => patientIdHash(patient, Buffer.from(i, 'latin1'), key))),
      ]),
    );
  }
}

/** Another file, or the same one changed: it is replaced whole, so that its inode changes. */
function stampOf(path: string): string {
  if (!existsSync(path)) return '';
  const { ino, mtimeMs, size } = statSync(path);
  return `${ino} ${mtimeMs} ${size}`;
}

function readEntries(path: string): Entry[] {
  const refuse = (why: string): never => {
    throw new FedError('STORE_CORRUPT', `${path}: ${why}`);
  };
  let value: unknown = null;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    refuse('it is not JSON');
  }
  const { data } = File.safeParse(value);
  if (data === undefined) return refuse('it is no list of withdrawals');
  let previous = EMPTY_CHAIN.head;
  for (const [i, { hash, ...rest }] of data.entries.entries()) {
    if (rest.index !== i || rest.previous !== previous || hashJson(rest) !== hash)
      refuse(`entry ${i} does not fit the chain`);
    previous = hash;
  }
  return data.entries;
}

/** Whole or not at all, for its owner alone. */
function replaceFile(path: string, text: string): void {
  const fresh = `${path}.new`;
  const file = openSync(fresh, 'w', 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(fresh, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

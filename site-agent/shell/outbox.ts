/**
 * What a site has made and may have to send again: its discriminator after every step, its update of a round, and every
 * answer as it was first given. Durable before the first byte leaves; sent again as stored, never made again.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { z } from 'zod';
import { EMPTY_LOG } from '../../shared/audit/log.ts';
import { ChainHead } from '../../shared/audit/chain.ts';
import { WitnessMemory, checkNotBack } from '../../shared/audit/witness.ts';
import { FedError } from '../../shared/errors.ts';
import type { RosterSeen } from '../../shared/identity/roster.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { FakesReport } from '../../shared/protocol/round-messages.ts';
import type { GivenAnswer } from '../core/session.ts';

const SCHEMA = `
CREATE TABLE IF NOT EXISTS witnessed (run TEXT PRIMARY KEY, memory TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS stated (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER, head TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS stated_left_out
  (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER, head TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS adopted (run TEXT PRIMARY KEY, software TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS roster (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER, digest TEXT, text TEXT) STRICT;
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS gate (run TEXT PRIMARY KEY, candidate TEXT NOT NULL, answer TEXT, epsilon TEXT) STRICT;
CREATE TABLE IF NOT EXISTS plans
  (run TEXT, round INTEGER, attempt INTEGER, plan TEXT NOT NULL, PRIMARY KEY (run, round, attempt)) STRICT;
CREATE TABLE IF NOT EXISTS discriminators
  (run TEXT PRIMARY KEY, round INTEGER, take INTEGER, steps INTEGER, total INTEGER, state BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS updates
  (run TEXT, round INTEGER, take INTEGER, bytes BLOB NOT NULL, fakes TEXT, PRIMARY KEY (run, round, take)) STRICT;
CREATE TABLE IF NOT EXISTS answers
  (run TEXT, round INTEGER, attempt INTEGER, phase INTEGER, take INTEGER, body TEXT NOT NULL, digest TEXT, secret BLOB,
   fakes TEXT, signature TEXT NOT NULL, epsilon TEXT, refused TEXT, tensor BLOB, PRIMARY KEY (run, round, attempt, phase)) STRICT;
CREATE INDEX IF NOT EXISTS given ON answers (run, round, attempt, phase, take, digest, refused);
`;

/** One round of one run. */
export interface RoundKey {
  readonly runId: string;
  readonly round: number;
}
export interface AttemptKey extends RoundKey {
  readonly attempt: number;
}

/** The discriminator as the last finished step left it. */
export interface DiscriminatorState {
  readonly round: number;
  readonly take: number;
  /** Steps done in this round and take. */
  readonly steps: number;
  /** Steps done in the whole run. */
  readonly total: number;
  readonly state: Uint8Array;
}

/** An answer as it was first made. */
export interface StoredAnswer {
  readonly phase: number;
  /** Which of this round's updates it speaks of; see `core/session.ts`. */
  readonly take: number;
  readonly body: unknown;
  readonly tensor: Uint8Array | null;
  readonly tensorSha256: string | null;
  /** What the scheme keeps for its next phase. */
  readonly secret: Uint8Array | null;
  readonly fakes: FakesReport | null;
  readonly signature: string;
  readonly epsilon: string | null;
}

type Param = string | number | Uint8Array | null;
type Row = Record<string, unknown>;
const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);
const bytesOf = (value: unknown): Uint8Array | null => (value instanceof Uint8Array ? value : null);
const jsonOf = (fakes: FakesReport | null): string | null => (fakes === null ? null : JSON.stringify(fakes));
const fakesFrom = (value: unknown): FakesReport | null =>
  typeof value === 'string' ? FakesReport.parse(JSON.parse(value)) : null;

/** @param path - a file of this site's, made if missing; `:memory:` for a simulated site. */
export class Outbox {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    // Of a new file: answers hold tensors, and a page costs two writes whatever it holds.
    this.#db.exec('PRAGMA page_size=16384;');
    this.#db.exec('PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;');
    // Shares of steps, as earlier builds kept them: private, so they are overwritten.
    this.#db.exec('PRAGMA secure_delete=ON; DROP TABLE IF EXISTS shares; PRAGMA secure_delete=FAST;');
    this.#db.exec(SCHEMA);
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
  #get(sql: string, ...params: Param[]): Row | undefined {
    return this.#prepare(sql).get(...params);
  }
  #run(sql: string, ...params: Param[]): void {
    this.#prepare(sql).run(...params);
  }

  /** What this site knows of the run's log, as far as it has checked it; null before the first checkpoint. */
  witness(runId: string): WitnessMemory | null {
    const row = this.#get('SELECT memory FROM witnessed WHERE run = ?', runId);
    return row === undefined ? null : WitnessMemory.parse(JSON.parse(String(row['memory'])));
  }
  /** Durable when this returns; a cosignature may leave only then. @throws {FedError} LOG_REWOUND: it never goes back. */
  putWitness(runId: string, memory: WitnessMemory): void {
    checkNotBack(this.witness(runId)?.head ?? EMPTY_LOG, memory.head);
    this.#run('INSERT OR REPLACE INTO witnessed VALUES (?, ?)', runId, JSON.stringify(memory));
  }

  /** A secret of this site's, where it was made. */
  keptSecret(name: string): Uint8Array | null {
    return bytesOf(this.#get('SELECT value FROM secrets WHERE name = ?', name)?.['value']);
  }
  /** A secret of this site's, made when it is first asked for and the same from then on. */
  secret(name: string, bytes: number, random: RandomBytes): Uint8Array {
    const before = this.keptSecret(name);
    if (before !== null) return before;
    const fresh = new Uint8Array(bytes);
    random(fresh);
    this.#run('INSERT OR IGNORE INTO secrets VALUES (?, ?)', name, fresh);
    return this.keptSecret(name) ?? fresh;
  }

  /** The candidate that this site judges in this run, and its answer once it is made; null before it was asked. */
  gate(runId: string): { candidateSha256: string; answer: string | null; epsilon: string | null } | null {
    const row = this.#get('SELECT candidate, answer, epsilon FROM gate WHERE run = ?', runId);
    if (row === undefined) return null;
    const { candidate, answer, epsilon } = row;
    return { candidateSha256: String(candidate), answer: textOf(answer), epsilon: textOf(epsilon) };
  }
  /** Durable when this returns, before anything is charged: a run has one candidate. @throws {FedError} GATE_ASKED */
  beginGate(runId: string, candidateSha256: string): void {
    this.#run('INSERT OR IGNORE INTO gate (run, candidate) VALUES (?, ?)', runId, candidateSha256);
    const kept = this.gate(runId)?.candidateSha256;
    if (kept !== candidateSha256) throw new FedError('GATE_ASKED', `candidate ${candidateSha256} after ${kept}`);
  }
  /** Durable when this returns; the first answer is the one that is sent, ever after. */
  putGateAnswer(runId: string, answer: string, epsilon: string): void {
    this.#run('UPDATE gate SET answer = ?, epsilon = ? WHERE run = ? AND answer IS NULL', answer, epsilon, runId);
  }

  /** Under which software this site has told the coordinator that it takes part; null before it has. */
  adopted(runId: string): string | null {
    return textOf(this.#get('SELECT software FROM adopted WHERE run = ?', runId)?.['software']);
  }
  putAdopted(runId: string, software: string): void {
    this.#run('INSERT OR REPLACE INTO adopted VALUES (?, ?)', runId, software);
  }

  /** The last roster a plan named, and its text once it was fetched; null before the first. */
  roster(): (RosterSeen & { readonly text: string | null }) | null {
    const row = this.#get('SELECT * FROM roster');
    if (row === undefined) return null;
    return { version: Number(row['version']), sha256: String(row['digest']), text: textOf(row['text']) };
  }
  /** Remembers a roster: the caller has checked that it does not go back. A text that is here stays. */
  putRoster({ version, sha256 }: RosterSeen, text: string | null = null): void {
    const kept = this.roster();
    const same = kept?.sha256 === sha256 && kept.version === version;
    if (same && (text === null || kept.text !== null)) return;
    this.#run('INSERT OR REPLACE INTO roster VALUES (1, ?, ?, ?)', version, sha256, text);
  }

  /** The furthest head of the ledger that this site has signed, as far as it remembers; null before the first. */
  stated(): ChainHead | null {
    const row = this.#get('SELECT size, head FROM stated');
    return row === undefined ? null : ChainHead.parse({ size: row['size'], head: row['head'] });
  }
  putStated(head: ChainHead): void {
    const sql =
      'INSERT INTO stated VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE SET size = excluded.size, head = excluded.head WHERE excluded.size > size';
    this.#run(sql, head.size, head.head);
  }

  /** Where its list of patients who are left out stood, in the furthest state that this site has committed to; null before. */
  statedLeftOut(): ChainHead | null {
    const row = this.#get('SELECT size, head FROM stated_left_out');
    return row === undefined ? null : ChainHead.parse({ size: row['size'], head: row['head'] });
  }
  /** Durable when this returns: only then may a statement be signed over it. The caller has checked that it does not go back. */
  putStatedLeftOut(head: ChainHead): void {
    const kept = this.statedLeftOut();
    // Most statements are over the list of the one before: they cost no sync of the disk.
    if (kept?.size === head.size && kept.head === head.head) return;
    this.#run('INSERT OR REPLACE INTO stated_left_out VALUES (1, ?, ?)', head.size, head.head);
  }

  /** Whether this site has taken up any plan yet. */
  hasPlans(): boolean {
    return this.#get('SELECT 1 FROM plans LIMIT 1') !== undefined;
  }

  /** SHA-256 of the plan that was first shown under this attempt; null before. */
  plan(k: AttemptKey): string | null {
    const sql = 'SELECT plan FROM plans WHERE run = ? AND round = ? AND attempt = ?';
    const row = this.#get(sql, k.runId, k.round, k.attempt);
    return row === undefined ? null : String(row['plan']);
  }
  /** The latest attempt this site was shown; null before the first. */
  latestPlan(runId: string): { round: number; attempt: number } | null {
    const sql = 'SELECT round, attempt FROM plans WHERE run = ? ORDER BY round DESC, attempt DESC LIMIT 1';
    const row = this.#get(sql, runId);
    return row === undefined ? null : { round: Number(row['round']), attempt: Number(row['attempt']) };
  }
  addPlan(k: AttemptKey, planSha256: string): void {
    this.#run('INSERT OR IGNORE INTO plans VALUES (?, ?, ?, ?)', k.runId, k.round, k.attempt, planSha256);
  }

  discriminator(runId: string): DiscriminatorState | null {
    const row = this.#get('SELECT * FROM discriminators WHERE run = ?', runId);
    const state = bytesOf(row?.['state']);
    if (row === undefined || state === null) return null;
    const [round, take, steps, total] = ['round', 'take', 'steps', 'total'].map((key) => Number(row[key]));
    return { round, take, steps, total, state };
  }
  /** Durable when this returns: the step it follows is done, and is never done again. */
  putDiscriminator(runId: string, d: DiscriminatorState): void {
    const sql = 'INSERT OR REPLACE INTO discriminators VALUES (?, ?, ?, ?, ?, ?)';
    this.#run(sql, runId, d.round, d.take, d.steps, d.total, d.state);
  }

  /** The round's update under this take, as bytes; null while there is none. */
  update(k: RoundKey, take: number): Uint8Array | null {
    const sql = 'SELECT bytes FROM updates WHERE run = ? AND round = ? AND take = ?';
    return bytesOf(this.#get(sql, k.runId, k.round, take)?.['bytes']);
  }
  /** What came with that update about fakes. */
  fakesOf(k: RoundKey, take: number): FakesReport | null {
    const sql = 'SELECT fakes FROM updates WHERE run = ? AND round = ? AND take = ?';
    return fakesFrom(this.#get(sql, k.runId, k.round, take)?.['fakes']);
  }
  /** @throws {FedError} UPDATE_CHANGED when there is one: a step has one update. */
  addUpdate(k: RoundKey, take: number, bytes: Uint8Array, fakes: FakesReport | null = null): void {
    if (this.update(k, take) !== null) throw new FedError('UPDATE_CHANGED', `round ${k.round} take ${take}`);
    this.#run('INSERT INTO updates VALUES (?, ?, ?, ?, ?)', k.runId, k.round, take, bytes, jsonOf(fakes));
  }

  answer(k: AttemptKey, phase: number): StoredAnswer | null {
    const sql = 'SELECT * FROM answers WHERE run = ? AND round = ? AND attempt = ? AND phase = ?';
    const row = this.#get(sql, k.runId, k.round, k.attempt, phase);
    return row === undefined ? null : toAnswer(row);
  }
  /** What the scheme kept with an answer; null where there is none. */
  secretOf(k: AttemptKey, phase: number): Uint8Array | null {
    const sql = 'SELECT secret FROM answers WHERE run = ? AND round = ? AND attempt = ? AND phase = ?';
    return bytesOf(this.#get(sql, k.runId, k.round, k.attempt, phase)?.['secret']);
  }
  /** Every answer given to any attempt at this round, from an index alone: the table holds tensors. */
  answersOf(k: RoundKey): GivenAnswer[] {
    const sql =
      'SELECT attempt, phase, take, digest, refused FROM answers WHERE run = ? AND round = ? ORDER BY attempt, phase';
    return (this.#prepare(sql).all(k.runId, k.round) as Row[]).map(toGiven);
  }
  /** The answer of this attempt that was given last; null before the first. A pooled attempt has hundreds. */
  lastAnswerOf(k: AttemptKey): GivenAnswer | null {
    const sql = `SELECT attempt, phase, take, digest, refused FROM answers
      WHERE run = ? AND round = ? AND attempt = ? ORDER BY phase DESC LIMIT 1`;
    const row = this.#get(sql, k.runId, k.round, k.attempt);
    return row === undefined ? null : toGiven(row);
  }
  /** Whether a phase of this attempt was answered, and whether the coordinator has refused an answer of it for good. */
  standingOf(k: AttemptKey, phase: number): { answered: boolean; refused: boolean } {
    const sql = `SELECT MAX(phase = ?) AS answered, COUNT(refused) AS refused FROM answers
      WHERE run = ? AND round = ? AND attempt = ?`;
    const row = this.#get(sql, phase, k.runId, k.round, k.attempt);
    return { answered: Number(row?.['answered']) === 1, refused: Number(row?.['refused']) > 0 };
  }
  /** Durable when this returns, the scheme's secret with it. Nothing may be sent before. @throws {FedError} UPDATE_CHANGED */
  addAnswer(k: AttemptKey, a: StoredAnswer): void {
    const there = 'SELECT 1 FROM answers WHERE run = ? AND round = ? AND attempt = ? AND phase = ?';
    if (this.#get(there, k.runId, k.round, k.attempt, a.phase) !== undefined)
      throw new FedError('UPDATE_CHANGED', `round ${k.round}.${k.attempt} phase ${a.phase} was answered`);
    // By name: in files of earlier builds the tensor lies before other columns.
    const sql = `INSERT INTO answers (run, round, attempt, phase, take, body, tensor, digest, secret, fakes, signature, epsilon)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
    const at: Param[] = [k.runId, k.round, k.attempt, a.phase, a.take, JSON.stringify(a.body)];
    this.#run(sql, ...at, a.tensor, a.tensorSha256, a.secret, jsonOf(a.fakes), a.signature, a.epsilon);
  }
  /** The coordinator will never take this answer: it is not sent again. */
  markRefused(k: AttemptKey, phase: number, code: string): void {
    const sql = 'UPDATE answers SET refused = ? WHERE run = ? AND round = ? AND attempt = ? AND phase = ?';
    this.#run(sql, code, k.runId, k.round, k.attempt, phase);
  }

  /** Drops updates and answers of rounds below `round`: they can never be asked for again. Which plans were seen stays. */
  forgetBefore(runId: string, round: number): void {
    this.#run('DELETE FROM updates WHERE run = ? AND round < ?', runId, round);
    this.#run('DELETE FROM answers WHERE run = ? AND round < ?', runId, round);
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }
}

const toGiven = (row: Row): GivenAnswer => ({
  attempt: Number(row['attempt']),
  phase: Number(row['phase']),
  take: Number(row['take']),
  hadTensor: row['digest'] !== null,
  refused: textOf(row['refused']),
});

function toAnswer(row: Row): StoredAnswer {
  return {
    phase: Number(row['phase']),
    take: Number(row['take']),
    body: z.json().parse(JSON.parse(String(row['body']))),
    tensor: bytesOf(row['tensor']),
    tensorSha256: textOf(row['digest']),
    secret: bytesOf(row['secret']),
    fakes: fakesFrom(row['fakes']),
    signature: String(row['signature']),
    epsilon: textOf(row['epsilon']),
  };
}

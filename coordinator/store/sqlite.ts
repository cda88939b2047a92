import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { LogEntry } from '../../shared/audit/entry.ts';
import { headOf, makeEntry } from '../../shared/audit/log.ts';
import { EMPTY_FRONTIER, appendLeaf, frontierNodes, leafHash } from '../../shared/audit/merkle.ts';
import type { Frontier, Hash, NodeId } from '../../shared/audit/merkle.ts';
import { FedError } from '../../shared/errors.ts';
import { deepFreeze } from '../../shared/policy/freeze.ts';
import { turn } from '../../shared/turn.ts';
import { AnswerRecord, GeneratorRecord, RoundRecord, RunRecord, SiteRecord } from './store.ts';
import type { PhaseKey, Store, StoredCheckpoint, Tx } from './store.ts';

const SCHEMA = `
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS generators (run TEXT, round INTEGER, record TEXT NOT NULL, PRIMARY KEY (run, round)) STRICT;
CREATE TABLE IF NOT EXISTS rounds
  (run TEXT, round INTEGER, attempt INTEGER, record TEXT NOT NULL, PRIMARY KEY (run, round, attempt)) STRICT;
CREATE TABLE IF NOT EXISTS answers
  (run TEXT, round INTEGER, attempt INTEGER, phase INTEGER, site TEXT, tensor TEXT, record TEXT NOT NULL,
   PRIMARY KEY (run, round, attempt, phase, site)) STRICT;
CREATE TABLE IF NOT EXISTS downlinks
  (run TEXT, round INTEGER, attempt INTEGER, phase INTEGER, site TEXT, body TEXT NOT NULL,
   PRIMARY KEY (run, round, attempt, phase, site)) STRICT;
CREATE TABLE IF NOT EXISTS sites (run TEXT, site TEXT, record TEXT NOT NULL, PRIMARY KEY (run, site)) STRICT;
CREATE TABLE IF NOT EXISTS log (run TEXT, idx INTEGER, entry TEXT NOT NULL, PRIMARY KEY (run, idx)) STRICT;
CREATE TRIGGER IF NOT EXISTS log_is_append_only_update BEFORE UPDATE ON log
  BEGIN SELECT RAISE(ABORT, 'the round log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_is_append_only_delete BEFORE DELETE ON log
  BEGIN SELECT RAISE(ABORT, 'the round log is append-only'); END;
CREATE TABLE IF NOT EXISTS log_nodes
  (run TEXT, level INTEGER, idx INTEGER, hash BLOB NOT NULL, PRIMARY KEY (run, level, idx)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (run TEXT, size INTEGER, note TEXT NOT NULL, PRIMARY KEY (run, size)) STRICT;
CREATE TABLE IF NOT EXISTS cosignatures
  (run TEXT, size INTEGER, site TEXT, line TEXT NOT NULL, PRIMARY KEY (run, size, site)) STRICT;
`;

type Param = string | number | Uint8Array | null;
type Row = Record<string, unknown>;

function parse<T>(schema: z.ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(JSON.parse(String(json)));
  if (!parsed.success) throw new FedError('STORE_CORRUPT', z.prettifyError(parsed.error));
  return parsed.data;
}

/** A transaction that was handed in: `run` resolves to what tells its caller that it is durable. */
interface Job {
  readonly run: (tx: Tx) => Promise<() => void>;
  readonly reject: (error: unknown) => void;
}
/** More than these would make the first wait for the last. */
const MOST_IN_GROUP = 64;

/**
 * The coordinator's store in one SQLite file. `synchronous=FULL`: a transaction that has resolved is on the disk, also
 * when the power goes.
 * @param path - a file, made if missing; one process at a time.
 */
export class SqliteStore implements Store {
  readonly #db: DatabaseSync;
  readonly #tx: SqliteTx;
  readonly #waiting: Job[] = [];
  #running: Promise<void> | null = null;

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec('PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;');
    this.#db.exec(SCHEMA);
    this.#tx = new SqliteTx(this.#db);
  }

  transaction<T>(body: (tx: Tx) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        async run(tx) {
          const result = await body(tx);
          return () => resolve(result);
        },
        reject,
      });
      this.#running ??= this.#work();
    });
  }

  /** Waits for the transactions that were handed in, then closes the file. */
  async close(): Promise<void> {
    await this.#running;
    if (this.#db.isOpen) this.#db.close();
  }

  /** Group after group: whatever was handed in before one begins shares its sync. */
  async #work(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        // Everything that this turn of the event loop still hands in comes along.
        await turn();
        await this.#group(this.#waiting.splice(0, MOST_IN_GROUP));
      }
    } finally {
      this.#running = null;
    }
  }

  /**
   * Some transactions, one after the other, in one of SQLite's: each stands or falls alone, by its savepoint, and none is
   * told that it stands before all that stand are on the disk.
   */
  async #group(jobs: readonly Job[]): Promise<void> {
    const ends: (() => void)[] = [];
    let next = 0;
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      for (; next < jobs.length; next++) {
        const job = jobs[next];
        this.#db.exec('SAVEPOINT one');
        try {
          ends.push(await job.run(this.#tx));
        } catch (error) {
          this.#tx.forget();
          // SQLite may have rolled back by itself (a full disk): then nothing of the group stands.
          if (!this.#db.isTransaction) throw error;
          this.#db.exec('ROLLBACK TO one');
          ends.push(() => job.reject(error));
        }
        this.#db.exec('RELEASE one');
      }
      this.#db.exec('COMMIT');
    } catch (error) {
      // Somebody may still ask of a store that was closed: each hears so.
      if (this.#db.isOpen && this.#db.isTransaction) this.#db.exec('ROLLBACK');
      this.#tx.forget();
      for (const job of jobs) job.reject(error);
      return;
    }
    for (const end of ends) end();
  }
}

class SqliteTx implements Tx {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, ReturnType<DatabaseSync['prepare']>>();
  readonly #frontiers = new Map<string, Frontier>();
  /** What was read last under each schema, as text and parsed: records are asked for much more often than they change. */
  readonly #last = new Map<unknown, { readonly text: unknown; readonly record: unknown }>();
  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  #prepare(sql: string) {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
  #write(sql: string, ...params: Param[]): void {
    this.#prepare(sql).run(...params);
  }
  #all(sql: string, ...params: Param[]): Row[] {
    return this.#prepare(sql).all(...params);
  }
  #one<T>(schema: z.ZodType<T>, sql: string, ...params: Param[]): T | null {
    const row = this.#prepare(sql).get(...params) as Row | undefined;
    if (row === undefined) return null;
    const text = row['record'];
    const last = this.#last.get(schema);
    if (last !== undefined && last.text === text) return last.record as T;
    // Frozen, since the next who asks gets the same.
    const record = deepFreeze(parse(schema, text)) as T;
    this.#last.set(schema, { text, record });
    return record;
  }

  async run(runId: string) {
    return this.#one(RunRecord, 'SELECT record FROM runs WHERE run = ?', runId);
  }
  async putRun(run: RunRecord) {
    this.#write('INSERT OR REPLACE INTO runs VALUES (?, ?)', run.runId, canonicalJson(run));
  }
  async generator(runId: string, round: number) {
    return this.#one(GeneratorRecord, 'SELECT record FROM generators WHERE run = ? AND round = ?', runId, round);
  }
  async putGenerator(runId: string, generator: GeneratorRecord) {
    const sql = 'INSERT OR REPLACE INTO generators VALUES (?, ?, ?)';
    this.#write(sql, runId, generator.round, canonicalJson(generator));
  }
  async latestRound(runId: string) {
    const sql = 'SELECT record FROM rounds WHERE run = ? ORDER BY round DESC, attempt DESC LIMIT 1';
    return this.#one(RoundRecord, sql, runId);
  }
  async round(runId: string, round: number, attempt: number) {
    const sql = 'SELECT record FROM rounds WHERE run = ? AND round = ? AND attempt = ?';
    return this.#one(RoundRecord, sql, runId, round, attempt);
  }
  async putRound(record: RoundRecord) {
    const { runId, round, attempt } = record.plan;
    this.#write('INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?)', runId, round, attempt, canonicalJson(record));
  }
  async addAnswer(key: PhaseKey, answer: AnswerRecord) {
    const at: Param[] = [key.runId, key.round, key.attempt, key.phase, answer.siteId];
    const sql = 'INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)';
    const { changes } = this.#prepare(sql).run(...at, answer.tensor?.sha256 ?? null, canonicalJson(answer));
    if (Number(changes) !== 1) throw new FedError('STORE_CORRUPT', `second answer at ${at.join(' ')}`);
  }
  async answers(key: PhaseKey) {
    const sql = 'SELECT record FROM answers WHERE run = ? AND round = ? AND attempt = ? AND phase = ? ORDER BY site';
    const rows = this.#all(sql, key.runId, key.round, key.attempt, key.phase);
    return rows.map((row) => parse(AnswerRecord, row['record']));
  }
  async uploadsOf(runId: string, round: number) {
    const sql =
      'SELECT DISTINCT site, tensor FROM answers WHERE run = ? AND round = ? AND tensor IS NOT NULL ORDER BY site, tensor';
    return this.#all(sql, runId, round).map((row) => ({ siteId: String(row['site']), sha256: String(row['tensor']) }));
  }
  async putDownlinks(key: PhaseKey, downlinks: ReadonlyMap<string, unknown>) {
    const sql = 'INSERT OR REPLACE INTO downlinks VALUES (?, ?, ?, ?, ?, ?)';
    for (const [siteId, body] of downlinks)
      this.#write(sql, key.runId, key.round, key.attempt, key.phase, siteId, canonicalJson(body));
  }
  async downlink(key: PhaseKey, siteId: string) {
    const sql = 'SELECT body FROM downlinks WHERE run = ? AND round = ? AND attempt = ? AND phase = ? AND site = ?';
    const [row] = this.#all(sql, key.runId, key.round, key.attempt, key.phase, siteId);
    return row === undefined ? null : { body: JSON.parse(String(row['body'])) as unknown };
  }
  async sites(runId: string) {
    const rows = this.#all('SELECT record FROM sites WHERE run = ? ORDER BY site', runId);
    return rows.map((row) => parse(SiteRecord, row['record']));
  }
  async putSite(runId: string, site: SiteRecord) {
    this.#write('INSERT OR REPLACE INTO sites VALUES (?, ?, ?)', runId, site.siteId, canonicalJson(site));
  }
  async logHead(runId: string) {
    return headOf(this.#frontier(runId));
  }
  async appendLog(...[runId, draft, timeMs]: Parameters<Tx['appendLog']>) {
    const before = this.#frontier(runId);
    const entry = makeEntry(before.size, draft, timeMs);
    const line = canonicalJson(entry);
    const { frontier, complete } = appendLeaf(before, leafHash(line));
    this.#write('INSERT INTO log VALUES (?, ?, ?)', runId, entry.index, line);
    for (const { level, index, hash } of complete)
      this.#write('INSERT INTO log_nodes VALUES (?, ?, ?, ?)', runId, level, index, hash);
    this.#frontiers.set(runId, frontier);
    return entry;
  }
  async logNodes(runId: string, ids: readonly NodeId[]) {
    return this.#nodes(runId, ids);
  }
  #nodes(runId: string, ids: readonly NodeId[]): Hash[] {
    const statement = this.#prepare('SELECT hash FROM log_nodes WHERE run = ? AND level = ? AND idx = ?');
    return ids.map(({ level, index }) => {
      const hash = statement.get(runId, level, index)?.['hash'];
      if (!(hash instanceof Uint8Array))
        throw new FedError('STORE_CORRUPT', `no node ${level}/${index} in the log of ${runId}`);
      return hash;
    });
  }
  /** Entries are never changed, so a frontier that was read once stands as long as the log has its size. */
  #frontier(runId: string): Frontier {
    const [row] = this.#all('SELECT idx FROM log WHERE run = ? ORDER BY idx DESC LIMIT 1', runId);
    const size = row === undefined ? 0 : Number(row['idx']) + 1;
    const known = this.#frontiers.get(runId) ?? EMPTY_FRONTIER;
    if (known.size === size) return known;
    const frontier = { size, hashes: this.#nodes(runId, frontierNodes(size)) };
    this.#frontiers.set(runId, frontier);
    return frontier;
  }
  /** After a rollback: what was read from entries that are not there. */
  forget(): void {
    this.#frontiers.clear();
  }
  async log(runId: string, from: number, limit: number) {
    const sql = 'SELECT entry FROM log WHERE run = ? AND idx >= ? ORDER BY idx LIMIT ?';
    return this.#all(sql, runId, from, limit).map((row) => parse(LogEntry, row['entry']));
  }
  async putCheckpoint(runId: string, size: number, note: string) {
    this.#write('INSERT OR IGNORE INTO checkpoints VALUES (?, ?, ?)', runId, size, note);
  }
  async replaceCheckpoint(runId: string, size: number, note: string) {
    this.#write('UPDATE checkpoints SET note = ? WHERE run = ? AND size = ?', note, runId, size);
  }
  async checkpoint(runId: string, size: number) {
    return this.#checkpoints('SELECT size, note FROM checkpoints WHERE run = ? AND size = ?', runId, size)[0] ?? null;
  }
  async checkpoints(runId: string, fromSize: number) {
    const sql = 'SELECT size, note FROM checkpoints WHERE run = ? AND size >= ? ORDER BY size';
    return this.#checkpoints(sql, runId, fromSize);
  }
  #checkpoints(sql: string, runId: string, size: number): StoredCheckpoint[] {
    const lines = 'SELECT site, line FROM cosignatures WHERE run = ? AND size = ? ORDER BY site';
    return this.#all(sql, runId, size).map((row) => ({
      size: Number(row['size']),
      note: String(row['note']),
      cosignatures: this.#all(lines, runId, Number(row['size'])).map(({ site, line }) => ({
        siteId: String(site),
        line: String(line),
      })),
    }));
  }
  async putCosignature(runId: string, size: number, siteId: string, line: string) {
    this.#write('INSERT OR REPLACE INTO cosignatures VALUES (?, ?, ?, ?)', runId, size, siteId, line);
  }
}

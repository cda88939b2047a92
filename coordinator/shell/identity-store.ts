import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { FedError } from '../../shared/errors.ts';
import { Kid } from '../../shared/identity/jwk.ts';
import { Roster } from '../../shared/identity/roster.ts';
import { SiteId } from '../../shared/protocol/plan.ts';

const StoredIdentity = z.strictObject({
  invites: z.array(
    z.strictObject({
      jti: z.uuid(),
      siteId: SiteId,
      expMs: z.int(),
      usedBy: z.strictObject({ signing: Kid, sealing: Kid }).nullable(),
    }),
  ),
  roster: Roster,
  /** The roster as signed: sites on one version see one signature. */
  rosterJws: z.string(),
});
export type StoredIdentity = z.infer<typeof StoredIdentity>;

/**
 * Keeps invites and roster as one document, so that "this invite is spent" and "this site is in" cannot come apart.
 * Several coordinators may share one store: who saves over a revision it has not read is told so and reads again.
 */
export interface IdentityStore {
  load(): Promise<{ revision: number; identity: StoredIdentity } | null>;
  /**
   * Guarantee: durable when this resolves to true; nothing changed when it resolves to false.
   * @param expected - the revision that was loaded, 0 when there was none. The new one is `expected + 1`.
   */
  save(identity: StoredIdentity, expected: number): Promise<boolean>;
  close(): Promise<void>;
}

/** For tests and the simulator. */
export class MemoryIdentityStore implements IdentityStore {
  #revision = 0;
  #json: string | null = null;

  async load() {
    return this.#json === null ? null : { revision: this.#revision, identity: parse(this.#json) };
  }
  async save(identity: StoredIdentity, expected: number): Promise<boolean> {
    if (expected !== this.#revision) return false;
    this.#json = JSON.stringify(identity);
    this.#revision++;
    return true;
  }
  async close(): Promise<void> {}
}

/** One row in SQLite (write-ahead log, synchronous=FULL). */
export class SqliteIdentityStore implements IdentityStore {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec(`
      PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
      CREATE TABLE IF NOT EXISTS identity (
        id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, document TEXT NOT NULL
      ) STRICT;`);
  }

  async load() {
    const row = this.#db.prepare('SELECT revision, document FROM identity WHERE id = 1').get();
    return row ? { revision: Number(row['revision']), identity: parse(String(row['document'])) } : null;
  }

  async save(identity: StoredIdentity, expected: number): Promise<boolean> {
    const json = JSON.stringify(identity);
    // One statement, hence one transaction.
    const { changes } =
      expected === 0
        ? this.#db.prepare('INSERT OR IGNORE INTO identity VALUES (1, 1, ?)').run(json)
        : this.#db
            .prepare('UPDATE identity SET revision = ?, document = ? WHERE id = 1 AND revision = ?')
            .run(expected + 1, json, expected);
    return Number(changes) === 1;
  }

  async close(): Promise<void> {
    this.#db.close();
  }
}

function parse(json: string): StoredIdentity {
  try {
    return StoredIdentity.parse(JSON.parse(json));
  } catch (error) {
    throw new FedError('STORE_CORRUPT', 'the identity document', { cause: error });
  }
}

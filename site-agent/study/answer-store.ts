/** The answers of a study, in one SQLite file. Nothing is ever changed or taken out. */
import { chmodSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { FedError } from '../../shared/errors.ts';
import { Answer, type Item, ReaderId } from './study.ts';

const SCHEMA = `
CREATE TABLE IF NOT EXISTS answers
  (reader TEXT, position INTEGER, record TEXT NOT NULL, PRIMARY KEY (reader, position)) STRICT;
CREATE TRIGGER IF NOT EXISTS answers_are_not_changed BEFORE UPDATE ON answers
  BEGIN SELECT RAISE(ABORT, 'answers are final'); END;
CREATE TRIGGER IF NOT EXISTS answers_are_not_removed BEFORE DELETE ON answers
  BEGIN SELECT RAISE(ABORT, 'answers are final'); END;
`;

export const KeptAnswer = z.strictObject({
  reader: ReaderId,
  position: z.int().min(0),
  item: z.string(),
  timeMs: z.int().min(0),
  answer: Answer,
});
export type KeptAnswer = z.infer<typeof KeptAnswer>;

export interface Answers {
  /** One reader's, by position. */
  of(reader: string): readonly KeptAnswer[];
  /** Durable when it returns. */
  keep(answer: KeptAnswer): void;
}

export class AnswerStore implements Answers, Disposable {
  readonly #db: DatabaseSync;
  readonly #byReader = new Map<string, KeptAnswer[]>();

  /** @param path - made when missing, for its owner alone. @throws {FedError} STORE_CORRUPT */
  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    // Before there is a journal, which takes the file's mode.
    chmodSync(path, 0o600);
    // FULL: what a transaction wrote is on the disk when it returns, also when the power goes.
    this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
    this.#db.exec(SCHEMA);
    for (const { record } of this.#db.prepare('SELECT record FROM answers ORDER BY reader, position').all())
      this.#remember(readRecord(record));
  }

  of(reader: string): readonly KeptAnswer[] {
    return this.#byReader.get(reader) ?? [];
  }

  all(): readonly KeptAnswer[] {
    return [...this.#byReader.values()].flat();
  }

  /** What the file is flushed by: 2 is FULL. */
  get synchronous(): unknown {
    return this.#db.prepare('PRAGMA synchronous').get()?.['synchronous'];
  }

  keep(answer: KeptAnswer): void {
    const { reader, position } = answer;
    this.#db.prepare('INSERT INTO answers (reader, position, record) VALUES (?, ?, ?)').run(reader, position, JSON.stringify(KeptAnswer.parse(answer))); // prettier-ignore
    this.#remember(answer);
  }

  #remember(answer: KeptAnswer): void {
    const list = this.#byReader.get(answer.reader) ?? [];
    if (answer.position !== list.length)
      throw new FedError('STORE_CORRUPT', `answer ${list.length} of ${answer.reader} is missing`);
    list.push(answer);
    this.#byReader.set(answer.reader, list);
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }
}

function readRecord(record: unknown): KeptAnswer {
  try {
    return KeptAnswer.parse(JSON.parse(String(record)));
  } catch (error) {
    throw new FedError('STORE_CORRUPT', 'an answer of the study cannot be read', { cause: error });
  }
}

/** @throws {FedError} STORE_CORRUPT when an answer is not to the picture that the reader's order has there. */
export function assertFits(answers: readonly KeptAnswer[], order: readonly Item[]): void {
  for (const { reader, position, item } of answers)
    if (order[position]?.id !== item)
      throw new FedError('STORE_CORRUPT', `answer ${position} of ${reader} is to another picture`);
}

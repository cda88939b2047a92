import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Outbox } from '../../site-agent/shell/outbox.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-outbox-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const key = { runId: 'run', round: 1, attempt: 0 };
const answer = { take: 0, body: null, tensorSha256: null, fakes: null, signature: 'signed', epsilon: null };

test('an answer’s secret is had by itself, and an answer is given once', () => {
  const outbox = new Outbox(':memory:');
  const secret = Uint8Array.of(1, 2, 3);
  outbox.addAnswer(key, { ...answer, phase: 0, tensor: new Uint8Array(100_000), secret });
  outbox.addAnswer(key, { ...answer, phase: 1, tensor: null, secret: null });
  expect(outbox.secretOf(key, 0)).toEqual(secret);
  expect([outbox.secretOf(key, 1), outbox.secretOf(key, 2)]).toEqual([null, null]);
  expect(() => outbox.addAnswer(key, { ...answer, phase: 0, tensor: null, secret: null })).toThrow('UPDATE_CHANGED');
  expect(outbox.answersOf(key).map((a) => [a.phase, a.hadTensor])).toEqual([
    [0, false],
    [1, false],
  ]);
  outbox.close();
});

test('which phases were answered is read from an index: the table has whole uploads between these columns', () => {
  const path = join(folder, 'outbox.sqlite');
  new Outbox(path).close();
  const db = new DatabaseSync(path);
  const planOf = (columns: string): string => {
    const sql = `EXPLAIN QUERY PLAN SELECT ${columns} FROM answers WHERE run = ? AND round = ? ORDER BY attempt, phase`;
    return db.prepare(sql).all('run', 1).map((row) => String(row['detail'])).join(); // prettier-ignore
  };
  expect(planOf('attempt, phase, take, digest, refused')).toContain('COVERING INDEX given');
  // Positive control: with a column that the index lacks it is not.
  expect(planOf('attempt, phase, take, digest, refused, body')).not.toContain('COVERING');
  db.close();
});

test('a file of an earlier build goes on: its columns stand in another order, and its shares go', () => {
  const path = join(folder, 'earlier.sqlite');
  const db = new DatabaseSync(path);
  db.exec(`
    CREATE TABLE shares (run TEXT, round INTEGER, attempt INTEGER, step INTEGER, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE answers
      (run TEXT, round INTEGER, attempt INTEGER, phase INTEGER, take INTEGER, body TEXT NOT NULL, tensor BLOB, digest TEXT,
       secret BLOB, fakes TEXT, signature TEXT NOT NULL, epsilon TEXT, refused TEXT, PRIMARY KEY (run, round, attempt, phase)) STRICT;
    INSERT INTO shares VALUES ('run', 1, 0, 0, CAST(replace(hex(zeroblob(4000)), '00', 'a share that was private ') AS BLOB));
    INSERT INTO answers VALUES ('run', 1, 0, 0, 0, '1', x'0203', 'digest', x'04', NULL, 'signed', 'epsilon', NULL);
  `);
  db.close();
  const holdsShare = () => readFileSync(path).includes('a share that was private');
  expect(holdsShare()).toBe(true);
  const outbox = new Outbox(path);
  const [tensor, secret] = [Uint8Array.of(2, 3), Uint8Array.of(4)];
  const kept = { ...answer, phase: 0, body: 1, tensor, tensorSha256: 'digest', secret, epsilon: 'epsilon' };
  expect(outbox.answer(key, 0)).toEqual(kept);
  outbox.addAnswer(key, { ...kept, phase: 1 });
  expect(outbox.answer(key, 1)).toEqual({ ...kept, phase: 1 });
  outbox.close();
  // Overwritten, not only unlinked.
  expect(holdsShare()).toBe(false);
  const after = new DatabaseSync(path);
  expect(after.prepare("SELECT name FROM sqlite_master WHERE name = 'shares'").all()).toEqual([]);
  after.close();
});

test('of an attempt with many answers: the last, whether a phase has one, whether one was refused', () => {
  const outbox = new Outbox(':memory:');
  const other = { ...key, attempt: 1 };
  expect([outbox.lastAnswerOf(key), outbox.standingOf(key, 0)]).toEqual([null, { answered: false, refused: false }]);
  for (const phase of [0, 2, 5]) outbox.addAnswer(key, { ...answer, phase, tensor: null, secret: null });
  outbox.addAnswer(other, { ...answer, phase: 7, tensor: null, secret: null });
  expect(outbox.lastAnswerOf(key)).toEqual(outbox.answersOf(key).findLast((a) => a.attempt === 0));
  expect(outbox.lastAnswerOf(key)?.phase).toBe(5);
  expect([2, 3, 7].map((phase) => outbox.standingOf(key, phase).answered)).toEqual([true, false, false]);
  outbox.markRefused(key, 2, 'UPDATE_SHAPE');
  expect([outbox.standingOf(key, 3), outbox.standingOf(other, 7)]).toEqual([
    { answered: false, refused: true },
    { answered: true, refused: false },
  ]);
  outbox.close();
});

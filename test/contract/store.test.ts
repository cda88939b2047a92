import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, test } from 'vitest';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { SqliteStore } from '../../coordinator/store/sqlite.ts';
import type { AnswerRecord, RoundRecord, Store } from '../../coordinator/store/store.ts';
import { EMPTY_LOG, hashOfHex, headOfEntries } from '../../shared/audit/log.ts';
import { consistencyParts, foldPart, verifyConsistency } from '../../shared/audit/merkle.ts';
import { FedError } from '../../shared/errors.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { RUN_ID } from '../support/round-rig.ts';

const SHA = 'a'.repeat(64);
const plan = (round: number, attempt: number): RoundPlan => ({
  type: 'round.plan',
  runId: RUN_ID,
  round,
  attempt,
  kind: 'generator',
  policySha256: SHA,
  generatorSha256: SHA,
  criticSha256: null,
  discriminatorSteps: 1,
  invited: ['site-a', 'site-b'],
  declarers: [2],
  publicSeed: SHA,
  scheme: 'clear',
  deadlineMs: 1000,
  roster: { version: 1, sha256: '7'.repeat(64) },
  checkpoint: EMPTY_LOG,
  witnessed: null,
});
const record = (round: number, attempt: number): RoundRecord => ({
  plan: plan(round, attempt),
  planJws: 'a.b.c',
  phase: 0,
  status: 'collecting',
  participants: ['site-a', 'site-b'],
  awaited: ['site-a'],
  answers: {},
  out: {},
  refused: [],
});
const answer = (siteId: string, sha256: string | null = null): AnswerRecord => ({
  siteId,
  answerSha256: SHA,
  body: { a: [1, null, 'x'] },
  tensor: sha256 === null ? null : { sha256, bytes: 4 },
  fakes: { fakeLoss: 0.7, fakeAccuracy: 0.25 },
  signature: 'a.b.c',
});
const at = { runId: RUN_ID, round: 0, attempt: 0, phase: 0 };
const action = (by: string) => ({ kind: 'operator-action', body: { action: 'test', by } }) as const;

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })));
const newFile = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'veilgan-store-')));
  return join(folders.at(-1)!, 'store.sqlite');
};

const kinds: [string, () => Store][] = [
  ['memory', () => new MemoryStore()],
  ['sqlite', () => new SqliteStore(newFile())],
];

describe.each(kinds)('%s store', (_name, make) => {
  test('what was written is read back', async () => {
    const store = make();
    const run = {
      runId: RUN_ID,
      policySha256: SHA,
      status: 'running',
      outcome: null,
      round: 0,
      software: 'veilgan/0.0.0',
    } as const;
    const generator = { round: 0, state: { sha256: SHA, bytes: 3 }, weights: { sha256: SHA, bytes: 4 } };
    const site = { siteId: 'site-b', standing: 'missed', declined: 'BUDGET_EXHAUSTED', epsilon: null } as const;
    await store.transaction(async (tx) => {
      expect(await tx.run(RUN_ID)).toBeNull();
      expect(await tx.latestRound(RUN_ID)).toBeNull();
      await tx.putRun(run);
      await tx.putGenerator(RUN_ID, generator);
      await tx.putSite(RUN_ID, site);
      await tx.putSite(RUN_ID, { ...site, siteId: 'site-a', standing: 'good' });
      for (const [round, attempt] of [
        [0, 0],
        [0, 1],
        [10, 0],
        [9, 7],
      ])
        await tx.putRound(record(round, attempt));
      await tx.putDownlinks(at, new Map<string, unknown>([['site-a', { x: 1 }], ['site-b', null]])); // prettier-ignore
    });
    await store.transaction(async (tx) => {
      expect(await tx.run(RUN_ID)).toEqual(run);
      expect(await tx.generator(RUN_ID, 0)).toEqual(generator);
      expect(await tx.generator(RUN_ID, 1)).toBeNull();
      expect((await tx.sites(RUN_ID)).map((s) => s.siteId)).toEqual(['site-a', 'site-b']);
      expect((await tx.sites(RUN_ID))[1]).toEqual(site);
      expect((await tx.latestRound(RUN_ID))?.plan.round).toBe(10);
      expect(await tx.round(RUN_ID, 0, 1)).toEqual(record(0, 1));
      expect(await tx.downlink(at, 'site-a')).toEqual({ body: { x: 1 } });
      expect(await tx.downlink(at, 'site-b')).toEqual({ body: null });
      expect(await tx.downlink(at, 'site-c')).toBeNull();
    });
    await store.close();
  });

  test('an answer is written once, and answers come by site id', async () => {
    const store = make();
    const again = { ...at, round: 1 };
    await store.transaction(async (tx) => {
      await tx.addAnswer(at, answer('site-b', SHA));
      await tx.addAnswer({ ...at, attempt: 1 }, answer('site-b', SHA));
      await tx.addAnswer(at, answer('site-a'));
      await tx.addAnswer(again, answer('site-a', 'b'.repeat(64)));
    });
    const second = store.transaction((tx) => tx.addAnswer(at, answer('site-a')));
    await expect(second).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    await store.transaction(async (tx) => {
      expect(await tx.answers(at)).toEqual([answer('site-a'), answer('site-b', SHA)]);
      expect(await tx.uploadsOf(RUN_ID, 0)).toEqual([{ siteId: 'site-b', sha256: SHA }]);
      expect(await tx.uploadsOf(RUN_ID, 1)).toHaveLength(1);
    });
    await store.close();
  });

  test('a transaction that throws leaves nothing, its log entry least of all', async () => {
    const store = make();
    await store.transaction((tx) => tx.appendLog(RUN_ID, action('first'), 1));
    const head = await store.transaction((tx) => tx.logHead(RUN_ID));
    const failing = store.transaction(async (tx) => {
      await tx.putRound(record(0, 0));
      await tx.addAnswer(at, answer('site-a'));
      await tx.putDownlinks(at, new Map([['site-a', 1]]));
      await tx.appendLog(RUN_ID, action('second'), 2);
      throw new FedError('ROUND_VOID', 'half way');
    });
    await expect(failing).rejects.toMatchObject({ code: 'ROUND_VOID' });
    await store.transaction(async (tx) => {
      expect(await tx.latestRound(RUN_ID)).toBeNull();
      expect(await tx.answers(at)).toEqual([]);
      expect(await tx.downlink(at, 'site-a')).toBeNull();
      expect(await tx.logHead(RUN_ID)).toEqual(head);
    });
    await store.close();
  });

  test('transactions that are handed in together do not see each other half done', async () => {
    const store = make();
    const bump = () =>
      store.transaction(async (tx) => {
        const run = (await tx.run(RUN_ID)) ?? {
          runId: RUN_ID,
          policySha256: SHA,
          status: 'running' as const,
          outcome: null,
          round: 0,
          software: 'veilgan/0.0.0',
        };
        await tx.putRun({ ...run, round: run.round + 1 });
        return run.round;
      });
    expect(await Promise.all([bump(), bump(), bump(), bump()])).toEqual([0, 1, 2, 3]);
    await store.close();
  });

  test('the log verifies, read in pages', async () => {
    const store = make();
    await store.transaction(async (tx) => {
      for (let i = 0; i < 5; i++) await tx.appendLog(RUN_ID, action(`op ${i}`), i);
    });
    const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 100));
    const head = await store.transaction((tx) => tx.logHead(RUN_ID));
    expect(headOfEntries(log)).toEqual(head);
    expect(await store.transaction((tx) => tx.log(RUN_ID, 2, 2))).toEqual(log.slice(2, 4));
    expect(await store.transaction((tx) => tx.logHead('another'))).toEqual(EMPTY_LOG);
    await store.close();
  });
});

test('a SQLite store that is opened again holds what was committed', async () => {
  const file = newFile();
  const first = new SqliteStore(file);
  await first.transaction(async (tx) => {
    await tx.putRound(record(3, 1));
    await tx.appendLog(RUN_ID, action('me'), 1);
  });
  // Not closed: a killed process does not close its files either.
  const second = new SqliteStore(file);
  expect(await second.transaction((tx) => tx.latestRound(RUN_ID))).toEqual(record(3, 1));
  expect((await second.transaction((tx) => tx.logHead(RUN_ID))).size).toBe(1);
  await second.close();
  await first.close();
});

test('a SQLite store that was closed refuses what is handed in, each by itself', async () => {
  const store = new SqliteStore(newFile());
  await store.close();
  const late = [1, 2].map(() => store.transaction((tx) => tx.run('run')));
  expect((await Promise.allSettled(late)).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
});

test('the log table refuses a change and a removal, and the journal is synced in full', async () => {
  const file = newFile();
  const store = new SqliteStore(file);
  await store.transaction((tx) => tx.appendLog(RUN_ID, action('me'), 1));
  const db = new DatabaseSync(file);
  expect(() => db.exec("UPDATE log SET entry = '{}'")).toThrow(/append-only/);
  expect(() => db.exec('DELETE FROM log')).toThrow(/append-only/);
  expect(db.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
  db.close();
  await store.close();
});

describe.each(kinds)('%s store, transactions handed in together', (_name, make) => {
  test('one that fails takes nothing of the others with it', async () => {
    const store = make();
    const results = await Promise.allSettled(
      Array.from({ length: 9 }, (_, i) =>
        store.transaction(async (tx) => {
          await tx.appendLog(RUN_ID, action(`op ${i}`), i);
          if (i % 3 === 1) throw new FedError('ROUND_VOID', `op ${i}`);
          return (await tx.logHead(RUN_ID)).size;
        }),
      ),
    );
    expect(results.map((r) => (r.status === 'fulfilled' ? r.value : 'failed'))).toEqual([
      ...[1, 'failed', 2, 3, 'failed', 4, 5, 'failed', 6],
    ]);
    const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 100));
    expect(log.map((e) => (e.body as { by: string }).by)).toEqual(['op 0', 'op 2', 'op 3', 'op 5', 'op 6', 'op 8']);
    expect(headOfEntries(log)).toEqual(await store.transaction((tx) => tx.logHead(RUN_ID)));
    await store.close();
  });

  test('checkpoints and cosignatures are read back, and every proof the tree can give holds', async () => {
    const store = make();
    const heads = [EMPTY_LOG];
    for (let i = 0; i < 20; i++)
      heads.push(
        await store.transaction(async (tx) => {
          await tx.appendLog(RUN_ID, action(`op ${i}`), i);
          await tx.putCheckpoint(RUN_ID, i + 1, `note ${i + 1}`);
          await tx.putCheckpoint(RUN_ID, i + 1, 'another note');
          return tx.logHead(RUN_ID);
        }),
      );
    await store.transaction(async (tx) => {
      await tx.putCosignature(RUN_ID, 7, 'site-b', 'b');
      await tx.putCosignature(RUN_ID, 7, 'site-a', 'old');
      await tx.putCosignature(RUN_ID, 7, 'site-a', 'a');
    });
    await store.transaction(async (tx) => {
      const cosignatures = [
        { siteId: 'site-a', line: 'a' },
        { siteId: 'site-b', line: 'b' },
      ];
      expect(await tx.checkpoint(RUN_ID, 7)).toEqual({ size: 7, note: 'note 7', cosignatures });
      expect(await tx.checkpoint(RUN_ID, 21)).toBeNull();
      expect((await tx.checkpoints(RUN_ID, 18)).map((c) => c.size)).toEqual([18, 19, 20]);
      for (let to = 1; to <= 20; to++)
        for (let from = 0; from <= to; from++) {
          const proof = [];
          for (const part of consistencyParts(from, to)) proof.push(foldPart(await tx.logNodes(RUN_ID, part)));
          const [fromRoot, toRoot] = [hashOfHex(heads[from].root), hashOfHex(heads[to].root)];
          expect(verifyConsistency({ from, to, fromRoot, toRoot, proof })).toBe(true);
        }
      await expect(tx.logNodes(RUN_ID, [{ level: 5, index: 0 }])).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    });
    await store.close();
  });
});

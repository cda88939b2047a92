/** A withdrawal in the middle of a run, proved afterwards from the log, at the site and nowhere else. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { verifyFolder } from '../../cli/audit/verify-folder.ts';
import { outboxPath, type SiteFolder } from '../../cli/site-folder.ts';
import { withdrawalsReport, withdrawalsText } from '../../cli/site-withdrawals.ts';
import { hashJson } from '../../shared/audit/canonical.ts';
import { opensTo } from '../../shared/audit/left-out.ts';
import { bodyOf } from '../../shared/audit/jws-body.ts';
import { EpsilonStatement } from '../../shared/protocol/round-messages.ts';
import type { SiteAgentOptions } from '../../site-agent/agent.ts';
import { leftOutKey } from '../../site-agent/left-out.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { Withdrawals, withdrawalsPath } from '../../site-agent/shell/withdrawals.ts';
import { AuditFolder } from '../../cli/audit/read-folder.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import { overheard } from '../support/overheard.ts';
import { Tap } from '../support/round-hand.ts';
import { agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { refusalOf } from '../support/glue-rig.ts';
import { codeOf } from '../support/wire-rig.ts';
import { exportedRun, handedOver } from '../support/audit-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-left-out-'));
afterAll(() => rmSync(folder, { recursive: true }));
/** By the clock that the agents sign with. */
const NOW = new ManualClock().now();
const MARK = 'MRN-8086-CONSENT';
const entry = (patient: string) => ({ patient, issuer: '', reason: 'consent', what: 'withdrawn' }) as const;

test('statements open to the list as it was then; another list and another outbox are found out', async () => {
  const exported = join(folder, 'audit');
  const site = { dir: folder, ledger: join(folder, 'ledger.sqlite'), enrolment: { siteId: 'site-a' } } as SiteFolder;
  const path = withdrawalsPath(site.ledger);
  const list = new Withdrawals(path, null);
  const outbox = new Outbox(outboxPath(folder));
  // Another site has dated an entry to the day after.
  const other = { dir: mkdtempSync(join(folder, 'b-')), enrolment: { siteId: 'site-b' } };
  const siteB = { ...other, ledger: join(other.dir, 'ledger.sqlite') } as SiteFolder;
  const early = {
    list: new Withdrawals(withdrawalsPath(siteB.ledger), null),
    outbox: new Outbox(outboxPath(siteB.dir)),
  };
  early.list.note(entry(MARK), NOW + 86_400_000);
  let stated = 0;
  const onEvent: SiteAgentOptions['onEvent'] = (e) => {
    if (e.kind === 'epsilon' && ++stated === 2) list.note(entry(MARK), NOW);
  };
  const { cast } = await exportedRun(exported, {
    rounds: 4,
    agentsOf: (siteId) => {
      if (siteId === 'site-a') return { outbox, leftOut: () => list.chain, onEvent };
      return siteId === 'site-b' ? { outbox: early.outbox, leftOut: () => early.list.chain } : {};
    },
  });
  outbox.close();
  early.outbox.close();
  expect((await verifyFolder(exported, { keys: handedOver(cast) })).verdict).toBe('verified');
  expect(readFileSync(join(exported, 'log.jsonl'), 'utf8')).not.toMatch(/MRN-8086|withdr/i);

  const report = await withdrawalsReport(site, exported);
  const stood = (r: typeof report) => r.statements!.map((s) => s.opening?.list.size);
  expect(stood(report).slice(0, 3)).toEqual([0, 0, 1]);
  expect([new Set(stood(report).slice(2)), report.wrong]).toEqual([new Set([1]), []]);
  expect(withdrawalsText(report)).toMatch(
    /names patients[^]*MRN-8086[^]*the list had 0 entries[^]*the list had 1 entries[^]*All open/,
  );
  // What an auditor is shown is enough to recompute it.
  for await (const { index, body } of new AuditFolder(exported).entriesOf('epsilon-statement')) {
    const shown = report.statements!.find((s) => s.entry === index);
    const statement = EpsilonStatement.parse(bodyOf(body.statement));
    expect(shown === undefined ? null : opensTo(statement.leftOut, statement, shown.opening!)).toBe(
      body.siteId === 'site-a' ? true : null,
    );
  }

  // An auditor works the head out again from what is shown.
  const heads = report.list.map(({ hash: _, ...rest }) => hashJson(rest));
  expect(heads).toEqual(report.list.map((e) => e.hash));
  expect(report.statements!.at(-1)!.opening!.list).toEqual({ size: 1, head: heads[0] });
  expect((await withdrawalsReport(siteB, exported)).wrong[0]).toMatch(
    /^0 of the list is dated after entry \d+, which was signed over it/,
  );
  // A log without a word of this site shows nothing, and says so.
  const stranger = { ...site, enrolment: { siteId: 'site-z' } } as SiteFolder;
  expect((await withdrawalsReport(stranger, exported)).wrong).toEqual([
    expect.stringContaining('no statement of site-z'),
  ]);

  // Withdrawn after the run, and dated back to before it, at the end of the true chain: every statement opens, and none is later.
  const honest = readFileSync(path, 'utf8');
  new Withdrawals(path, null).note(entry('late'), NOW - 86_400_000);
  const late = await withdrawalsReport(site, exported);
  expect(late.statements!.every((s) => s.opening !== null)).toBe(true);
  expect(late.wrong[0]).toMatch(/^1 of the list is dated before entry \d+, which was signed without it/);
  writeFileSync(path, honest);
  // Dated back, and chained anew: what was signed over the true list does not open.
  const [{ hash: _, ...first }] = new Withdrawals(path, null).entries;
  const unsealed = { ...first, timeMs: 0 };
  const forged = { ...unsealed, hash: hashJson(unsealed) };
  writeFileSync(path, JSON.stringify({ version: 1, entries: [forged] }));
  expect((await withdrawalsReport(site, exported)).wrong.join()).toMatch(/entry \d+ was signed over another list/);
  // Taken away: as if nobody had ever withdrawn.
  rmSync(path);
  const without = await withdrawalsReport(site, exported);
  expect(withdrawalsText(without)).toMatch(/The list is empty[^]*does not open[^]*WRONG: entry/);
  // What is shown and what opens are one list, read once.
  writeFileSync(path, honest);
  const reading = withdrawalsReport(site, exported);
  rmSync(path);
  expect((await reading).wrong).toEqual([]);
  // Another outbox has another key.
  writeFileSync(path, honest);
  const moved = { ...site, dir: mkdtempSync(join(folder, 'moved-')) };
  expect(await codeOf(withdrawalsReport(moved, exported))).toBe('STORE_CORRUPT');
  new Outbox(outboxPath(moved.dir)).close();
  const lookedAt = async () => {
    try {
      return await refusalOf(() => withdrawalsReport(moved, exported));
    } finally {
      const another = new Outbox(outboxPath(moved.dir));
      expect(another.keptSecret('left-out'), 'whoever only looks makes no key').toBeNull();
      another.close();
    }
  };
  expect(await lookedAt()).toMatch(/^STORE_CORRUPT: this outbox has no key that opens statements/);
  const another = new Outbox(outboxPath(moved.dir));
  leftOutKey(another);
  another.close();
  expect(stood(await withdrawalsReport(moved, exported)).every((size) => size === undefined)).toBe(true);
});

test('a list that cannot be read stops the site, and nobody hears that there is one', async () => {
  const policy = testPolicy({ rounds: 1 });
  const cast = castOf(4);
  const tap = new Tap();
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear });
  const [said, own]: string[][] = [[], []];
  const path = withdrawalsPath(join(folder, 'broken.sqlite'));
  writeFileSync(path, 'no list');
  const agents = [...cast.sites.keys()].map((siteId, i) => {
    const link = overheard(directLink(coordinator, siteId), (what) => said.push(JSON.stringify(what)));
    const broken = {
      leftOut: () => new Withdrawals(path, null).chain,
      onEvent: (e: object) => own.push(JSON.stringify(e)),
    };
    return agentOf(cast, policy, siteId, link, i === 0 ? broken : {});
  });
  const running = coordinator.run();
  const [first, ...others] = agents.map((a) => a.run());
  expect(await codeOf(first)).toBe('STORE_CORRUPT');
  expect(own.join()).toMatch(/withdrawn/);
  expect(said.join()).toMatch(/STORE_CORRUPT/);
  expect(said.join()).not.toMatch(/withdr|broken/i);
  await Promise.all([coordinator.stop(), ...agents.map((a) => a.stop())]);
  await Promise.all([running, ...others]);
});

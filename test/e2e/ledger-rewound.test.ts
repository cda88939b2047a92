/** A ledger file that is put back to an older copy, in a run that goes on: found by what the site signed into the log. */
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { gaussianEvent } from '../../shared/dp/event.ts';
import { Tap } from '../support/round-hand.ts';
import { agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((f) => rmSync(f, { recursive: true })));

/** A run of three sites, of which the first keeps its ledger and outbox in files and can be stopped. */
function stage() {
  const folder = mkdtempSync(join(tmpdir(), 'veilgan-rewound-'));
  folders.push(folder);
  const at = (name: string) => join(folder, name);
  const policy = testPolicy({ rounds: 5, steps: 2, warmUp: 0 });
  const [cast, tap] = [castOf(3), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear });
  const [first, ...others] = [...cast.sites.keys()];
  const agents = others.map((id) => agentOf(cast, policy, id, coordinator));
  const run = Promise.all([coordinator.run(), ...agents.map((agent) => agent.run())]);
  const live = async (until: (stop: () => void) => void): Promise<string> => {
    const [ledger, outbox] = [new Ledger(at('ledger')), new Outbox(at('outbox'))];
    const agent = agentOf(cast, policy, first, coordinator, { ledger, outbox, pollMs: 20, retryMs: 5 });
    const running = agent.run();
    until(() => void agent.stop());
    try {
      return await running;
    } finally {
      ledger.close();
      outbox.close();
    }
  };
  const untilClosed = (rounds: number) => live((stop) => void tap.when('round-closed', rounds).then(stop));
  // Closed files have no -wal beside them: a copy of one file is a whole copy.
  const copy = (name: string, to: string) => copyFileSync(at(name), at(to));
  const end = async () => {
    await Promise.all([coordinator.stop(), ...agents.map((agent) => agent.stop())]);
    await run;
  };
  return { at, tap, first, untilClosed, live, copy, end, run };
}
const forever = () => undefined;

test.each([
  ['the ledger alone', ['ledger']],
  ['the whole folder', ['ledger', 'outbox']],
])('%s, put back to where it was two rounds ago: refused before anything is charged', async (_, files) => {
  const s = stage();
  await s.untilClosed(2);
  for (const name of files) s.copy(name, `old-${name}`);
  await s.untilClosed(4);
  for (const name of files) s.copy(`old-${name}`, name);

  const before = new Ledger(s.at('ledger'));
  const [{ size }, entries] = [before.head(), before.entries().length];
  before.close();
  await expect(s.live(forever)).rejects.toThrow(
    /LEDGER_REWOUND: this site stated \d+ ledger entries, and its ledger has \d+: an older copy was put back/,
  );
  expect(s.tap.of('declined')).toMatchObject([{ siteId: s.first, code: 'LEDGER_REWOUND' }]);
  const after = new Ledger(s.at('ledger'));
  expect([after.head().size, after.entries().length]).toEqual([size, entries]);
  after.close();
  await s.end();
});

test('an old copy on which another run has charged since is refused too: not the entries that were stated', async () => {
  const s = stage();
  await s.untilClosed(2);
  for (const name of ['ledger', 'outbox']) s.copy(name, `old-${name}`);
  await s.untilClosed(4);
  for (const name of ['ledger', 'outbox']) s.copy(`old-${name}`, name);
  const ledger = new Ledger(s.at('ledger'));
  const other = { runId: '11111111-2222-4333-8444-555555555555', policySha256: 'a'.repeat(64), round: 0, timeMs: 0 };
  const budget = { caps: null, epsilon: Infinity, delta: 1e-5, overflowDelta: 0 };
  for (let step = 0; step < 40; step++)
    ledger.charge({ ...other, step, event: gaussianEvent(100), budget, lifetime: null });
  ledger.close();
  await expect(s.live(forever)).rejects.toThrow(/LEDGER_REWOUND: entry \d+ of the ledger is/);
  await s.end();
});

test('a ledger from the middle of a round, with steps taken that it does not have', async () => {
  const s = stage();
  await s.untilClosed(2);
  // Every statement is there, and the last steps are not: the outbox knows of them.
  const outbox = new Outbox(s.at('outbox'));
  const runId = '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c';
  const kept = outbox.discriminator(runId)!;
  outbox.putDiscriminator(runId, { ...kept, total: kept.total + 100 });
  outbox.close();
  await expect(s.live(forever)).rejects.toThrow(/LEDGER_REWOUND: \d+ steps were taken in this run, and \d+ are in/);
  await s.end();
});

test('positive control: with the right files back the same site goes on to the end', async () => {
  const s = stage();
  await s.untilClosed(2);
  for (const name of ['ledger', 'outbox']) s.copy(name, `old-${name}`);
  await s.untilClosed(4);
  for (const name of ['ledger', 'outbox']) s.copy(name, `new-${name}`);
  for (const name of ['ledger', 'outbox']) s.copy(`old-${name}`, name);
  await expect(s.live(forever)).rejects.toThrow(/LEDGER_REWOUND/);
  for (const name of ['ledger', 'outbox']) s.copy(`new-${name}`, name);
  expect(await s.live(forever)).toBe('completed');
  await s.run;
});

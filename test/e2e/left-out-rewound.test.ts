/** A list of withdrawn patients that goes back in a run: found by what the outbox remembers of it, and told to nobody outside. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { hashJson } from '../../shared/audit/canonical.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { LEFT_OUT_WENT_BACK } from '../../site-agent/left-out.ts';
import type { SiteAgentOptions } from '../../site-agent/agent.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { Withdrawals, withdrawalsPath } from '../../site-agent/shell/withdrawals.ts';
import { overheard } from '../support/overheard.ts';
import { Tap } from '../support/round-hand.ts';
import { agentOf, castOf, coordinatorOf, RUN_ID, StubComputation, testPolicy } from '../support/round-rig.ts';
import { testGate } from '../support/gate-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-list-back-'));
afterAll(() => rmSync(folder, { recursive: true }));
const REFUSED = `STORE_CORRUPT: ${LEFT_OUT_WENT_BACK}`;
const forever = () => undefined;

/** A run of three sites, of which the first keeps everything in files, and can be stopped. */
function stage(policy = testPolicy({ rounds: 5, steps: 2, warmUp: 0 })) {
  const at = (name: string) => join(dir, name);
  const dir = mkdtempSync(join(folder, 'run-'));
  const [cast, tap] = [castOf(3), new Tap()];
  const coordinator = coordinatorOf(cast, policy, { onEvent: tap.hear, similarity: async () => [0.4] });
  const [first, ...others] = [...cast.sites.keys()];
  const agents = others.map((id) => agentOf(cast, policy, id, coordinator));
  const run = Promise.all([coordinator.run(), ...agents.map((agent) => agent.run())]);
  const path = withdrawalsPath(at('ledger'));
  const withdraw = (patient: string) =>
    new Withdrawals(path, null).note({ patient, issuer: '', reason: 'consent', what: 'withdrawn' }, Date.now());
  const said: string[] = [];
  const live = async (
    until: (stop: () => void) => void,
    o: Partial<SiteAgentOptions> & { outbox?: Outbox } = {},
    wrap: (link: CoordinatorLink) => CoordinatorLink = (link) => link,
  ): Promise<string> => {
    const [ledger, outbox] = [new Ledger(at('ledger')), o.outbox ?? new Outbox(at('outbox'))];
    const list = new Withdrawals(path, null);
    const link = wrap(overheard(directLink(coordinator, first), (what) => said.push(JSON.stringify(what))));
    const parts = { ledger, leftOut: () => list.chain, pollMs: 20, retryMs: 5, ...o, outbox };
    const agent = agentOf(cast, policy, first, link, parts);
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
  const end = async () => {
    await Promise.all([coordinator.stop(), ...agents.map((agent) => agent.stop())]);
    await run;
  };
  const entries = () => {
    const ledger = new Ledger(at('ledger'));
    try {
      return ledger.entries().length;
    } finally {
      ledger.close();
    }
  };
  return { policy, at, tap, path, first, said, withdraw, live, untilClosed, end, run, entries };
}
type Stage = ReturnType<typeof stage>;

/** Ways in which a list of two entries goes back. */
const WAYS: [string, (s: Stage, older: string) => void][] = [
  ['an older copy', (s, older) => writeFileSync(s.path, older)],
  ['no list at all', (s) => rmSync(s.path)],
  [
    'an older copy on which others were withdrawn since',
    (s, older) => {
      writeFileSync(s.path, older);
      s.withdraw('third');
      s.withdraw('fourth');
    },
  ],
  [
    'an entry changed, and chained anew',
    (s) => {
      const [first, second] = new Withdrawals(s.path, null).entries;
      const { hash: _, ...rest } = { ...second, patient: 'somebody else' };
      writeFileSync(s.path, JSON.stringify({ version: 1, entries: [first, { ...rest, hash: hashJson(rest) }] }));
    },
  ],
];

test.each(WAYS)('%s: refused before anything is charged, and the coordinator hears of no list', async (_, goBack) => {
  const s = stage();
  s.withdraw('first-patient');
  const older = readFileSync(s.path, 'utf8');
  await s.untilClosed(2);
  s.withdraw('second-patient');
  await s.untilClosed(4);
  goBack(s, older);
  const charged = s.entries();
  const own: string[] = [];
  await expect(s.live(forever, { onEvent: (e) => own.push(JSON.stringify(e)) })).rejects.toThrow(REFUSED);
  expect(s.entries()).toBe(charged);
  expect(s.tap.of('declined')).toMatchObject([{ siteId: s.first, code: 'STORE_CORRUPT', detail: 'the site failed' }]);
  expect(s.said.join()).not.toMatch(/withdr|older copy|-patient/i);
  // The site's own screen has the sentence, which names no file and nobody.
  expect(own.join()).toContain(LEFT_OUT_WENT_BACK);
  expect(own.join(), 'the plan was not taken up').not.toContain('round-joined');
  expect(own.join()).not.toMatch(/-patient|\.json|\//);
  await s.end();
});

test('positive control: more patients withdrawn, and the newest copy put back, go on to the end', async () => {
  const s = stage();
  await s.untilClosed(2);
  s.withdraw('a');
  const older = readFileSync(s.path, 'utf8');
  await s.untilClosed(3);
  s.withdraw('b');
  await s.untilClosed(4);
  copyFileSync(s.path, s.at('newest'));
  writeFileSync(s.path, older);
  await expect(s.live(forever)).rejects.toThrow(REFUSED);
  copyFileSync(s.at('newest'), s.path);
  s.withdraw('c');
  expect(await s.live(forever)).toBe('completed');
  await s.run;
});

test('in the middle of a round: the next step is neither paid for nor computed', async () => {
  const s = stage();
  s.withdraw('a');
  await s.untilClosed(2);
  const computation = new StubComputation(s.first, s.policy);
  const step = computation.discriminatorStep.bind(computation);
  let charged = 0;
  computation.discriminatorStep = (...args) => {
    rmSync(s.path);
    charged = s.entries();
    return step(...args);
  };
  await expect(s.live(forever, { computation })).rejects.toThrow(REFUSED);
  expect([computation.steps, s.entries()]).toEqual([1, charged]);
  await s.end();
});

test('between the last step and the statement: nothing is signed over the list that went back', async () => {
  const s = stage();
  s.withdraw('a');
  await s.untilClosed(2);
  const computation = new StubComputation(s.first, s.policy);
  const gradient = computation.generatorGradient.bind(computation);
  computation.generatorGradient = (...args) => {
    rmSync(s.path);
    return gradient(...args);
  };
  const stated: object[] = [];
  const onEvent: SiteAgentOptions['onEvent'] = (e) => e.kind === 'epsilon' && stated.push(e);
  await expect(s.live(forever, { computation, onEvent })).rejects.toThrow(REFUSED);
  expect(stated).toEqual([]);
  await s.end();
});

test('an outbox from before heads were kept, with its runs under way, goes on, and keeps them from then on', async () => {
  const s = stage();
  s.withdraw('a');
  const older = readFileSync(s.path, 'utf8');
  await s.untilClosed(2);
  const db = new DatabaseSync(s.at('outbox'));
  db.exec('DROP TABLE stated_left_out');
  db.close();
  s.withdraw('b');
  await s.untilClosed(4);
  writeFileSync(s.path, older);
  await expect(s.live(forever)).rejects.toThrow(REFUSED);
  await s.end();
});

test.each([
  ['the list as it was: the round is answered', false],
  ['the list gone back meanwhile: refused', true],
])('killed when a statement was signed and not yet kept; %s', async (_, back) => {
  const s = stage();
  const killed = new Outbox(s.at('outbox'));
  killed.addAnswer = () => {
    throw new Error('killed');
  };
  s.withdraw('a');
  await expect(s.live(forever, { outbox: killed })).rejects.toThrow('killed');
  if (!back) {
    expect(await s.live(forever)).toBe('completed');
    await s.run;
    return;
  }
  rmSync(s.path);
  await expect(s.live(forever)).rejects.toThrow(REFUSED);
  await s.end();
});

test('before the release gate: no answer, no charge, and no word to the coordinator', async () => {
  const gate = { ...testGate, noiseMultiplier: 12, leastPatients: 3000, signOff: { needed: 0, people: [] } };
  const s = stage(testPolicy({ rounds: 1, gate }));
  s.withdraw('a');
  let charged = -1;
  const goesBackAtTheGate = (link: CoordinatorLink): CoordinatorLink => ({
    onWake: link.onWake.bind(link),
    close: () => link.close(),
    call: async (type, payload) => {
      const reply = await link.call(type, payload);
      if ((reply as { kind?: string } | null)?.kind === 'gate') {
        rmSync(s.path);
        charged = s.entries();
      }
      return reply;
    },
  });
  await expect(s.live(forever, {}, goesBackAtTheGate)).rejects.toThrow(REFUSED);
  expect(s.entries()).toBe(charged);
  expect(s.said.join()).not.toMatch(/gate\.answer|STORE_CORRUPT/);
  const outbox = new Outbox(s.at('outbox'));
  expect(outbox.gate(RUN_ID), 'the question was not taken up').toBeNull();
  outbox.close();
  await s.end();
});

/**
 * The question of the release gate, with everybody dying between any two durable operations: one answer of every site
 * ever leaves, it is paid for before it is worked out, and the run comes to one verdict.
 */
import { expect, test } from 'vitest';
import { auditOwnLog } from '../../coordinator/own-log.ts';
import { testGate } from '../support/gate-rig.ts';
import { castOf, RUN_ID, testPolicy } from '../support/round-rig.ts';
import { type Ending, play, type Script } from '../support/round-theatre.ts';

const cast = castOf(2);
const gate = { ...testGate, noiseMultiplier: 12, leastPatients: 3000, maxAnswers: 4 };
const policy = testPolicy({ rounds: 0, steps: 1, warmUp: 0, minSites: 2, quorum: 2, gate });
const ofGate = (end: Ending, id: string) =>
  end.ledgers
    .get(id)!
    .entries()
    .filter((e) => 'event' in e && (e.event as { noiseMultiplier: number }).noiseMultiplier === 12);

/** @returns whether every site sent one answer to the gate, however often it was asked. */
const oneAnswerEach = (end: Ending): boolean =>
  [...cast.sites.keys()].every((id) => end.sent.get(`${id} gate`)?.size === 1);

async function checkEnding(end: Ending): Promise<void> {
  const log = await end.store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  const of = (kind: string) => log.filter((e) => e.kind === kind);
  expect([of('gate-asked').length, of('gate-answered').length, of('gate-judged').length]).toEqual([1, 2, 1]);
  expect(log.at(-1)!.kind).toBe('run-finished');
  expect(oneAnswerEach(end)).toBe(true);
  for (const id of cast.sites.keys()) {
    // Paid for before it is worked out, and once more at most for every death.
    expect(ofGate(end, id).length).toBeGreaterThanOrEqual(end.gateCalls.get(id)!);
    expect(ofGate(end, id).length - 1).toBeLessThanOrEqual(end.kills.get(id)!);
  }
  const audit = await auditOwnLog({ store: end.store, runId: RUN_ID, policy, keys: cast.coordinator });
  expect(audit.findings.problems).toEqual([]);
}

const undisturbed = await play(cast, policy, { deaths: {}, fresh: true });

test('undisturbed: asked, answered, paid for and judged once', async () => {
  await checkEnding(undisturbed);
  expect([...undisturbed.gateCalls.values()]).toEqual([1, 1]);
});

/** Operations before the gate are those of `round-crash.test.ts`; what follows the last round is tried one by one here. */
const rounds = await play(cast, testPolicy({ rounds: 0, steps: 1, warmUp: 0, minSites: 2, quorum: 2 }), { deaths: {} });
const ofTheGate = (role: string): number[] => {
  const [from, to] = [rounds.passed.get(role)! - 12, undisturbed.passed.get(role)!];
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
};

test.each(['site-a', 'coordinator'])('%s may die at every single operation of the gate', async (role) => {
  const operations = ofTheGate(role);
  expect(operations.length).toBeGreaterThan(20);
  let again = 0;
  for (const at of operations) {
    const end = await play(cast, policy, { deaths: { [role]: [at] }, fresh: true });
    await checkEnding(end);
    again += end.gateCalls.get('site-a')! - 1;
  }
  // A site that dies between its answer and its outbox works the answer out anew: the other words were never sent.
  if (role === 'site-a') expect(again).toBeGreaterThan(0);
});

/** The first answer of a site is lost on its way, or the acknowledgement is; then the site dies at this operation. */
const losing = (at: number, what: 'request' | 'reply'): Script => {
  let lost = false;
  return {
    deaths: { 'site-a': [at] },
    fresh: true,
    lose: (id, type) => {
      if (id !== 'site-a' || type !== 'gate.answer' || lost) return 'nothing';
      lost = true;
      return what;
    },
  };
};

test('also when the answer, or its acknowledgement, is lost', async () => {
  for (const at of ofTheGate('site-a').filter((_, i) => i % 4 === 0))
    for (const what of ['request', 'reply'] as const) await checkEnding(await play(cast, policy, losing(at, what)));
});

test('positive control: a site that loses its outbox is caught giving two answers', async () => {
  let caught = false;
  for (const at of ofTheGate('site-a').reverse())
    caught ||= !oneAnswerEach(await play(cast, policy, { ...losing(at, 'request'), forgetful: 'site-a' }));
  expect(caught).toBe(true);
});

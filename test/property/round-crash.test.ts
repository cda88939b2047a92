/**
 * A run in which somebody dies between any two durable operations, or in which messages are lost at random, ends as the
 * undisturbed run does: same generator, nothing counted twice, every step paid for.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { headOfEntries } from '../../shared/audit/log.ts';
import { mulberry32 } from '../support/rng.ts';
import { RUN_ID, castOf, testPolicy } from '../support/round-rig.ts';
import { play } from '../support/round-theatre.ts';
import type { Ending, Script } from '../support/round-theatre.ts';

const cast = castOf(2);
const policy = testPolicy({ rounds: 1, steps: 1, warmUp: 1, minSites: 2, quorum: 2 });
/** Loses this share of the messages, half of them on the way there and half on the way back. */
function losing(share: number, seed: number): NonNullable<Script['lose']> {
  const draw = mulberry32(seed);
  return () => {
    const u = draw();
    return u < share / 2 ? 'request' : u < share ? 'reply' : 'nothing';
  };
}

/** Ended properly: what must hold however often anybody died. */
async function checkEnding(end: Ending): Promise<void> {
  const log = await end.store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  headOfEntries(log);
  const of = (kind: string) => log.filter((e) => e.kind === kind).map((e) => e.body as Record<string, unknown>);
  expect(of('generator-updated').map((b) => b['round'])).toEqual([0, 1]);
  expect(of('run-finished')).toHaveLength(1);
  const places = of('answer-accepted').map((b) => [b['siteId'], b['round'], b['attempt'], b['phase']].join(' '));
  expect(new Set(places).size).toBe(places.length);
  for (const digests of end.sent.values()) expect(digests.size).toBe(1);
  for (const [id, ledger] of end.ledgers) {
    const counted = 1 + (end.outboxes.get(id)!.discriminator(RUN_ID)?.total ?? 0);
    const entries = ledger.entries().length;
    expect(counted).toBe(3);
    // No step was computed that was not paid for first.
    expect(entries).toBeGreaterThanOrEqual(1 + end.steps.get(id)!);
    expect(entries).toBeGreaterThanOrEqual(counted);
    expect(entries - counted).toBeLessThanOrEqual(end.kills.get(id)!);
  }
}

const undisturbed = await play(cast, policy, { deaths: {} });

test('the undisturbed run ends as it should', async () => {
  await checkEnding(undisturbed);
});

test.each(['site-a', 'coordinator'])('%s may die at every single operation', async (role) => {
  const operations = undisturbed.passed.get(role)!;
  expect(operations).toBeGreaterThan(50);
  for (let at = 1; at <= operations; at++) {
    const end = await play(cast, policy, { deaths: { [role]: [at] } });
    expect([at, end.generator]).toEqual([at, undisturbed.generator]);
    await checkEnding(end);
  }
});

test('everybody may die again and again, also inside transactions, while messages are lost', async () => {
  const lives = fc.array(fc.integer({ min: 1, max: 120 }), { maxLength: 4 });
  const script = fc.record({
    a: lives,
    b: lives,
    coordinator: lives,
    seed: fc.nat(),
    loss: fc.constantFrom(0, 0.1, 0.3),
  });
  await fc.assert(
    fc.asyncProperty(script, async ({ a, b, coordinator, seed, loss }) => {
      const deaths = { 'site-a': a, 'site-b': b, coordinator };
      const end = await play(cast, policy, { deaths, lose: losing(loss, seed), insideTransactions: true });
      expect(end.generator).toBe(undisturbed.generator);
      await checkEnding(end);
    }),
    { numRuns: 25 },
  );
});

const onlyOneAnswerEach = (end: Ending): boolean => [...end.sent.values()].every((digests) => digests.size === 1);

test('with fresh noise in every computation a site still never sends two answers to one phase', async () => {
  for (let at = 1; at <= undisturbed.passed.get('site-a')!; at += 2) {
    const lose = losing(0.3, at);
    const end = await play(cast, policy, { deaths: { 'site-a': [at, 30] }, fresh: true, lose });
    expect([at, onlyOneAnswerEach(end)]).toEqual([at, true]);
    await checkEnding(end);
  }
});

test('positive control: a site that loses its outbox is caught sending two', async () => {
  const caught: number[] = [];
  for (let at = 1; at <= undisturbed.passed.get('site-a')!; at += 1) {
    const script = { deaths: { 'site-a': [at, 30] }, fresh: true, lose: losing(0.3, at), forgetful: 'site-a' };
    if (!onlyOneAnswerEach(await play(cast, policy, script))) caught.push(at);
    if (caught.length > 0) break;
  }
  expect(caught).toHaveLength(1);
});

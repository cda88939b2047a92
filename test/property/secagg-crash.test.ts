/**
 * A masked round in which somebody dies between any two durable operations, or in which messages are lost: whether a step
 * is opened over the whole list or agreed on first is decided once, and nobody says two different things in one place.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { headOfEntries } from '../../shared/audit/log.ts';
import { mulberry32 } from '../support/rng.ts';
import { MASKED, RUN_ID, castOf, testPolicy } from '../support/round-rig.ts';
import { play } from '../support/round-theatre.ts';
import type { Ending, Script } from '../support/round-theatre.ts';

const cast = castOf(3);
const policy = testPolicy({ rounds: 0, steps: 1, warmUp: 0, aggregation: MASKED });
const EVERY = process.env['VEILGAN_SLOW'] ? 1 : 9;
const AGREE = 3;

async function checkEnding(end: Ending): Promise<void> {
  const log = await end.store.transaction((tx) => tx.log(RUN_ID, 0, 10_000));
  headOfEntries(log);
  const of = (kind: string) => log.filter((e) => e.kind === kind).map((e) => e.body as Record<string, unknown>);
  expect(of('run-finished')).toHaveLength(1);
  expect(of('generator-updated').map((b) => b['round'])).toEqual([0]);
  expect(of('aggregated')).toHaveLength(1);
  const places = of('answer-accepted').map((b) => [b['siteId'], b['attempt'], b['phase']].join(' '));
  expect(new Set(places).size).toBe(places.length);
  expect(of('refused')).toEqual([]);
  expect(of('declined')).toEqual([]);
  // Three sites bear no drop-out: an attempt in which somebody was missing is void, and no other has an agreement.
  for (const { attempt } of of('plan')) {
    const here = (kind: string) => of(kind).filter((b) => b['attempt'] === attempt);
    const sealed = here('sealed').map((b) => b['phase']);
    expect(sealed).not.toContain(AGREE);
    expect(here('phase-skipped').map((b) => b['phase'])).toEqual(sealed.includes(2) ? [AGREE] : []);
  }
  for (const [place, answers] of end.sent) expect([place, answers.size]).toEqual([place, 1]);
  expect([...end.sent.keys()].filter((place) => place.endsWith(` ${AGREE}`))).toEqual([]);
}

const undisturbed = await play(cast, policy, { deaths: {} });
test('the undisturbed round ends as it should', () => checkEnding(undisturbed));

test.each(['site-a', 'coordinator'])('%s may die at any operation', async (role) => {
  const operations = undisturbed.passed.get(role)!;
  expect(operations).toBeGreaterThan(20);
  for (let at = 1; at <= operations; at += EVERY)
    await checkEnding(await play(cast, policy, { deaths: { [role]: [at] } }));
});

test('everybody may die again and again, also inside transactions, while messages are lost', async () => {
  const losing = (share: number, seed: number): NonNullable<Script['lose']> => {
    const draw = mulberry32(seed);
    return () => {
      const u = draw();
      return u < share / 2 ? 'request' : u < share ? 'reply' : 'nothing';
    };
  };
  const lives = fc.array(fc.integer({ min: 1, max: 80 }), { maxLength: 3 });
  const script = fc.record({ a: lives, b: lives, coordinator: lives, seed: fc.nat(), loss: fc.constantFrom(0, 0.2) });
  await fc.assert(
    fc.asyncProperty(script, async ({ a, b, coordinator, seed, loss }) => {
      const deaths = { 'site-a': a, 'site-b': b, coordinator };
      await checkEnding(await play(cast, policy, { deaths, lose: losing(loss, seed), insideTransactions: true }));
    }),
    { numRuns: 8 },
  );
});

test('positive control: a site that loses its outbox is caught saying two different things', async () => {
  let caught = false;
  const last = undisturbed.passed.get('site-a')!;
  // Its keys are lost on their way, and it dies before it has sent them again. Had they come, it would decline what follows.
  for (let at = Math.floor(last / 4); at < last / 2 && !caught; at += 4) {
    let answers = 0;
    const lose = (id: string, type: string) =>
      id === 'site-a' && type === 'round.answer' && ++answers === 1 ? 'request' : 'nothing';
    const end = await play(cast, policy, { deaths: { 'site-a': [at] }, lose, fresh: true, forgetful: 'site-a' });
    caught = [...end.sent.values()].some((said) => said.size !== 1);
  }
  expect(caught).toBe(true);
});

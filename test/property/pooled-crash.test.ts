/**
 * A pooled run in which somebody dies between any two durable operations, or in which messages are lost, ends as the
 * undisturbed run does: every sum applied once, no two shares for one step of an attempt, every step paid for.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { headOfEntries } from '../../shared/audit/log.ts';
import { mulberry32 } from '../support/rng.ts';
import { PooledStubComputation, PooledStubTrainer, pooledPlayPolicy } from '../support/pooled-stubs.ts';
import { castOf, RUN_ID, testBounds } from '../support/round-rig.ts';
import { type Ending, play, type Script } from '../support/round-theatre.ts';

const cast = castOf(2);
const policy = pooledPlayPolicy();
const players = {
  computation: (...args: ConstructorParameters<typeof PooledStubComputation>) => new PooledStubComputation(...args),
  trainer: () => new PooledStubTrainer(),
  bounds: { ...testBounds, allowInsecure: true },
};
const playPooled = (script: Omit<Script, 'players'>) => play(cast, policy, { ...script, players });

function losing(share: number, seed: number): NonNullable<Script['lose']> {
  const draw = mulberry32(seed);
  return () => {
    const u = draw();
    return u < share / 2 ? 'request' : u < share ? 'reply' : 'nothing';
  };
}

async function checkEnding(end: Ending): Promise<void> {
  const { log, run } = await end.store.transaction(async (tx) => ({
    log: await tx.log(RUN_ID, 0, 10_000),
    run: await tx.run(RUN_ID),
  }));
  headOfEntries(log);
  const of = (kind: string) => log.filter((e) => e.kind === kind).map((e) => e.body as Record<string, unknown>);
  expect(of('generator-updated').map((b) => b['round'])).toEqual([0]);
  // A step that is in stays in when its attempt falls void: the next attempt takes what is left.
  expect(of('discriminator-updated')).toHaveLength(2);
  expect(of('aggregated')).toHaveLength(2);
  expect(of('run-finished')).toHaveLength(1);
  expect(run?.discriminator?.total).toBe(2);
  for (const digests of end.sent.values()) expect(digests.size).toBe(1);
  for (const [id, ledger] of end.ledgers) {
    const entries = ledger.entries().length;
    expect(entries).toBeGreaterThanOrEqual(end.steps.get(id)!);
    expect(entries).toBeGreaterThanOrEqual(2);
    expect(entries - 2).toBeLessThanOrEqual(end.kills.get(id)! + of('void').length);
  }
}

const undisturbed = await playPooled({ deaths: {} });

test('the undisturbed run ends as it should', () => checkEnding(undisturbed));

test.each([
  ['site-a', 6],
  ['coordinator', 9],
])('%s may die at any operation', async (role, stride) => {
  const operations = undisturbed.passed.get(role)!;
  expect(operations).toBeGreaterThan(50);
  // Every single one with VEILGAN_SLOW.
  for (let at = 1; at <= operations; at += process.env['VEILGAN_SLOW'] ? 1 : stride) {
    const end = await playPooled({ deaths: { [role]: [at] } });
    expect([at, end.generator]).toEqual([at, undisturbed.generator]);
    await checkEnding(end);
  }
});

test('everybody may die again and again, also inside transactions, while messages are lost', async () => {
  const lives = fc.array(fc.integer({ min: 1, max: 120 }), { maxLength: 4 });
  const script = fc.record({ a: lives, b: lives, coordinator: lives, seed: fc.nat(), loss: fc.constantFrom(0, 0.2) });
  await fc.assert(
    fc.asyncProperty(script, async ({ a, b, coordinator, seed, loss }) => {
      const deaths = { 'site-a': a, 'site-b': b, coordinator };
      const end = await playPooled({ deaths, lose: losing(loss, seed), insideTransactions: true });
      expect(end.generator).toBe(undisturbed.generator);
      await checkEnding(end);
    }),
    { numRuns: 8 },
  );
});

const onlyOneShareEach = (end: Ending): boolean => [...end.sent.values()].every((digests) => digests.size === 1);

test('with fresh noise in every share a site still never sends two for one step', async () => {
  for (let at = 1; at <= undisturbed.passed.get('site-a')!; at += 7) {
    const end = await playPooled({ deaths: { 'site-a': [at, 30] }, fresh: true, lose: losing(0.3, at) });
    expect([at, onlyOneShareEach(end)]).toEqual([at, true]);
  }
});

test('positive control: a site that loses its outbox is caught sending two', async () => {
  let caught = false;
  const last = undisturbed.passed.get('site-a')!;
  // The first share is lost on its way, and the site dies somewhere before it has sent the share again.
  for (let at = Math.floor(last / 2); at <= last + 20 && !caught; at += 4) {
    let answers = 0;
    const lose = (id: string, type: string) =>
      id === 'site-a' && type === 'round.answer' && ++answers === 1 ? 'request' : 'nothing';
    const end = await playPooled({ deaths: { 'site-a': [at] }, fresh: true, lose, forgetful: 'site-a' });
    caught = !onlyOneShareEach(end);
  }
  expect(caught).toBe(true);
});

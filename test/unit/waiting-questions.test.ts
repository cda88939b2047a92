import { expect, test } from 'vitest';
import { WaitingQuestions } from '../../coordinator/waiting-questions.ts';
import type { NextReply } from '../../shared/protocol/round-messages.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { RUN_ID } from '../support/round-rig.ts';

const IDLE: NextReply = { kind: 'idle' };
const NEWS: NextReply = { kind: 'witness', runId: RUN_ID, checkpoint: { size: 1, root: '0'.repeat(64) } };

/** Questions about a state that a test sets, and what has become of each. */
function desk() {
  const [clock, abort] = [new ManualClock(), new AbortController()];
  const questions = new WaitingQuestions(clock, abort.signal);
  const state = { now: IDLE, looks: 0 };
  const look = async (): Promise<NextReply> => {
    state.looks += 1;
    return state.now;
  };
  const ask = (siteId: string, waitMs: number, by = look) => {
    const asked = { reply: null as NextReply | null, done: Promise.resolve<unknown>(null) };
    asked.done = questions.answer(siteId, waitMs, by).then((reply) => (asked.reply = reply));
    return asked;
  };
  return { clock, abort, questions, state, ask };
}
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('what is there is answered at once; "nothing" when there was nothing for as long as the site would wait', async () => {
  const { clock, state, ask } = desk();
  state.now = NEWS;
  await ask('north', 1000).done;
  state.now = IDLE;
  expect((await ask('north', 0).done) as NextReply, 'a site that does not wait').toEqual(IDLE);
  const asked = ask('north', 1000);
  await turn();
  clock.advance(999);
  await turn();
  expect(asked.reply).toBeNull();
  clock.advance(1);
  await asked.done;
  expect(asked.reply).toEqual(IDLE);
  expect(clock.pending, 'no timer is left').toBe(0);
});

test('a question that waits has its answer when there is one, and its site needs no other sign', async () => {
  const { questions, state, ask, clock } = desk();
  const asked = ask('north', 1000);
  await turn();
  expect([...questions.wake()], 'it looks again').toEqual(['north']);
  await turn();
  expect(asked.reply, 'and waits on while there is nothing').toBeNull();
  state.now = NEWS;
  questions.wake();
  await asked.done;
  expect(asked.reply).toEqual(NEWS);
  expect([...questions.wake()]).toEqual([]);
  expect(clock.pending).toBe(0);
});

test('what changes while a question is looked up is not missed, also by one that would not wait', async () => {
  for (const waitMs of [0, 1000]) {
    const { questions, state, ask } = desk();
    const found = Promise.withResolvers<NextReply>();
    let looks = 0;
    const asked = ask('north', waitMs, () => (looks++ === 0 ? found.promise : Promise.resolve(state.now)));
    state.now = NEWS;
    // It may come back with something older: its site is told as well.
    expect([...questions.wake()]).toEqual([]);
    found.resolve(IDLE);
    await asked.done;
    expect(asked.reply).toEqual(NEWS);
  }
});

test('a newer question takes the place of an older one, which is answered at once', async () => {
  const { questions, state, ask } = desk();
  const [older, other] = [ask('north', 1000), ask('south', 1000)];
  await turn();
  const newer = ask('north', 1000);
  await older.done;
  expect([older.reply, newer.reply, other.reply]).toEqual([IDLE, null, null]);
  state.now = NEWS;
  expect([...questions.wake()].sort()).toEqual(['north', 'south']);
  await Promise.all([newer.done, other.done]);
  expect([newer.reply, other.reply]).toEqual([NEWS, NEWS]);
});

test('a question whose site has gone does not wait, and the others do', async () => {
  const { questions, ask, clock } = desk();
  const [gone, other] = [ask('north', 1000), ask('south', 1000)];
  await turn();
  questions.letGo('north');
  questions.letGo('nobody');
  await gone.done;
  expect([gone.reply, other.reply]).toEqual([IDLE, null]);
  expect([...questions.wake()], 'it is not taken for one that listens').toEqual(['south']);
  await turn();
  expect(clock.pending).toBe(1);
});

test('after a stop nothing waits any more', async () => {
  const { abort, ask, clock } = desk();
  const asked = ask('north', 1000);
  await turn();
  abort.abort();
  await asked.done;
  expect(asked.reply).toEqual(IDLE);
  await ask('north', 1000).done;
  expect(clock.pending).toBe(0);
});

test('a question that cannot be looked up is refused, now or when it has waited, and leaves nothing behind', async () => {
  const { questions, ask } = desk();
  const refuse = () => Promise.reject(new Error('no'));
  await expect(ask('north', 1000, refuse).done).rejects.toThrow('no');
  let looks = 0;
  const late = ask('north', 1000, () => (looks++ === 0 ? Promise.resolve(IDLE) : refuse()));
  await turn();
  questions.wake();
  await expect(late.done).rejects.toThrow('no');
  expect([...questions.wake()]).toEqual([]);
});

test('a site that has nothing until something changes is not looked up before; a change is never missed', async () => {
  const { questions, state, ask, clock } = desk();
  questions.hasNothing('north', questions.wakes);
  const asked = ask('north', 1000);
  await turn();
  expect(state.looks).toBe(0);
  state.now = NEWS;
  questions.wake();
  await asked.done;
  expect([asked.reply, state.looks]).toEqual([NEWS, 1]);
  // Changed after it had nothing, before that was said.
  const since = questions.wakes;
  questions.wake();
  questions.hasNothing('north', since);
  expect(await ask('north', 1000).done).toEqual(NEWS);
  // Changed after it was said, before it asked.
  questions.hasNothing('north', questions.wakes);
  questions.wake();
  expect(await ask('north', 1000).done).toEqual(NEWS);
  // Another agent of the site, one that does not wait, one that waited in vain.
  questions.hasNothing('north', questions.wakes);
  questions.mayHave('north');
  expect(await ask('north', 1000).done).toEqual(NEWS);
  questions.hasNothing('north', questions.wakes);
  expect(await ask('north', 0).done).toEqual(NEWS);
  questions.hasNothing('north', questions.wakes);
  const late = ask('north', 1000);
  await turn();
  clock.advance(1000);
  expect(await late.done).toEqual(NEWS);
});

import { expect, test } from 'vitest';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { headOfEntries } from '../../shared/audit/log.ts';
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { RUN_ID, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';

test('three sites and a coordinator in one process run a moment round and three generator rounds to the end', async () => {
  const policy = testPolicy({});
  const cast = castOf(3);
  const store = new MemoryStore();
  const events: CoordinatorEvent[] = [];
  const coordinator = coordinatorOf(cast, policy, { store, onEvent: (e) => events.push(e) });
  const ledgers = new Map([...cast.sites.keys()].map((id) => [id, new Ledger(':memory:')]));
  const agents = [...ledgers].map(([id, ledger]) => agentOf(cast, policy, id, coordinator, { ledger }));
  const ends = await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  expect(ends).toEqual(['completed', 'completed', 'completed', 'completed']);

  const closed = events.filter((e) => e.kind === 'round-closed');
  expect(closed.map((e) => e.round)).toEqual([0, 1, 2, 3]);
  expect(closed.every((e) => e.contributors.length === 3)).toBe(true);
  // 1 moment release, 1 + 2 steps in the first generator round, 2 in each of the others.
  for (const ledger of ledgers.values()) expect(ledger.entries()).toHaveLength(1 + 3 + 2 + 2);

  const log = await store.transaction((tx) => tx.log(RUN_ID, 0, 1000));
  expect(headOfEntries(log)).toEqual(await store.transaction((tx) => tx.logHead(RUN_ID)));
  const kinds = log.map((e) => e.kind);
  expect(kinds.slice(0, 5)).toEqual([
    'run-started',
    'policy-adopted',
    'site-enrolled',
    'site-enrolled',
    'site-enrolled',
  ]);
  expect(kinds.at(-1)).toBe('run-finished');
  expect(kinds.filter((k) => k === 'answer-accepted')).toHaveLength(12);
  expect(kinds.filter((k) => k === 'epsilon-statement')).toHaveLength(12);

  const status = await coordinator.status();
  expect(status).toMatchObject({ status: 'finished', outcome: 'completed', roundsDone: 4, rounds: 4, open: null });
  expect(status.sites.every((s) => s.epsilon !== null && s.epsilon > 0)).toBe(true);
});

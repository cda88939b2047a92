/** The ledger's entry comes before what it pays for, in every kind of round. */
import { expect, test } from 'vitest';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { StubComputation, agentOf, castOf, coordinatorOf, testPolicy } from '../support/round-rig.ts';

/** Notes how many entries there are whenever private data would be touched. */
class Watcher extends StubComputation {
  readonly seen: { what: string; entries: number }[] = [];
  readonly ledger = new Ledger(':memory:');
  #note(what: string) {
    this.seen.push({ what, entries: this.ledger.entries().length });
  }
  override async noisedMoments() {
    this.#note('moments');
    return super.noisedMoments();
  }
  override async discriminatorStep(...args: Parameters<StubComputation['discriminatorStep']>) {
    this.#note('step');
    return super.discriminatorStep(...args);
  }
}

test('the moment round and every step find their own entry in the ledger', async () => {
  const policy = testPolicy({ rounds: 2, steps: 2, warmUp: 1 });
  const cast = castOf(3);
  const coordinator = coordinatorOf(cast, policy);
  const watchers = [...cast.sites.keys()].map((id) => [id, new Watcher(id, policy)] as const);
  const agents = watchers.map(([id, computation]) =>
    agentOf(cast, policy, id, coordinator, { computation, ledger: computation.ledger }),
  );
  await Promise.all([coordinator.run(), ...agents.map((a) => a.run())]);
  for (const [, { seen, ledger }] of watchers) {
    expect(seen.map(({ what }) => what)).toEqual(['moments', 'step', 'step', 'step', 'step', 'step']);
    expect(seen.map(({ entries }) => entries)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(ledger.entries()).toHaveLength(6);
  }
});

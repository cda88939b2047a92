/** The discriminator along with a site's work, in a whole run: a site that gets it asks for none; one that loses it gets no other. */
import { expect, test } from 'vitest';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import type { NextReply } from '../../shared/protocol/round-messages.ts';
import { pooledPolicy } from '../support/pooled-rig.ts';
import { PooledStubComputation, PooledStubTrainer } from '../support/pooled-stubs.ts';
import { agentOf, castOf, coordinatorOf, testBounds } from '../support/round-rig.ts';

const bounds = { ...testBounds, maxEpsilon: 1e9, maxDelta: 0.1, minNoiseToSampleRate: 0, allowInsecure: true };
const STEPS = 4;

test('whoever loses one on its way asks for it, is sent no other along, and takes every step all the same', async () => {
  const policy = pooledPolicy({
    training: { rounds: 1, discriminatorSteps: STEPS, warmupDiscriminatorSteps: 0 },
    aggregation: { minSites: 2, minSurvivors: 2 },
  });
  const cast = castOf(2);
  const coordinator = coordinatorOf(cast, policy, { trainer: new PooledStubTrainer() });
  const seen = new Map([...cast.sites.keys()].map((id) => [id, { along: 0, got: 0, answers: 0 }]));
  const linkOf = (id: string, loses: boolean): CoordinatorLink => {
    const real = directLink(coordinator, id);
    const counts = seen.get(id)!;
    return {
      ...real,
      onWake: (listener) => real.onWake(listener),
      close: () => real.close(),
      async call(type, payload) {
        const reply = await real.call(type, payload);
        if (type === 'round.answer') counts.answers += 1;
        if (type === 'tensor.get') counts.got += 1;
        if (type !== 'site.next' || (reply as NextReply).kind !== 'work') return reply;
        const { along, ...rest } = reply as Extract<NextReply, { kind: 'work' }>;
        if (along === undefined) return reply;
        counts.along += 1;
        return loses ? rest : reply;
      },
    };
  };
  const [loser, other] = [...cast.sites.keys()];
  const agents = [...cast.sites.keys()].map((id) =>
    agentOf(cast, policy, id, linkOf(id, id === loser), { computation: new PooledStubComputation(id, policy), bounds }),
  );
  await Promise.all([coordinator.run(), ...agents.map((agent) => agent.run())]);
  expect(seen.get(loser)).toEqual({ along: 1, got: STEPS, answers: STEPS });
  expect(seen.get(other)).toEqual({ along: STEPS, got: 0, answers: STEPS });
});

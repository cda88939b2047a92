/** What a pooled step leaves is cleared while the next one is computed; and where its attempt falls void, all the same. */
import { expect, test } from 'vitest';
import { FedError } from '../../shared/errors.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { until } from '../support/audit-rig.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { pooledPlayPolicy, PooledStubComputation, PooledStubTrainer } from '../support/pooled-stubs.ts';
import { Tap } from '../support/round-hand.ts';
import { agentOf, castOf, coordinatorOf, testBounds } from '../support/round-rig.ts';

const bounds = { ...testBounds, maxEpsilon: 1e9, maxDelta: 0.1, minNoiseToSampleRate: 0, allowInsecure: true };

test('uploads of the step that is in and the discriminator before it go, though no next fakes are ever made', async () => {
  const policy = pooledPlayPolicy();
  const [cast, tap, blobs] = [castOf(2), new Tap(), new MemoryBlobStore()];
  const clock = new ManualClock();
  const options = { trainer: new PooledStubTrainer(), blobs, clock, onEvent: tap.hear };
  const coordinator = coordinatorOf(cast, policy, options);
  const named = async (prefix: string) => (await blobs.list(prefix)).map((blob) => blob.name);
  const ofFirstStep: string[] = [];
  const seal = blobs.seal.bind(blobs);
  blobs.seal = (name) => {
    if (name.startsWith('up.') && tap.of('discriminator-step').length === 0) ofFirstStep.push(name);
    return seal(name);
  };
  // The second site's line is down once its first share is in: it never fetches the discriminator after that step.
  const goesAway = (id: string): CoordinatorLink => {
    const real = directLink(coordinator, id);
    let answered = false;
    return {
      ...real,
      onWake: real.onWake.bind(real),
      close: () => real.close(),
      call: async (type, payload) => {
        if (answered) throw new FedError('LINK_LOST', 'down');
        const body = await real.call(type, payload);
        if (type === 'round.answer') answered = true;
        return body;
      },
    };
  };
  const agents = [...cast.sites.keys()].map((id, i) => {
    const computation = new PooledStubComputation(id, policy);
    const link = i === 0 ? directLink(coordinator, id) : goesAway(id);
    return agentOf(cast, policy, id, link, { computation, bounds, clock });
  });
  const running = [coordinator.run(), ...agents.map((agent) => agent.run())];
  // Void at the deadline; then the run waits for the site, and what came before is done.
  const place = (kind: string) => tap.events.findLastIndex((e) => e.kind === kind);
  await until(clock, () => place('round-void') >= 0 && place('waiting') > place('round-void'));
  expect([tap.of('round-void'), tap.of('discriminator-step')].map((of) => of.length)).toEqual([1, 1]);
  expect(ofFirstStep, 'there was something to clear').toHaveLength(2);
  const left = await named('up.');
  expect(ofFirstStep.filter((name) => left.includes(name))).toEqual([]);
  expect((await named('d.')).map((name) => name.slice(-8))).toEqual(['00000001']);
  await Promise.all([coordinator.stop(), ...agents.map((agent) => agent.stop())]);
  await Promise.all(running);
});

test('what a step leaves goes after the next fakes, while the sites compute, and before the next sum is applied', async () => {
  const policy = pooledPlayPolicy();
  const [cast, blobs, clock] = [castOf(2), new MemoryBlobStore(), new ManualClock()];
  const there: [string, string[]][] = [];
  const look = async (when: string) => {
    const names = (await blobs.list('d.')).map(({ name }) => name.slice(-1));
    there.push([when, names.sort()]);
  };
  class Watched extends PooledStubTrainer {
    override async fakesStep(...args: Parameters<PooledStubTrainer['fakesStep']>) {
      await look('fakes');
      return super.fakesStep(...args);
    }
    override async stepDiscriminator(...args: Parameters<PooledStubTrainer['stepDiscriminator']>) {
      await look('sum');
      return super.stepDiscriminator(...args);
    }
  }
  const coordinator = coordinatorOf(cast, policy, { trainer: new Watched(), blobs, clock });
  const agents = [...cast.sites.keys()].map((id) => {
    const computation = new PooledStubComputation(id, policy);
    return agentOf(cast, policy, id, directLink(coordinator, id), { computation, bounds, clock });
  });
  await Promise.all([coordinator.run(), ...agents.map((agent) => agent.run())]);
  expect(there).toEqual([
    ['fakes', ['0']],
    ['sum', ['0']],
    ['fakes', ['0', '1']],
    ['sum', ['1']],
  ]);
});

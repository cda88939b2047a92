/** Rounds of pooled steps under secure aggregation, on stubs: exact sums, drop-outs between steps, attempts that fall void. */
import { describe, expect, test } from 'vitest';
import type { CoordinatorEvent } from '../../coordinator/events.ts';
import { packUpdate } from '../../shared/aggregation/clear.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { pooledPolicy } from '../support/pooled-rig.ts';
import { PooledStubComputation, PooledStubTrainer } from '../support/pooled-stubs.ts';
import { agentOf, castOf, coordinatorOf, LENGTH, testBounds } from '../support/round-rig.ts';

const policyOf = (deadlineSeconds: number) =>
  pooledPolicy({
    secure: true,
    training: { rounds: 1, discriminatorSteps: 3, warmupDiscriminatorSteps: 0 },
    pooled: { maxDropouts: 1 },
    aggregation: { minSites: 5, minSurvivors: 4, maxDropouts: 1, deadlineSeconds },
  });
const bounds = { ...testBounds, maxEpsilon: 50, lifetime: { epsilon: 100, delta: 1e-4 } };

/** Keeps every share, by site, attempt and step. */
class Keeping extends PooledStubComputation {
  readonly shares: { attempt: number; values: Int32Array }[] = [];
  constructor(siteId: string, policy: CheckedPolicy) {
    super(siteId, policy, true);
    const share = this.pooled.share.bind(this.pooled);
    Object.assign(this.pooled, {
      share: async (weights: Float32Array, plan: RoundPlan) => {
        const values = await share(weights, plan);
        this.shares.push({ attempt: plan.attempt, values: values.slice() });
        return values;
      },
    });
  }
}

/** Plays a run of five sites; a site's line is down while `down` says so. */
async function playFive(
  policy: CheckedPolicy,
  down: (siteId: string, answers: number, events: readonly CoordinatorEvent[]) => boolean,
) {
  const cast = castOf(5);
  const events: CoordinatorEvent[] = [];
  const trainer = new PooledStubTrainer();
  const coordinator = coordinatorOf(cast, policy, { trainer, absentMs: 20, onEvent: (e) => events.push(e) });
  const ids = [...cast.sites.keys()];
  const ledgers = new Map(ids.map((id) => [id, new Ledger(':memory:')]));
  const computations = new Map(ids.map((id) => [id, new Keeping(id, policy)]));
  const agents = ids.map((id) => {
    const real = directLink(coordinator, id);
    let answers = 0;
    const link: CoordinatorLink = {
      ...real,
      onWake: (listener) => real.onWake(listener),
      close: () => real.close(),
      async call(type, payload) {
        if (down(id, answers, events)) {
          coordinator.left(id);
          throw new FedError('LINK_LOST', 'down');
        }
        const body = await real.call(type, payload);
        if (type === 'round.answer') answers += 1;
        return body;
      },
    };
    const computation = computations.get(id)!;
    const ledger = ledgers.get(id)!;
    return agentOf(cast, policy, id, link, { computation, ledger, bounds, pollMs: 40, retryMs: 40 });
  });
  const sites = agents.map((agent) => agent.run());
  await coordinator.run();
  await Promise.all(agents.map((agent) => agent.stop()));
  await Promise.all(sites);
  const steps = events.filter((e) => e.kind === 'discriminator-step');
  return { events, steps, trainer, computations, ledgers };
}
const sumOf = (shares: readonly Int32Array[]) =>
  sha256Hex(packUpdate(Int32Array.from({ length: LENGTH }, (_, i) => shares.reduce((sum, s) => sum + s[i], 0))));

describe('a pooled round under masks', () => {
  test('applies exactly the sum of the shares, step after step', async () => {
    const { steps, trainer, computations, events, ledgers } = await playFive(policyOf(60), () => false);
    expect(steps.map((e) => e.contributors.length)).toEqual([5, 5, 5]);
    const shares = [...computations.values()].map((c) => c.shares.map((s) => s.values));
    expect(trainer.sums).toEqual([0, 1, 2].map((k) => sumOf(shares.map((s) => s[k]))));
    expect(events.filter((e) => e.kind === 'round-void')).toEqual([]);
    for (const ledger of ledgers.values()) expect(ledger.entries()).toHaveLength(3);
  });

  test('a site that vanishes after the first step is out of the later sums, and the round goes on', async () => {
    // Keys, shares, first upload, reveal: then its line is down.
    const { steps, trainer, computations, events } = await playFive(
      policyOf(60),
      (id, answers) => id === 'site-c' && answers >= 4,
    );
    expect(events.filter((e) => e.kind === 'round-void')).toEqual([]);
    expect(steps.map((e) => e.contributors.length)).toEqual([5, 4, 4]);
    const others = [...computations].filter(([id]) => id !== 'site-c').map(([, c]) => c.shares.map((s) => s.values));
    expect(trainer.sums[1]).toBe(sumOf(others.map((s) => s[1])));
    expect(trainer.sums[2]).toBe(sumOf(others.map((s) => s[2])));
  });

  test('two vanish: the sum would lack noise, so nobody opens it; what was summed stays, the rest is taken anew', async () => {
    const voided = (events: readonly CoordinatorEvent[]) => events.some((e) => e.kind === 'round-void');
    const { steps, events, computations, ledgers, trainer } = await playFive(
      policyOf(3),
      (id, answers, events) => (id === 'site-c' || id === 'site-d') && answers >= 4 && !voided(events),
    );
    expect(events.filter((e) => e.kind === 'round-void')).toHaveLength(1);
    const plans = events.filter((e) => e.kind === 'round-opened').map((e) => e.plan);
    expect(plans.map((p) => p.discriminatorSteps)).toEqual([3, 2]);
    expect(steps.map((e) => [e.step, e.of])).toEqual([
      [1, 3],
      [1, 2],
      [2, 2],
    ]);
    expect(trainer.sums).toHaveLength(3);
    for (const [id, computation] of computations) {
      // No share of the void attempt's second step comes again, and each was paid for.
      const bytes = computation.shares.map((s) => sha256Hex(packUpdate(s.values)));
      expect(new Set(bytes).size).toBe(bytes.length);
      expect(ledgers.get(id)!.entries()).toHaveLength(computation.shares.length);
      expect(computation.shares.filter((s) => s.attempt === 1)).toHaveLength(2);
    }
  });
});

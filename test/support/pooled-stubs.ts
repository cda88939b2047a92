/** Pooled runs on cheap stubs: a discriminator is a short vector, so that a step takes microseconds. */
import { randomUUID } from 'node:crypto';
import type { FakesStep, PooledTrainer } from '../../coordinator/core/pooled-trainer.ts';
import { packFloat32, packUpdate, unpackFloat32 } from '../../shared/aggregation/clear.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { pooledEventOf } from '../../shared/policy/pooled.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import type { PooledSteps, SiteComputation } from '../../site-agent/core/computation.ts';
import { LENGTH, StubComputation, StubTrainer } from './round-rig.ts';
import { type PooledOptions, pooledPolicy } from './pooled-rig.ts';

/** Whole numbers in [-500, 500), a pure function of `seed`. */
const wholes = (seed: string): Int32Array =>
  Int32Array.from({ length: LENGTH }, (_, i) => (parseInt(sha256Hex(`${seed} ${i}`).slice(0, 6), 16) % 1000) - 500);

/** Two steps in one round, two sites. */
export const pooledPlayPolicy = (o: PooledOptions = {}): CheckedPolicy =>
  pooledPolicy({
    training: { rounds: 1, discriminatorSteps: 1, warmupDiscriminatorSteps: 1 },
    privacy: { maxSteps: 200 },
    aggregation: { minSites: 2, minSurvivors: 2 },
    ...o,
  });

/** Every share is a pure function of discriminator, site and plan; with `fresh`, none is like another. */
export class PooledStubComputation extends StubComputation {
  readonly pooled: PooledSteps;
  readonly #policy: CheckedPolicy;
  #shares = 0;

  constructor(siteId: string, policy: CheckedPolicy, fresh = false) {
    super(siteId, policy, fresh);
    this.#policy = policy;
    this.pooled = {
      checkDiscriminator(weights) {
        if (weights.length !== LENGTH) throw new FedError('PARAMETER_INVALID', 'not a discriminator of this run');
      },
      share: async (weights: Float32Array, plan: RoundPlan) => {
        this.steps += 1;
        this.#shares += 1;
        const noise = fresh ? ` ${this.#shares} ${randomUUID()}` : '';
        return wholes(`${siteId} ${plan.publicSeed} ${sha256Hex(packFloat32(weights))}${noise}`);
      },
    };
  }
  override discriminatorEvent(): ReturnType<SiteComputation['discriminatorEvent']> {
    return pooledEventOf(this.#policy, 'discriminator', this.#policy.privacy.sampleRate);
  }
}

/** Walks: the discriminator along the sums, the generator towards the discriminator. */
export class PooledStubTrainer extends StubTrainer implements PooledTrainer {
  /** Sums that were applied, in order, as hashes. */
  readonly sums: string[] = [];
  async initialDiscriminator() {
    return packFloat32(new Float32Array(LENGTH));
  }
  discriminatorWeights(state: Uint8Array) {
    return unpackFloat32(state);
  }
  async fakesStep(discriminator: Uint8Array): Promise<FakesStep> {
    return { of: discriminator, part: 1, fakes: { fakeLoss: 0.5, fakeAccuracy: 0.5 } };
  }
  async stepDiscriminator(...[state, , sum, contributors, fakes]: Parameters<PooledTrainer['stepDiscriminator']>) {
    if (fakes.of !== state) throw new Error('fakes of another discriminator');
    this.sums.push(sha256Hex(packUpdate(Int32Array.from(sum))));
    return packFloat32(unpackFloat32(state).map((w, i) => w + sum[i] / 1000 / contributors.length));
  }
  async stepGenerator(...[state, discriminator]: Parameters<PooledTrainer['stepGenerator']>) {
    const judge = unpackFloat32(discriminator);
    const moved = packFloat32(unpackFloat32(state).map((w, i) => w + judge[i] / 10));
    return { state: moved, fakes: { fakeLoss: 0.5, fakeAccuracy: 0.5 } };
  }
}

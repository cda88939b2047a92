/**
 * A whole run on cheap stubs: a discriminator is a hash, a generator a short vector, so that a round takes milliseconds.
 * Everything else is the real thing: policy, keys, signatures, stores, ledgers, links.
 */
import { NO_ENTRIES } from '../../shared/audit/chain.ts';
import { readFileSync } from 'node:fs';
import { Coordinator } from '../../coordinator/coordinator.ts';
import type { CoordinatorOptions } from '../../coordinator/coordinator.ts';
import type { GeneratorTrainer } from '../../coordinator/core/generator-trainer.ts';
import { MemoryStore } from '../../coordinator/store/memory.ts';
import { packFloat32, unpackFloat32 } from '../../shared/aggregation/clear.ts';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { gaussianEvent, poissonGaussianEvent } from '../../shared/dp/event.ts';
import { FedError } from '../../shared/errors.ts';
import { createSigningKeys, createSiteKeys, publicKeys } from '../../shared/identity/keys.ts';
import type { SigningKeys, SiteKeys } from '../../shared/identity/keys.ts';
import { candidateOf } from '../../shared/gate/candidate.ts';
import { publicPart } from '../../shared/identity/jwk.ts';
import { EMPTY_ROSTER, withSite } from '../../shared/identity/roster.ts';
import type { Roster } from '../../shared/identity/roster.ts';
import type { LabelledImages } from '../../shared/imaging/images.ts';
import type { SiteBounds } from '../../shared/policy/bounds.ts';
import { gateEventOf } from '../../shared/policy/cost.ts';
import { loadPolicy } from '../../shared/policy/load.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { SCHEMES } from '../../shared/policy/schema.ts';
import type { ReleaseGate } from '../../shared/policy/gate-schema.ts';
import type { Policy } from '../../shared/policy/schema.ts';
import { MemoryBlobStore } from '../../shared/protocol/blob-store.ts';
import { directLink } from '../../shared/protocol/direct-link.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { SiteAgent } from '../../site-agent/agent.ts';
import type { SiteAgentOptions } from '../../site-agent/agent.ts';
import type { GateComputation, SiteComputation } from '../../site-agent/core/computation.ts';
import { Ledger } from '../../site-agent/shell/ledger.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';

export const RUN_ID = '6f9b2c1e-3c55-4e0f-9a53-0d5e7a1f2b3c';
/** Values of the stub generator, and of an update. */
export const LENGTH = 6;
const MOMENTS = 4;

interface PolicyFile {
  why: Record<string, string>;
  log?: { witnessQuorum: number };
  training: Record<string, unknown>;
  privacy: Record<string, unknown>;
  aggregation: Record<string, unknown>;
  warmStart: { noiseMultiplier: number };
  release: { maxImages: number; gate: unknown };
}

/** The research policy with a short run: `rounds` generator rounds behind one moment round. */
export function testPolicy(o: {
  rounds?: number;
  steps?: number;
  warmUp?: number;
  minSites?: number;
  quorum?: number;
  deadlineSeconds?: number;
  witnessQuorum?: number;
  maxSteps?: number;
  gate?: ReleaseGate;
  adaptive?: { ladder: number[]; accuracyAtMost: number; emaBeta: number; graceRounds: number };
  /** Put over the settings above: another scheme, for instance. */
  aggregation?: Partial<Policy['aggregation']>;
}): CheckedPolicy {
  const file = JSON.parse(
    readFileSync(new URL('../../policies/research-consortium.json', import.meta.url), 'utf8'),
  ) as PolicyFile;
  Object.assign(file.training, {
    rounds: o.rounds ?? 3,
    discriminatorSteps: o.steps ?? 2,
    warmupDiscriminatorSteps: o.warmUp ?? 1,
    ...(o.adaptive && { adaptiveSteps: o.adaptive }),
  });
  Object.assign(file.privacy, { maxSteps: o.maxSteps ?? 200, noiseMultiplier: 1.54, generatorClipNorm: 1 });
  // One moment round, and after it those that these tests are about.
  Object.assign(file.warmStart, { maxReleases: 40, critic: undefined });
  Object.assign(file.release, { gate: o.gate ?? null });
  file.log = { witnessQuorum: o.witnessQuorum ?? 0 };
  file.aggregation = {
    scheme: 'clear',
    minSites: o.minSites ?? 3,
    minSurvivors: o.quorum ?? 3,
    deadlineSeconds: o.deadlineSeconds ?? 600,
    ...o.aggregation,
  };
  // Reasons of what another scheme needs go with it.
  file.why = Object.fromEntries(
    Object.entries(file.why).filter(
      ([path]) =>
        path !== 'warmStart.critic' &&
        (!path.startsWith('aggregation.') || path.slice(12) in file.aggregation) &&
        (o.gate !== undefined || !path.startsWith('release.gate.')),
    ),
  );
  return loadPolicy(file, { availableSchemes: SCHEMES });
}

export const testBounds: SiteBounds = {
  maxEpsilon: 10,
  maxDelta: 1e-4,
  minNoiseToSampleRate: 1,
  maxSteps: 100_000,
  maxImagesPerPatient: 100,
  minSites: 1,
  minSurvivors: 1,
  schemes: ['clear', 'secagg', 'bfv'],
  pooled: { minColluders: 1 },
  allowInsecure: false,
  lifetime: { epsilon: 20, delta: 1e-4 },
};

/** Settings of a masking scheme for test rounds of 3 to 8 sites. */
export const MASKED = {
  scheme: 'secagg',
  bits: 16,
  maxSites: 8,
  maxColluders: 0,
  maxDropouts: 0,
  graphAboveSites: 100,
} as const satisfies Partial<Policy['aggregation']>;

/** Values in [-0.2, 0.2), a pure function of `seed`. */
const valuesOf = (seed: string, n: number): Float32Array =>
  Float32Array.from(
    { length: n },
    (_, i) => (parseInt(sha256Hex(`${seed} ${i}`).slice(0, 8), 16) / 2 ** 32 - 0.5) * 0.4,
  );

/** What the stub generator draws: nothing. */
const NO_IMAGES: LabelledImages = {
  ...{ n: 0, channels: 1, size: 28, classNames: [], patients: [] },
  ...{ pixels: new Float32Array(), labels: new Int32Array() },
};

/** A site whose every result is a pure function of its arguments; with `fresh`, none is like another, as with real noise. */
export class StubComputation implements SiteComputation {
  steps = 0;
  /** Answers to the release gate that were worked out; with `fresh`, each after the first is another. */
  gateCalls = 0;
  #calls = 0;
  readonly #siteId: string;
  readonly #policy: CheckedPolicy;
  readonly #fresh: boolean;
  constructor(siteId: string, policy: CheckedPolicy, fresh = false) {
    this.#siteId = siteId;
    this.#policy = policy;
    this.#fresh = fresh;
  }
  #noise(): string {
    this.#calls += 1;
    return this.#fresh ? ` ${this.#calls}` : '';
  }
  async initialState(): Promise<Uint8Array> {
    return Buffer.from(sha256Hex('discriminator'));
  }
  checkGenerator(generator: Float32Array) {
    if (generator.length !== LENGTH || !generator.every(Number.isFinite))
      throw new FedError('PARAMETER_INVALID', 'not a generator of this run');
  }
  discriminatorEvent() {
    const { privacy } = this.#policy;
    return poissonGaussianEvent(privacy.sampleRate, 'noiseMultiplier' in privacy ? privacy.noiseMultiplier : 0);
  }
  async discriminatorStep(...[state, plan, generator]: Parameters<SiteComputation['discriminatorStep']>) {
    this.steps += 1;
    const next = `${sha256Hex(state)} ${this.#siteId} ${plan.publicSeed} ${sha256Hex(packFloat32(generator))}${this.#noise()}`;
    return { state: Buffer.from(sha256Hex(next)), fakes: { fakeLoss: 0.5, fakeAccuracy: 0.5 } };
  }
  async generatorGradient(...[state, plan, generator]: Parameters<SiteComputation['generatorGradient']>) {
    const update = valuesOf(
      `${sha256Hex(state)} ${plan.round} ${sha256Hex(packFloat32(generator))}${this.#noise()}`,
      LENGTH,
    );
    return { update, fakes: { fakeLoss: 0.5, fakeAccuracy: 0.5 } };
  }
  checkCritic() {
    throw new FedError('PARAMETER_INVALID', 'no critic here');
  }
  momentEvent() {
    const { warmStart } = this.#policy;
    return gaussianEvent(warmStart.kind === 'moments' ? warmStart.noiseMultiplier : 0);
  }
  get gate(): GateComputation | undefined {
    const { gate } = this.#policy.release;
    if (gate === null) return undefined;
    return {
      event: () => gateEventOf(gate, 1),
      expected: (of) => candidateOf(this.#policy, of),
      draw: async () => NO_IMAGES,
      words: async () => {
        this.gateCalls += 1;
        return { kind: 'answered', memorisation: this.#fresh && this.gateCalls > 1 ? 'yes' : 'no', membership: 'no' };
      },
    };
  }
  async noisedMoments() {
    return valuesOf(`${this.#siteId} moments${this.#noise()}`, MOMENTS);
  }
}

/** A generator that walks along the mean update. */
export class StubTrainer implements GeneratorTrainer {
  applied = 0;
  async initialState() {
    return packFloat32(new Float32Array(LENGTH));
  }
  weights(state: Uint8Array) {
    return unpackFloat32(state);
  }
  critic() {
    return null;
  }
  released(state: Uint8Array) {
    return Promise.resolve(unpackFloat32(state));
  }
  updateLength(plan: { kind: string }) {
    return plan.kind === 'moments' ? MOMENTS : LENGTH;
  }
  async fitMoments(...[state, , sum, progress]: Parameters<GeneratorTrainer['fitMoments']>) {
    progress(1);
    return packFloat32(unpackFloat32(state).map((w, i) => w + sum[i % sum.length]));
  }
  async applyGradients(...[state, , sum, contributors]: Parameters<GeneratorTrainer['applyGradients']>) {
    this.applied += 1;
    return packFloat32(unpackFloat32(state).map((w, i) => w - sum[i] / contributors.length));
  }
}

export interface Cast {
  readonly coordinator: SigningKeys;
  readonly sites: ReadonlyMap<string, SiteKeys>;
  readonly roster: Roster;
}

/** Keys for a coordinator and for sites called site-a, site-b, and so on. */
export function castOf(n: number): Cast {
  const ids = Array.from(
    { length: n },
    (_, i) => `site-${String.fromCharCode(97 + (i % 26))}${i < 26 ? '' : String(i)}`,
  );
  const sites = new Map(ids.map((id) => [id, createSiteKeys()]));
  const roster = [...sites].reduce((r, [id, keys]) => withSite(r, id, publicKeys(keys)), EMPTY_ROSTER);
  return { coordinator: createSigningKeys(), sites, roster };
}

export function coordinatorOf(cast: Cast, policy: CheckedPolicy, o: Partial<CoordinatorOptions> = {}): Coordinator {
  return new Coordinator({
    policy,
    runId: RUN_ID,
    store: new MemoryStore(),
    blobs: new MemoryBlobStore(),
    trainer: new StubTrainer(),
    identity: cast.coordinator,
    roster: () => cast.roster,
    ...o,
  });
}

export function agentOf(
  cast: Cast,
  policy: CheckedPolicy,
  siteId: string,
  link: CoordinatorLink | Coordinator,
  o: Partial<SiteAgentOptions> = {},
): SiteAgent {
  return new SiteAgent({
    siteId,
    keys: cast.sites.get(siteId)!,
    coordinatorKey: publicPart(cast.coordinator.signing),
    link: link instanceof Coordinator ? directLink(link, siteId) : link,
    policy,
    bounds: testBounds,
    ledger: new Ledger(':memory:'),
    outbox: new Outbox(':memory:'),
    leftOut: () => NO_ENTRIES,
    computation: new StubComputation(siteId, policy),
    ...o,
  });
}

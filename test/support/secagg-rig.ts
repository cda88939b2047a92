/**
 * One attempt under secagg without a network or a clock: the two halves of the scheme talk to each other here, and a test
 * may let sites vanish, or put its own words into the coordinator's mouth.
 */
import { makePlan } from '../../coordinator/core/make-plan.ts';
import type {
  PhaseAnswer,
  PhaseResult,
  SiteUpdate,
  SpooledTensor,
  StepSum,
} from '../../shared/aggregation/aggregation.ts';
import { secaggCoordinator } from '../../shared/aggregation/secagg/coordinator.ts';
import { numberOf, phaseOf } from '../../shared/aggregation/secagg/phases.ts';
import type { Phase } from '../../shared/aggregation/secagg/phases.ts';
import { secaggSite } from '../../shared/aggregation/secagg/site.ts';
import { EMPTY_LOG } from '../../shared/audit/log.ts';
import { FedError } from '../../shared/errors.ts';
import { rosterSeen } from '../../shared/identity/roster.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import type { RandomBytes } from '../../shared/random.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { MASKED, RUN_ID, castOf, testPolicy } from './round-rig.ts';
import type { Cast } from './round-rig.ts';

export const LENGTH = 40;
/** Values of one site that tell it from all others. */
export const updateOf = (index: number, length = LENGTH): Float32Array =>
  Float32Array.from({ length }, (_, i) => Math.sin(1 + i * (index + 1)) / 8);

export const maskedPolicy = (
  o: { minSites?: number; quorum?: number } & Partial<CheckedPolicy['aggregation']> = {},
) => {
  const { minSites = 3, quorum = 3, ...aggregation } = o;
  return testPolicy({ minSites, quorum, aggregation: { ...MASKED, ...aggregation } });
};

export interface Scene {
  readonly cast: Cast;
  readonly policy: CheckedPolicy;
  readonly plan: RoundPlan;
}

/** @param over - put over the plan, as a coordinator of ill will might. */
export function sceneOf(
  n: number,
  policy: CheckedPolicy,
  over: Partial<RoundPlan> = {},
  cast: Cast = castOf(n),
): Scene {
  const invited = [...cast.sites.keys()];
  const terms = roundTermsOf(policy);
  const sha = 'ab'.repeat(32);
  const made = makePlan({
    terms,
    runId: RUN_ID,
    round: 1,
    invited,
    generatorSha256: sha,
    criticSha256: null,
    checkpoint: EMPTY_LOG,
    witnessed: null,
    roster: rosterSeen(cast.roster),
    before: null,
  });
  return { cast, policy, plan: { ...made, ...over } };
}

export const siteOf = ({ cast, policy }: Scene, siteId: string, random?: RandomBytes) =>
  secaggSite(
    {
      siteId,
      keys: cast.sites.get(siteId)!,
      policy,
      terms: roundTermsOf(policy),
      roster: async () => cast.roster,
      nowMs: () => 0,
    },
    random,
  );

export const coordinatorOf = ({ cast, policy }: Scene) =>
  secaggCoordinator({ policy, terms: roundTermsOf(policy), roster: () => cast.roster });

/** One answer of a site that is asked by hand, with what it kept: a coordinator of ill will asks what it likes. */
export const ask = (scene: Scene, siteId: string, kind: Phase['kind'], downlink: unknown, secret: Uint8Array | null) =>
  siteOf(scene, siteId).answer({
    phase: kind === 'keys' ? 0 : kind === 'shares' ? 1 : numberOf(kind, 0),
    siteId,
    plan: scene.plan,
    downlink: JSON.parse(JSON.stringify(downlink)) as unknown,
    secret,
    update: updateOf([...scene.plan.invited].sort().indexOf(siteId)),
  });

export const spooled = (bytes: Uint8Array): SpooledTensor => ({
  bytes: bytes.length,
  async *chunks() {
    for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
  },
});

export interface Direction {
  /** Who is gone from this phase on: it does not answer it. */
  readonly gone?: (at: Phase, siteId: string) => boolean;
  /** What the coordinator shows a site instead. */
  readonly show?: (at: Phase, siteId: string, downlink: unknown) => unknown;
  /** What a site sends instead; undefined: what it would. */
  readonly send?: (at: Phase, siteId: string, body: unknown) => unknown;
  readonly update?: (index: number, step: number) => SiteUpdate;
  readonly length?: number;
  /** A site’s randomness, for sites that are broken on purpose. */
  readonly randomOf?: (siteId: string) => RandomBytes;
  /** Sites that are told nothing of the time in which they wait. */
  readonly unprepared?: boolean;
}

export interface Played {
  readonly sum: Float64Array | null;
  readonly steps: readonly StepSum[];
  readonly contributors: readonly string[];
  /** `site kind` to the code with which that site refused, or its answer was refused. */
  readonly refused: ReadonlyMap<string, string>;
  /** The code that made it void. */
  readonly failed: string | null;
  /** Everything that was sent and shown, in order. */
  readonly said: readonly { at: Phase; siteId: string; downlink: unknown; body: unknown; tensor: Uint8Array | null }[];
  /** What each site keeps. */
  readonly secrets: ReadonlyMap<string, Uint8Array | null>;
}

/** Plays an attempt to its sum, or to where it fails. */
export async function play(scene: Scene, d: Direction = {}): Promise<Played> {
  const { plan } = scene;
  const { length = LENGTH, update = (index: number) => updateOf(index, length) } = d;
  const coordinator = coordinatorOf(scene);
  const ids = [...plan.invited].sort();
  const schemes = new Map(ids.map((siteId) => [siteId, siteOf(scene, siteId, d.randomOf?.(siteId))]));
  const secrets = new Map<string, Uint8Array | null>(ids.map((id) => [id, null]));
  const past = new Map<number, Map<string, PhaseAnswer>>();
  const refused = new Map<string, string>();
  const said: Played['said'][number][] = [];
  const steps: StepSum[] = [];
  const end = (more: Partial<Played>): Played => ({
    sum: null,
    contributors: [],
    failed: null,
    ...more,
    steps,
    refused,
    said,
    secrets,
  });
  const codeOf = (error: unknown): string => {
    if (!(error instanceof FedError)) throw error;
    return error.code;
  };
  let downlinks = coordinator.open(plan);
  let quorum = coordinator.firstQuorum?.(plan) ?? 1;
  const earlier = async (phase: number) => past.get(phase) ?? new Map<string, PhaseAnswer>();
  for (let phase = 0; ;) {
    const at = phaseOf(plan, phase);
    const answers = new Map<string, PhaseAnswer>();
    for (const [siteId, shown] of downlinks) {
      if (d.gone?.(at, siteId) === true) continue;
      // As it would arrive: JSON, and nothing shared.
      const downlink: unknown = JSON.parse(JSON.stringify(d.show?.(at, siteId, shown) ?? shown));
      try {
        const step = 'step' in at ? at.step : 0;
        const made = await schemes.get(siteId)!.answer({
          phase,
          siteId,
          plan,
          downlink,
          secret: secrets.get(siteId)!,
          update: update(ids.indexOf(siteId), step),
        });
        secrets.set(siteId, made.secret);
        if (d.unprepared !== true) schemes.get(siteId)!.waiting?.({ phase, plan, secret: made.secret });
        const sent: unknown = JSON.parse(JSON.stringify(made.uplink.body ?? null));
        const instead = d.send?.(at, siteId, sent);
        const body = instead === undefined ? sent : instead;
        const { tensor } = made.uplink;
        said.push({ at, siteId, downlink, body, tensor });
        const answer = { body, tensor: tensor === null ? null : spooled(tensor) };
        await coordinator.check({ plan, phase, siteId, ...answer, length, clipNorm: 1, integerLimit: null, earlier });
        answers.set(siteId, answer);
      } catch (error) {
        refused.set(`${siteId} ${at.kind}`, codeOf(error));
      }
    }
    if (answers.size < quorum) return end({ failed: 'ROUND_VOID' });
    past.set(phase, answers);
    let result: PhaseResult;
    try {
      result = await coordinator.close({ plan, phase, length, integers: false, answers, earlier });
    } catch (error) {
      return end({ failed: codeOf(error) });
    }
    if ('sum' in result) return end({ sum: result.sum, contributors: result.contributors });
    if ('step' in result) steps.push(result.step);
    if (result.next === null) return end({ contributors: steps.at(-1)?.contributors ?? [] });
    ({ phase, downlinks } = result.next);
    quorum = result.next.quorum ?? 1;
  }
}

/** Scheme `bfv` without a network: both halves, with whoever stands between them in the hands of the test. */
import type {
  CoordinatorScheme,
  PhaseAnswer,
  SiteScheme,
  SpooledTensor,
} from '../../shared/aggregation/aggregation.ts';
import { bfvCoordinator } from '../../shared/aggregation/bfv/coordinator.ts';
import { bfvSite } from '../../shared/aggregation/bfv/site.ts';
import { rosterSeen } from '../../shared/identity/roster.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { roundTermsOf } from '../../shared/policy/views.ts';
import type { RoundPlan } from '../../shared/protocol/plan.ts';
import { planFor } from './glue-rig.ts';
import { castOf, testPolicy } from './round-rig.ts';
import type { Cast } from './round-rig.ts';

export const BFV = { scheme: 'bfv', bits: 16, maxSites: 8 } as const;

export const spooled = (bytes: Uint8Array, piece = 50_000): SpooledTensor => ({
  bytes: bytes.length,
  async *chunks() {
    for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
  },
});

type Uplink = Awaited<ReturnType<SiteScheme['answer']>>['uplink'];

/** Sites, a coordinator's half, and what lies between them. */
export class BfvTable {
  readonly cast: Cast;
  readonly policy: CheckedPolicy;
  readonly sites: ReadonlyMap<string, SiteScheme>;
  readonly coordinator: CoordinatorScheme;
  readonly length: number;
  readonly updates: ReadonlyMap<string, Float32Array>;
  readonly #secrets = new Map<string, Uint8Array | null>();

  constructor(n: number, o: { length?: number; steward?: string } = {}) {
    this.cast = castOf(n);
    this.length = o.length ?? 10;
    this.policy = testPolicy({ aggregation: { ...BFV, ...(o.steward && { steward: o.steward }) } });
    const terms = roundTermsOf(this.policy);
    const common = { policy: this.policy, terms };
    const roster = async () => this.cast.roster;
    this.sites = new Map(
      [...this.cast.sites].map(([siteId, keys]) => [
        siteId,
        bfvSite({ ...common, siteId, keys, roster, nowMs: () => 0 }),
      ]),
    );
    this.coordinator = bfvCoordinator({ ...common, roster: () => this.cast.roster });
    this.updates = new Map(
      [...this.cast.sites.keys()].map((id, s) => [
        id,
        Float32Array.from({ length: this.length }, (_, i) => 0.3 * Math.sin(i + 100 * s)),
      ]),
    );
  }

  get ids(): string[] {
    return [...this.sites.keys()];
  }

  plan(attempt = 0, over: Partial<RoundPlan> = {}): RoundPlan {
    const roster = rosterSeen(this.cast.roster);
    return { ...planFor(this.policy, 1, this.ids), scheme: 'bfv', attempt, roster, ...over };
  }

  /** One site's answer; what it keeps is kept for its next phase. */
  async answer(siteId: string, plan: RoundPlan, phase: number, downlink: unknown, blob?: Uint8Array): Promise<Uplink> {
    const place = (of: number) => `${siteId} ${plan.round} ${plan.attempt} ${of}`;
    const secret = this.#secrets.get(place(phase - 1)) ?? null;
    const update = this.updates.get(siteId)!;
    const made = await this.sites.get(siteId)!.answer({ phase, siteId, plan, downlink, secret, update, blob });
    this.#secrets.set(place(phase), made.secret);
    return made.uplink;
  }

  /** The coordinator's own check of an answer. */
  check(siteId: string, plan: RoundPlan, phase: number, { body, tensor }: Uplink): Promise<void> {
    const spool = tensor === null ? null : spooled(tensor);
    const { length } = this;
    const earlier = async () => new Map<string, PhaseAnswer>();
    const open = { clipNorm: null, integerLimit: null, earlier };
    return this.coordinator.check({ plan, phase, siteId, body, tensor: spool, length, ...open });
  }

  close(plan: RoundPlan, phase: number, answers: readonly ReadonlyMap<string, Uplink>[]) {
    const of = (p: number): ReadonlyMap<string, PhaseAnswer> =>
      new Map(
        [...answers[p]].map(([id, { body, tensor }]) => [
          id,
          { body, tensor: tensor === null ? null : spooled(tensor) },
        ]),
      );
    const { length } = this;
    return this.coordinator.close({
      plan,
      phase,
      length,
      integers: false,
      answers: of(phase),
      earlier: async (p) => of(p),
    });
  }

  /** Everybody answers honestly up to, and without, phase `until`: all answers so far, and what that phase is shown. */
  async play(until: number, plan: RoundPlan, sites: readonly string[] = this.ids) {
    const answers: Map<string, Uplink>[] = [];
    let downlinks: ReadonlyMap<string, unknown> = this.coordinator.open(plan);
    let blob: Uint8Array | undefined;
    for (let phase = 0; phase < until; phase++) {
      const given = new Map<string, Uplink>();
      for (const siteId of phase === 0 ? plan.invited : sites)
        if (downlinks.has(siteId)) {
          const uplink = await this.answer(siteId, plan, phase, downlinks.get(siteId), blob);
          await this.check(siteId, plan, phase, uplink);
          given.set(siteId, uplink);
        }
      answers.push(given);
      const result = await this.close(plan, phase, answers);
      if (!('next' in result) || result.next === null) return { answers, downlinks, blob, result };
      ({ downlinks, blob } = result.next);
    }
    return { answers, downlinks, blob, result: null };
  }

  async dispose(): Promise<void> {
    for (const scheme of [...this.sites.values(), this.coordinator]) await scheme.dispose?.();
  }
}

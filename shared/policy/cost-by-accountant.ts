/** What a policy spends, by every accountant there is, for one patient and for several. */
import { pldBracket } from '../dp/accountant.ts';
import { costOfEvents } from '../dp/convert.ts';
import type { PrivacyEvent } from '../dp/event.ts';
import { deltaOfCurve, epsilonOfCurve, lossCurve } from '../dp/pld.ts';
import { overflowDelta } from '../dp/poisson.ts';
import { epsilonOfPolicy, type PolicyCost } from './cost.ts';
import type { DeepReadonly } from './freeze.ts';
import { samplingOf } from './sampling.ts';
import type { Policy } from './schema.ts';

/** Epsilon by Rényi accounting, which budgets are held by, and by loss distributions, which is tighter. */
export interface TwoEpsilons {
  readonly rdp: number;
  /** Infinite where this accountant cannot bound the events. */
  readonly pld: number;
  /** The tight figure rounded downwards instead: what the events cost is in [pldLower, pld]. 0 where nothing is known. */
  readonly pldLower: number;
}

export interface PolicyCosts {
  readonly delta: number;
  readonly events: readonly PrivacyEvent[];
  /** One patient at one site, added or removed. */
  readonly patient: TwoEpsilons;
  /** That many patients of one site, added or removed together: a family, or one patient under as many names. */
  readonly group: readonly { readonly patients: number; readonly epsilon: number }[];
  /** One patient whom that many sites hold, each under its own ledger. Null where the placement makes it a group. */
  readonly sites: readonly { readonly sites: number; readonly epsilon: number }[] | null;
  /**
   * The most that any test of "was this patient in the data?" can find of those who were, at a share of false alarms. 1
   * where nothing is bounded.
   */
  readonly attacker: readonly { readonly falsePositiveRate: number; readonly truePositiveRate: number }[];
}

const GROUPS = [2, 3, 5] as const;
const SITES = [2, 3] as const;
const FALSE_POSITIVE_RATES = [0.001, 0.01, 0.1] as const;

/**
 * @param siteId - with the numbers of this site; otherwise those of the site where one patient costs most.
 *
 * Guarantee: every figure is an upper bound; infinite where nothing can be said. A group of k counts on k free places in
 * every step. Several sites are composed: each may spend all that the policy lets it.
 */
export function costsOfPolicy(policy: DeepReadonly<Policy>, siteId?: string): PolicyCosts {
  const candidates = siteId === undefined ? [undefined, ...Object.keys(policy.sites ?? {})] : [siteId];
  const at = candidates.reduce((worst, site) => (rdpAt(policy, site) > rdpAt(policy, worst) ? site : worst));
  const { events, overflowDelta: overflow, delta } = costAt(policy, at);
  const { privacy } = policy;
  const group = GROUPS.map((patients) => {
    const { maxBatch, ...sampling } = samplingOf(policy, at);
    const places = { ...sampling, maxBatch: maxBatch - patients + 1, steps: privacy.maxSteps };
    return { patients, epsilon: tight(events, delta - overflowDelta(places), patients) };
  });
  const sites = SITES.map((count) => {
    const all = Array.from({ length: count }, () => events).flat();
    const left = delta - count * overflow;
    return { sites: count, epsilon: Math.min(costOfEvents(all, left).epsilon, tight(all, left)) };
  });
  const { lower } = pldBracket(events, delta - overflow);
  const patient = { rdp: rdpAt(policy, at), pld: tight(events, delta - overflow), pldLower: lower };
  const attacker = attackerOf(events, overflow, patient.rdp, delta);
  return { delta, events, patient, group, sites: policy.placement === 'pooled' ? null : sites, attacker };
}

/**
 * Hits are at most e^ε·false alarms + δ(ε) for every ε, by either accountant: the least of them. By Rényi accounting alone
 * the other end of the trade-off, 1 - e^-ε(1 - δ - false alarms), may be less.
 */
function attackerOf(events: readonly PrivacyEvent[], overflow: number, rdp: number, delta: number) {
  const curve = lossCurve(events);
  const tradeOff = (rate: number): number => {
    let least = Math.min(1, Math.exp(rdp) * rate + delta, 1 - Math.exp(-rdp) * (1 - delta - rate));
    for (let epsilon = 0; curve !== null && epsilon < 30; epsilon += 0.05)
      least = Math.min(least, Math.exp(epsilon) * rate + deltaOfCurve(curve, epsilon) + overflow);
    return least;
  };
  return FALSE_POSITIVE_RATES.map((rate) => ({ falsePositiveRate: rate, truePositiveRate: tradeOff(rate) }));
}

/** With `undefined`, the policy's own numbers alone. */
function costAt(policy: DeepReadonly<Policy>, siteId: string | undefined): PolicyCost {
  if (siteId !== undefined) return epsilonOfPolicy(policy, siteId);
  const { sites: _, ...rest } = policy;
  return epsilonOfPolicy(rest);
}
const rdpAt = (policy: DeepReadonly<Policy>, siteId: string | undefined): number => costAt(policy, siteId).epsilon;

function tight(events: readonly PrivacyEvent[], delta: number, group = 1): number {
  if (events.length === 0) return 0;
  const curve = lossCurve(events, 'upper', group);
  return curve === null ? Infinity : epsilonOfCurve(curve, delta);
}

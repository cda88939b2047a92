/** Who is in a round, and how many of them it takes: the same at every party, from policy and signed plan. */
import { hashJson } from '../../audit/canonical.ts';
import { FedError } from '../../errors.ts';
import type { CheckedPolicy } from '../../policy/load.ts';
import type { RoundPlan } from '../../protocol/plan.ts';
import { leastContributors } from '../../protocol/terms.ts';
import type { RoundTerms } from '../../protocol/terms.ts';
import { checkedGraph } from './graph.ts';
import type { CheckedGraph } from './graph.ts';
import { isSparse } from './phases.ts';
import type { Context } from './seeds.ts';
import { leastSurvivors, thresholdOf } from './threshold.ts';

export interface Group {
  readonly context: Context;
  /** Invited sites, ascending. */
  readonly sites: readonly string[];
  /** Sites that must sign one survivor list before a share is revealed. */
  readonly agreeing: number;
  /** Sites a sum must hold. */
  readonly least: number;
  /** Shares that open a site's secret. */
  readonly threshold: number;
  /** Null where every site masks with every other. */
  readonly graph: CheckedGraph | null;
}

/** @throws {FedError} PARAMETER_INVALID when the policy is not one of secure aggregation. */
export function groupOf(policy: CheckedPolicy, terms: RoundTerms, plan: RoundPlan): Group {
  const { maxColluders, maxDropouts, graphAboveSites } = policy.aggregation;
  if (maxColluders === undefined || maxDropouts === undefined || graphAboveSites === undefined)
    throw new FedError('PARAMETER_INVALID', 'the policy says nothing of colluders and drop-outs');
  const sites = [...plan.invited].sort();
  const agreeing = thresholdOf(sites.length, maxColluders);
  const graph = isSparse(policy, plan)
    ? checkedGraph({ sites: sites.length, colluders: maxColluders, dropouts: maxDropouts })
    : null;
  return {
    context: contextOf(plan),
    sites,
    agreeing,
    least: Math.max(leastContributors(terms, plan), leastSurvivors(maxColluders), agreeing),
    threshold: graph?.threshold ?? agreeing,
    graph,
  };
}

const contextOf = (plan: RoundPlan): Context => ({
  runId: plan.runId,
  round: plan.round,
  attempt: plan.attempt,
  planSha256: hashJson(plan),
  checkpoint: plan.checkpoint,
});

/**
 * Who holds shares of a site's secrets; the holder's place is its index here plus one.
 * @param drawn - the site's signed neighbours; null where there is no graph: then everybody holds one, itself included.
 */
export const holdersOf = (group: Group, drawn: readonly number[] | null): readonly string[] =>
  drawn === null ? group.sites : drawn.map((index) => group.sites[index]);

/** Drawn neighbours of every site that has advertised keys. */
export type Draws = ReadonlyMap<string, readonly number[] | null>;

/** With whom each of these sites masks: two do when either drew the other. */
export function neighboursOf(group: Group, draws: Draws): Map<string, Set<string>> {
  const all = [...draws.keys()];
  if (group.graph === null) return new Map(all.map((a) => [a, new Set(all.filter((b) => b !== a))]));
  const found = new Map(all.map((siteId) => [siteId, new Set<string>()]));
  for (const [siteId, drawn] of draws)
    for (const other of holdersOf(group, drawn)) {
      if (!found.has(other)) continue;
      found.get(siteId)?.add(other);
      found.get(other)?.add(siteId);
    }
  return found;
}
